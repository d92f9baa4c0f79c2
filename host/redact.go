package host

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// minSecret is the length in bytes from which a secret is recognised. A shorter
// one would be found by chance in lines that have nothing to do with it, and
// its place would then give it away.
const minSecret = 6

// redactedMark stands where a secret was. It is shorter than any secret that is
// recognised, so that taking one out needs no more room.
const redactedMark = "***"

// redactor takes the values of a plugin's secrets out of what the plugin writes
// before anybody reads it: log lines, panics, reasons of outcomes, and so the
// dead letters, the status and the API that are made of them.
//
// It finds a value as it is: from minSecret bytes on, whole, in one line. Of a
// value of several lines it finds each line that is long enough. It does not find
// what the plugin has encoded (base64, hexadecimal, JSON escapes), split over
// lines or changed otherwise, and it does not look at the outputs that a plugin
// publishes: it guards against accidents, not against a plugin that wants to
// tell the secrets it was given.
type redactor struct{ secrets [][]byte }

func newRedactor(secrets map[string]string) *redactor {
	r := &redactor{}
	add := func(v string) {
		if len(v) >= minSecret {
			r.secrets = append(r.secrets, []byte(v))
		}
	}
	for _, v := range secrets {
		add(v)
		if strings.ContainsAny(v, "\r\n") {
			for line := range strings.FieldsFuncSeq(v, func(c rune) bool { return c == '\n' || c == '\r' }) {
				add(strings.TrimSpace(line))
			}
		}
	}
	// The longest first: one secret may be part of another.
	slices.SortFunc(r.secrets, func(a, b []byte) int { return cmp.Or(len(b)-len(a), bytes.Compare(a, b)) })
	r.secrets = slices.CompactFunc(r.secrets, bytes.Equal)
	return r
}

// find says whether there is anything to take out of b. truncated says that b
// once went on: a secret of which only the beginning is left at its end counts, too.
func (r *redactor) find(b []byte, truncated bool) bool {
	for _, s := range r.secrets {
		if bytes.Contains(b, s) || truncated && r.begun(b, s) > 0 {
			return true
		}
	}
	return false
}

// take takes the secrets out of b, which it overwrites, and returns what is left.
func (r *redactor) take(b []byte, truncated bool) []byte {
	for _, s := range r.secrets {
		for from := 0; ; {
			i := bytes.Index(b[from:], s)
			if i < 0 {
				break
			}
			at := from + i
			from = at + copy(b[at:], redactedMark)
			b = append(b[:from], b[at+len(s):]...)
		}
		if n := r.begun(b, s); truncated && n > 0 {
			b = append(b[:len(b)-n], redactedMark...)
		}
	}
	return b
}

// begun returns how many bytes of the secret s, not all of it, b ends with.
func (r *redactor) begun(b, s []byte) int {
	for n := min(len(s)-1, len(b)); n >= minSecret; n-- {
		if bytes.HasSuffix(b, s[:n]) {
			return n
		}
	}
	return 0
}

// text returns s without secrets.
func (r *redactor) text(s string) string {
	if b := []byte(s); r.find(b, false) {
		return string(r.take(b, false))
	}
	return s
}
