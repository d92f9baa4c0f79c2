package host

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what a guest's output costs the host (invariant A4).
const (
	maxLine = 4 << 10 // bytes of one line; the rest of a longer one is dropped
	maxTail = 4 << 10 // bytes of the last lines that are kept for a Fault
)

// output takes what a guest writes to its standard output and error, and what it
// logs, and hands it on line by line, without secrets and control characters. It
// keeps the last lines for the detail of a Fault. A line that the log does not
// take costs no allocation, so that a flood makes no garbage.
type output struct {
	log    func(level int, line string) // may be nil
	admit  func(bytes int) bool         // whether the log takes a line now; nil = always
	gate   *gate                        // for what a runtime says of a crash; nil = all of it
	redact *redactor
	parts  [2]partial // standard output, standard error

	scratch, shown []byte // a line while it is changed

	// tail holds the last lines, each with its end, oldest first: at most maxTail
	// bytes of whole lines and up to as much that is to be forgotten.
	tail  []byte
	fresh int  // where in tail the lines of the current call begin
	why   int  // where in tail the guest's runtime says why it gives up, -1 = it has not
	mute  bool // the rest of the call is kept, but not logged
	fell  bool // the guest's runtime has begun to say that it gives up
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
	level := abi.LevelInfo
	if fd == 2 {
		level = abi.LevelWarn
	}
	o.line(level, bytes.TrimSuffix(p.b, []byte{'\r'}), p.full)
	p.b, p.full = p.b[:0], false
}

// message takes a message of the log import: one line, or several.
func (o *output) message(level int, b []byte) {
	whole := b
	b = b[:min(len(b), maxLine)]
	b = bytes.TrimSuffix(b, []byte{'\n'})
	for more := true; more; {
		var line []byte
		line, b, more = bytes.Cut(b, []byte{'\n'})
		o.line(level, bytes.TrimSuffix(line, []byte{'\r'}), !more && len(whole) > maxLine)
	}
}

// line reports one whole line and keeps it. The last lines are kept, but from a
// panic on the first ones: the cause stands at the head of a long dump. b is not
// kept; truncated says that the line went on.
func (o *output) line(level int, b []byte, truncated bool) {
	// Secrets first, before anything changes what is looked for.
	if o.redact != nil && o.redact.find(b, truncated) {
		o.scratch = append(o.scratch[:0], b...)
		b = o.redact.take(o.scratch, truncated)
	}
	if !isPrintable(b) {
		o.shown = appendPrintable(o.shown[:0], b)
		b = o.shown
	}
	if len(b) > maxLine { // a byte that cannot be shown becomes three
		b, truncated = b[:characters(b, maxLine)], true
	}
	if truncated {
		o.shown = append(append(o.shown[:0], b...), "…"...)
		b = o.shown
	}
	o.keep(b)
	if o.mute {
		o.gate.crashLine()
		return
	}
	if o.log != nil && len(b) > 0 && (o.admit == nil || o.admit(len(b))) {
		o.log(level, string(b))
	}
}

// characters returns how much of b, at most n bytes, ends with a whole character.
func characters(b []byte, n int) int {
	for n > 0 && n < len(b) && !utf8.RuneStart(b[n]) {
		n--
	}
	return n
}

func (o *output) keep(b []byte) {
	panics := isPanic(b)
	if o.why < 0 && panics {
		o.why = len(o.tail)
	}
	if !o.fell && (panics || bytes.HasPrefix(b, []byte("runtime: goroutine stack exceeds"))) {
		o.fell = true
		o.mute = o.gate != nil && !o.gate.crash()
	}
	if o.why >= 0 {
		if len(o.tail)-o.why+len(b)+1 <= maxTail {
			o.tail = append(append(o.tail, b...), '\n')
		}
		return
	}
	if len(o.tail)+len(b)+1 > 2*maxTail {
		o.forget(len(o.tail) - max(0, maxTail-len(b)-1))
	}
	o.tail = append(append(o.tail, b...), '\n')
}

// forget drops at least n bytes of whole lines from the front of tail.
func (o *output) forget(n int) {
	for n > 0 && n < len(o.tail) && o.tail[n-1] != '\n' {
		n++
	}
	n = min(n, len(o.tail))
	o.tail = o.tail[:copy(o.tail, o.tail[n:])]
	o.fresh = max(0, o.fresh-n)
}

// isPanic says whether a line begins the dump of a runtime that gives up: that
// of Go or Rust.
func isPanic(line []byte) bool {
	has := func(prefix string) bool { return bytes.HasPrefix(line, []byte(prefix)) }
	return has("panic: ") || has("fatal error: ") || has("runtime: out of memory") ||
		has("thread '") && bytes.Contains(line, []byte("panicked at"))
}

// begin starts a call: what was written before does not explain its fault.
func (o *output) begin() {
	if o.why >= 0 && len(o.tail) > maxTail {
		o.forget(o.why)
	}
	o.fresh, o.why, o.mute, o.fell = len(o.tail), -1, false, false
}

// lastLine returns the last line that the current call wrote, or "".
func (o *output) lastLine() string {
	b := bytes.TrimRight(o.tail[o.fresh:], "\n")
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// panicLine returns the line with which a guest's runtime said why it gave up
// the current call, or "".
func (o *output) panicLine() string {
	if o.why < 0 {
		return ""
	}
	line, _, _ := bytes.Cut(o.tail[o.why:], []byte{'\n'})
	return string(line)
}

// last returns at most n bytes of the last lines; when the guest's runtime
// explained itself, from that explanation on.
func (o *output) last(n int) string {
	if o.why >= 0 {
		return cut(strings.TrimSuffix(string(o.tail[o.why:]), "\n"), n)
	}
	b := bytes.TrimSuffix(o.tail, []byte{'\n'})
	if len(b) <= n {
		return string(b)
	}
	b = b[len(b)-n-1:] // with the byte before: a line may begin right there
	if _, whole, ok := bytes.Cut(b, []byte{'\n'}); ok {
		return string(whole)
	}
	all := bytes.TrimSuffix(o.tail, []byte{'\n'})
	return cut(string(all[bytes.LastIndexByte(all, '\n')+1:]), n)
}

// isPrintable says whether a guest's bytes are fit to be shown: valid UTF-8,
// without the control characters with which a terminal could be driven, and
// without those that change the order or the lines in which text is shown.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return utf8.Valid(b) && bytes.IndexFunc(b, unfit) < 0
		}
	}
	return true
}

// appendPrintable appends b to dst with U+FFFD for what is not fit to be shown.
func appendPrintable(dst, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if unfit(r) {
			r = utf8.RuneError
		}
		dst = utf8.AppendRune(dst, r)
		b = b[n:]
	}
	return dst
}

// printable returns b as text that is fit to be shown.
func printable(b []byte) string {
	if isPrintable(b) {
		return string(b)
	}
	return string(appendPrintable(nil, b))
}

func unfit(r rune) bool {
	switch {
	case r < ' ':
		return r != '\t'
	case r >= 0x7f && r < 0xa0: // the other control characters
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // writing direction
	case r == 0x2028, r == 0x2029: // line ends
	case r == 0xfeff, r >= 0xe0000 && r <= 0xe007f: // invisible
	default:
		return false
	}
	return true
}
