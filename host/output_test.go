package host

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestOutput(t *testing.T) {
	var lines []string
	o := &output{why: -1, log: func(level int, line string) { lines = append(lines, fmt.Sprint(level, " ", line)) }}
	take := func() []string {
		l := lines
		lines = nil
		return l
	}
	t.Run("lines are put together from any pieces", func(t *testing.T) {
		for _, piece := range []string{"o", "ne\ntwo\nth", "", "ree\r\n\n"} {
			o.write(1, []byte(piece))
		}
		if got := take(); !slices.Equal(got, []string{"0 one", "0 two", "0 three"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("the two streams do not mix", func(t *testing.T) {
		o.write(1, []byte("out"))
		o.write(2, []byte("err\n"))
		o.write(1, []byte("put\n"))
		if got := take(); !slices.Equal(got, []string{"4 err", "0 output"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("a long line is cut", func(t *testing.T) {
		o.write(1, bytes.Repeat([]byte("x"), 3*maxLine))
		o.write(1, []byte("more\nnext\n"))
		got := take()
		if len(got) != 2 || len(got[0]) > maxLine+8 || !strings.HasSuffix(got[0], "x…") || got[1] != "0 next" {
			t.Errorf("%d lines, the first of %d bytes, the last %q", len(got), len(got[0]), got[len(got)-1])
		}
	})
	t.Run("control characters and broken text are shown, not sent on", func(t *testing.T) {
		o.write(1, []byte("\x1b[2Jtab\tä\xff\u009b\n"))
		if got := take(); !slices.Equal(got, []string{"0 �[2Jtab\tä��"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("what is kept is bounded", func(t *testing.T) {
		for n := range 10_000 {
			o.write(2, fmt.Appendf(nil, "line %d\n", n))
		}
		take()
		if len(o.tail) > 2*maxTail || cap(o.tail) > 4*maxTail {
			t.Errorf("%d bytes are kept, in %d", len(o.tail), cap(o.tail))
		}
		if tail := o.last(100); len(tail) > 100 || !strings.HasSuffix(tail, "line 9998\nline 9999") {
			t.Errorf("tail is %q", tail)
		}
	})
	t.Run("empty lines are bounded, too", func(t *testing.T) {
		o.write(2, bytes.Repeat([]byte("\n"), 100_000))
		if len(o.tail) > 2*maxTail {
			t.Errorf("%d empty lines are kept", len(o.tail))
		}
	})
	t.Run("a message of the log import is lines, too", func(t *testing.T) {
		o.message(8, []byte("first\n\nsecond\r\n"))
		o.message(-4, append(bytes.Repeat([]byte("x"), maxLine), "more"...))
		got := take()
		if len(got) != 3 || got[0] != "8 first" || got[1] != "8 second" || len(got[2]) > maxLine+8 || !strings.HasSuffix(got[2], "x…") {
			t.Errorf("%d lines: %.40q", len(got), got)
		}
	})
	t.Run("the last line of a call explains it, those before do not", func(t *testing.T) {
		o.write(1, []byte("old\n"))
		o.begin()
		if o.lastLine() != "" {
			t.Errorf("a call that wrote nothing said %q", o.lastLine())
		}
		o.write(1, []byte("reason\n\n"))
		if o.lastLine() != "reason" {
			t.Errorf("its last line is %q", o.lastLine())
		}
		for range 1000 { // until the call's own lines are all that is kept
			o.write(1, []byte("and so on and on\n"))
		}
		if o.lastLine() != "and so on and on" || strings.Contains(o.last(maxTail), "reason") {
			t.Errorf("its last line is %q", o.lastLine())
		}
		take()
	})
	t.Run("of a panic the beginning is kept", func(t *testing.T) {
		for range 3 {
			o.begin()
			o.write(2, []byte("before\npanic: no\n"))
			for n := range 10_000 {
				o.write(2, fmt.Appendf(nil, "\tframe %d\n", n))
			}
			if got := o.panicLine(); got != "panic: no" {
				t.Errorf("it panicked with %q", got)
			}
			if tail := o.last(100); !strings.HasPrefix(tail, "panic: no\n\tframe 0\n") || len(tail) > 100 {
				t.Errorf("tail is %q", tail)
			}
			if len(o.tail) > 3*maxTail {
				t.Errorf("%d bytes are kept", len(o.tail))
			}
		}
		o.begin()
		if o.panicLine() != "" {
			t.Error("the panic of an earlier call is this one's, too")
		}
		take()
	})
	t.Run("a flood that the log does not take makes no garbage", func(t *testing.T) {
		o.admit = func(int) bool { return false }
		line := []byte("a line of some length, with \x1b[31m colours and \xff in it\n")
		o.write(1, line)
		if n := testing.AllocsPerRun(1000, func() { o.write(1, line); o.message(0, line) }); n != 0 {
			t.Errorf("%g allocations a line", n)
		}
		if len(take()) != 0 {
			t.Error("a line passed")
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext":               "plain\ttext",
		"ünïcode 🦀‍ is kept":        "ünïcode 🦀‍ is kept",
		"\x1b]0;title\a":            "\ufffd]0;title\ufffd",
		"a\x00b\x7fc\u009bd":        "a\ufffdb\ufffdc\ufffdd",
		"right \u202eto left\u2066": "right \ufffdto left\ufffd",
		"two\u2028lines\nor three":  "two\ufffdlines\ufffdor three",
		"\xed\xa0\x80\xc0\xaf":      "\ufffd\ufffd\ufffd\ufffd\ufffd",
		"\U000e0041invisible":       "\ufffdinvisible",
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestCutIsShort(t *testing.T) {
	if got := cut(strings.Repeat("ä", 100), 20); len(got) > 20 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%q", got)
	}
}

// FuzzOutput shows that whatever a guest writes is shown without what could
// drive a terminal, and that what is kept of it is bounded.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("line\nanother\r\n\x1b[31m\xff"), []byte("hunter2!"), uint8(3))
	f.Add([]byte("panic: x\n\nhunter2!hunter2"), []byte("hunter2!"), uint8(200))
	f.Fuzz(func(t *testing.T, text, secret []byte, step uint8) {
		secrets := map[string]string{"a": string(secret)}
		o := &output{why: -1, redact: newRedactor(secrets), log: func(_ int, line string) {
			if len(line) > maxLine+len("…") || printable([]byte(line)) != line {
				t.Errorf("line %q", line)
			}
		}}
		for b := text; len(b) > 0; {
			n := min(len(b), int(step)+1)
			o.write(1+uint32(n%2), b[:n])
			o.message(int(step), b[:n])
			b = b[n:]
		}
		o.flush()
		for _, s := range []string{o.lastLine(), o.panicLine(), o.last(100), o.last(maxTail)} {
			if printableLines(s) != s {
				t.Errorf("kept %q", s)
			}
		}
		if len(o.tail) > 3*maxTail {
			t.Errorf("%d bytes are kept", len(o.tail))
		}
		o.begin()
	})
}
