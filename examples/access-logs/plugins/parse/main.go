// Command parse is a plugin that reads lines of web server access logs, in the
// combined format with the virtual host in front, and makes JSON of them:
//
//	shop.example 192.0.2.7 - - [06/Feb/2018:18:36:20 +0000] "GET /cart HTTP/1.1" 200 512 "-" "curl/8"
//
// A line that is none becomes a dead letter with the reason.
package main

import (
	"bytes"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.Handle(parse) }

func parse(e *sdk.Event, out *sdk.Out) error {
	r, err := read(e.Payload())
	if err != nil {
		return err
	}
	out.Emit(sdk.Message{Subject: "requests." + r.host, Payload: r.json()})
	return nil
}

// request is one line.
type request struct {
	host, client string
	at           time.Time
	method, path []byte
	status       int
	bytes        int64
}

// read takes a line apart. Its fields are separated by blanks, but for those in
// brackets or quotes.
func read(line []byte) (r request, err error) {
	fields := make([][]byte, 0, 10)
	for rest := line; len(rest) > 0; {
		var field []byte
		if field, rest = next(rest); field == nil {
			return r, sdk.DeadLetterBecause("a bracket or a quote does not end")
		}
		fields = append(fields, field)
	}
	if len(fields) < 8 {
		return r, sdk.DeadLetterBecause("a line has at least 8 fields, this one has " + strconv.Itoa(len(fields)))
	}
	r.host, r.client = string(fields[0]), string(fields[1])
	if !hostName(r.host) {
		return r, sdk.DeadLetterBecause(strconv.Quote(r.host) + " is no host")
	}
	if r.at, err = time.Parse("02/Jan/2006:15:04:05 -0700", string(fields[4])); err != nil {
		return r, sdk.DeadLetterBecause(strconv.Quote(string(fields[4])) + " is no time of a log")
	}
	words := bytes.Split(fields[5], []byte(" "))
	if len(words) != 3 {
		return r, sdk.DeadLetterBecause(strconv.Quote(string(fields[5])) + " is no request")
	}
	r.method = words[0]
	r.path, _, _ = bytes.Cut(words[1], []byte("?"))
	if r.status, err = strconv.Atoi(string(fields[6])); err != nil || r.status < 100 || r.status > 599 {
		return r, sdk.DeadLetterBecause(strconv.Quote(string(fields[6])) + " is no status")
	}
	if string(fields[7]) != "-" {
		if r.bytes, err = strconv.ParseInt(string(fields[7]), 10, 64); err != nil {
			return r, sdk.DeadLetterBecause(strconv.Quote(string(fields[7])) + " is no number of bytes")
		}
	}
	return r, nil
}

// next returns the first field of a line and what follows it; nil when its
// bracket or quote does not end.
func next(line []byte) (field, rest []byte) {
	var end byte
	switch line[0] {
	case '[':
		end = ']'
	case '"':
		end = '"'
	default:
		field, rest, _ = bytes.Cut(line, []byte(" "))
		return field, rest
	}
	n := bytes.IndexByte(line[1:], end)
	if n < 0 {
		return nil, nil
	}
	return line[1 : 1+n : 1+n], bytes.TrimPrefix(line[n+2:], []byte(" "))
}

// hostName reports whether a host can be part of a subject.
func hostName(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || bytes.Contains([]byte(s), []byte("..")) {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func (r *request) json() []byte {
	b := append([]byte(`{"host":"`), r.host...)
	b = append(b, `","client":`...)
	b = appendText(b, []byte(r.client))
	b = append(b, `,"at":`...)
	b = strconv.AppendInt(b, r.at.Unix(), 10)
	b = append(b, `,"method":`...)
	b = appendText(b, r.method)
	b = append(b, `,"path":`...)
	b = appendText(b, r.path)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.bytes, 10)
	return append(b, '}')
}

// appendText appends what a client sent as a JSON string; what is not printable
// becomes a question mark.
func appendText(b, text []byte) []byte {
	b = append(b, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func main() {}
