package host

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what a guest's output costs the host (invariant A4).
const (
	maxLine = 4 << 10 // bytes of one line; the rest of a longer one is dropped
	maxTail = 4 << 10 // bytes of the last lines that are kept for a Fault
)

// output takes what a guest writes to its standard output and error and hands
// it on line by line. It keeps the last lines for the detail of a Fault.
type output struct {
	log   func(level int, line string) // may be nil
	parts [2]partial                   // standard output, standard error
	lines []string                     // the last lines, oldest first
	bytes int                          // in lines, each counted with its end
	fresh int                          // of lines, how many the current call wrote
	why   bool                         // lines[0] is where the guest's runtime says why it gives up
}

// partial is a line that has not ended yet.
type partial struct {
	b    []byte
	full bool // maxLine was reached: drop the rest up to the line's end
}

// write takes bytes of standard output (fd 1) or standard error (fd 2).
func (o *output) write(fd uint32, b []byte) {
	for len(b) > 0 {
		p := &o.parts[fd-1]
		end := bytes.IndexByte(b, '\n')
		chunk := b
		if end >= 0 {
			chunk = b[:end]
		}
		if room := maxLine - len(p.b); !p.full {
			if len(chunk) > room {
				chunk, p.full = chunk[:room], true
			}
			p.b = append(p.b, chunk...)
		}
		if end < 0 {
			return
		}
		o.end(fd)
		b = b[end+1:]
	}
}

// flush ends lines that are still open: the guest is gone.
func (o *output) flush() {
	for fd := uint32(1); fd <= 2; fd++ {
		if len(o.parts[fd-1].b) > 0 {
			o.end(fd)
		}
	}
}

func (o *output) end(fd uint32) {
	p := &o.parts[fd-1]
	line := printable(p.b)
	if p.full {
		line += "…"
	}
	p.b, p.full = p.b[:0], false
	level := abi.LevelInfo
	if fd == 2 {
		level = abi.LevelWarn
	}
	o.line(level, line)
}

// line reports one whole line and keeps it. The last lines are kept, but from a
// panic on the first ones: the cause stands at the head of a long dump.
func (o *output) line(level int, line string) {
	if !o.why && isPanic(line) {
		o.lines, o.bytes, o.fresh, o.why = o.lines[:0], 0, 0, true
	}
	if cost := len(line) + 1; !o.why || o.bytes+cost <= maxTail {
		o.lines = append(o.lines, line)
		o.bytes += cost
		o.fresh++
	}
	drop := 0
	for o.bytes > maxTail && drop < len(o.lines)-1 {
		o.bytes -= len(o.lines[drop]) + 1
		drop++
	}
	if drop > 0 {
		o.lines = slices.Delete(o.lines, 0, drop)
	}
	o.fresh = min(o.fresh, len(o.lines))
	if o.log != nil && line != "" {
		o.log(level, line)
	}
}

// isPanic says whether a line begins the dump of a runtime that gives up: that
// of Go or Rust.
func isPanic(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") ||
		strings.HasPrefix(line, "runtime: out of memory") || strings.HasPrefix(line, "thread '") && strings.Contains(line, "panicked at")
}

// begin starts a call: what was written before does not explain its fault.
func (o *output) begin() { o.fresh, o.why = 0, false }

// lastLine returns the last line that the current call wrote, or "".
func (o *output) lastLine() string {
	for _, l := range slices.Backward(o.lines[len(o.lines)-o.fresh:]) {
		if l != "" {
			return l
		}
	}
	return ""
}

// panicLine returns the line with which a guest's runtime said why it gave up
// the current call, or "".
func (o *output) panicLine() string {
	if o.why {
		return o.lines[0]
	}
	return ""
}

// tail returns at most n bytes of the last lines; when the guest's runtime
// explained itself, from that explanation on.
func (o *output) tail(n int) string {
	if o.why {
		return cut(strings.Join(o.lines, "\n"), n)
	}
	from, left := len(o.lines), n
	for from > 0 && len(o.lines[from-1])+1 <= left {
		from--
		left -= len(o.lines[from]) + 1
	}
	if from == len(o.lines) && from > 0 {
		return cut(o.lines[from-1], n)
	}
	return strings.Join(o.lines[from:], "\n")
}

// printable makes a guest's bytes fit for a log: valid UTF-8, and no control
// characters with which a terminal could be driven.
func printable(b []byte) string {
	b = bytes.TrimSuffix(b, []byte{'\r'})
	clean := utf8.Valid(b)
	for _, c := range b {
		clean = clean && (c >= ' ' && c != 0x7f || c == '\t')
	}
	if clean {
		return string(b)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
}
