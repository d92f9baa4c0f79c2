package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/wasmill/wasmill/plugins/cases"
)

// How much of an event the screen shows.
const (
	plainWidth  = 120 // characters of a line where there is no terminal
	leastWidth  = 60
	mostChanges = 6 // of one output
	mostOutputs = 4 // of one event
)

// screen is where "wasmill dev" writes: what comes of events to stdout,
// everything else to stderr. A goroutine of its own writes, so that a terminal
// that takes nothing holds nobody up; what comes too fast is counted.
type screen struct {
	a      *app
	lines  chan func()
	missed atomic.Int64
	wait   sync.WaitGroup
}

func newScreen(a *app) *screen {
	s := &screen{a: a, lines: make(chan func(), 1024)}
	s.wait.Go(func() {
		for f := range s.lines {
			if n := s.missed.Swap(0); n > 0 {
				a.note("… %s not shown", plural(int(n), "line"))
			}
			f()
		}
	})
	return s
}

// close writes what is left. Nothing may be posted any more.
func (s *screen) close() {
	close(s.lines)
	s.wait.Wait()
}

// post has f write as soon as it is its turn. It never waits.
func (s *screen) post(f func()) {
	select {
	case s.lines <- f:
	default:
		s.missed.Add(1)
	}
}

// say writes a line about the work, in its turn.
func (s *screen) say(c color, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.lines <- func() {
		s.a.note("%s %s", time.Now().Format("15:04:05"), s.a.paint(s.a.stderr, c, line))
	}
}

// tell is say for those who must not wait.
func (s *screen) tell(c color, line string) {
	s.post(func() { s.a.note("%s %s", time.Now().Format("15:04:05"), s.a.paint(s.a.stderr, c, line)) })
}

// from writes lines that somebody else has written, behind the name of the one.
// It never waits.
func (s *screen) from(who string, c color, text string) {
	s.post(func() {
		for line := range strings.Lines(text) {
			s.a.note("%s %s %s", s.a.paint(s.a.stderr, c, who), s.a.paint(s.a.stderr, c, "│"), clean(strings.TrimRight(line, "\n")))
		}
	})
}

// Write takes what compilers print, unchanged.
func (s *screen) Write(b []byte) (int, error) {
	text := string(b)
	s.lines <- func() { fmt.Fprint(s.a.stderr, text) }
	return len(b), nil
}

// width is how many characters fit into a line now.
func (s *screen) width() int {
	f, ok := s.a.stdout.(*os.File)
	if !ok {
		return plainWidth
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return plainWidth
	}
	return max(w, leastWidth)
}

// row is an event and what came of it, as it is shown.
type row struct {
	Where    string      `json:"where"` // the pipeline, and the stage where there are several
	Seq      uint64      `json:"seq,omitempty"`
	Subject  string      `json:"subject"`
	Payload  string      `json:"payload"`
	Outcome  string      `json:"outcome"` // "emitted", "dropped", "retried", "dead-lettered", "fault"
	Reason   string      `json:"reason,omitempty"`
	Outputs  []rowOutput `json:"outputs"`
	Again    bool        `json:"again,omitempty"` // it was run again after a change, and something else came
	Before   *row        `json:"before,omitempty"`
	complete bool        // Payload is the whole payload
	headers  []cases.Header
}

type rowOutput struct {
	Subject  string   `json:"subject"`
	Payload  string   `json:"payload"`
	Refused  string   `json:"refused,omitempty"`
	Changes  []string `json:"changes,omitempty"` // against the event
	complete bool
	headers  []cases.Header
}

// compare fills in what each output changes of the event.
func (r *row) compare() {
	for i := range r.Outputs {
		o := &r.Outputs[i]
		if r.complete && o.complete {
			for _, c := range cases.Changes([]byte(r.Payload), []byte(o.Payload)) {
				o.Changes = append(o.Changes, c.String())
			}
		}
		o.Changes = append(o.Changes, headerChanges(r.headers, o.headers)...)
	}
}

func headerChanges(a, b []cases.Header) []string {
	var out []string
	has := func(list []cases.Header, h cases.Header) bool {
		for _, o := range list {
			if o == h {
				return true
			}
		}
		return false
	}
	for _, h := range a {
		if !has(b, h) {
			out = append(out, fmt.Sprintf("- header %s: %s", h.Name, h.Value))
		}
	}
	for _, h := range b {
		if !has(a, h) {
			out = append(out, fmt.Sprintf("+ header %s: %s", h.Name, h.Value))
		}
	}
	return out
}

// show writes a row: the event to the left, what came of it to the right, and
// below it what has changed.
func (s *screen) show(r row) {
	r.compare()
	s.lines <- func() {
		if s.a.json() {
			enc := json.NewEncoder(s.a.stdout)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(r) // a reader that is gone ends the program elsewhere
			return
		}
		s.write(r)
	}
}

func (s *screen) write(r row) {
	const gap = " → "
	head := time.Now().Format("15:04:05") + " " + r.Where + " "
	if r.Seq > 0 {
		head += fmt.Sprintf("#%d ", r.Seq)
	}
	room := s.width() - utf8.RuneCountInString(head) - len(gap)
	left := max(room*55/100, 10)
	right := max(room-left, 10)
	event := clip(clean(r.Subject+" "+oneLine(r.Payload)), left)
	event += strings.Repeat(" ", left-utf8.RuneCountInString(event))
	indent := strings.Repeat(" ", 9)
	first := true
	put := func(c color, text string) {
		if first {
			s.a.printf("%s%s%s%s\n", head, event, gap, s.a.paint(s.a.stdout, c, clip(clean(text), right)))
		} else {
			s.a.printf("%s%s\n", indent, s.a.paint(s.a.stdout, c, clip(clean(text), s.width()-len(indent))))
		}
		first = false
	}
	for i := range r.Outputs {
		if i == mostOutputs {
			put(plain, fmt.Sprintf("… and %s", plural(len(r.Outputs)-i, "output")))
			break
		}
		s.output(&r, &r.Outputs[i], put)
	}
	if r.Outcome != outcomeEmitted {
		text, c := r.Outcome, red
		if r.Outcome == outcomeDropped || r.Outcome == outcomeRetried {
			c = yellow
		}
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		put(c, text)
	}
	if r.Before != nil {
		put(cyan, "before: "+r.Before.brief())
	}
}

// output writes one output and what it changes.
func (s *screen) output(r *row, o *rowOutput, put func(color, string)) {
	switch {
	case o.Refused != "":
		put(red, "refused: "+o.Refused)
		return
	case o.Payload == r.Payload:
		put(green, o.Subject+" (the same payload)")
	default:
		put(green, o.Subject+" "+oneLine(o.Payload))
	}
	for k, c := range o.Changes {
		if k == mostChanges {
			put(plain, fmt.Sprintf("… and %s", plural(len(o.Changes)-k, "change")))
			break
		}
		col := yellow
		switch c[0] {
		case '+':
			col = green
		case '-':
			col = red
		}
		put(col, c)
	}
}

// brief is what came of an event in one line.
func (r *row) brief() string {
	var parts []string
	for _, o := range r.Outputs {
		parts = append(parts, o.Subject+" "+oneLine(o.Payload))
	}
	if r.Outcome != outcomeEmitted {
		parts = append(parts, strings.TrimSuffix(r.Outcome+": "+r.Reason, ": "))
	}
	return strings.Join(parts, "; ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// screenLog is a slog handler that writes warnings of the runtime to the screen.
type screenLog struct {
	s     *screen
	attrs []slog.Attr
}

func (h screenLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h screenLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	c := yellow
	if r.Level >= slog.LevelError {
		c = red
	}
	h.s.from("wasmill", c, b.String())
	return nil
}

func (h screenLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

func (h screenLog) WithGroup(string) slog.Handler { return h }
