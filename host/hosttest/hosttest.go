// Package hosttest is the conformance suite of the plugin ABI: it runs a module
// in the real host, through the frames and calls at which implementations of the
// ABI go wrong, and says of each what was checked and what came of it.
//
// It works for any module of anybody, in any language. What the module makes of
// events is its own affair; the suite looks at how it takes and answers them. A
// plugin is examined with the configuration and, if there are some, the events
// that it is made for; what it gives no occasion to check is named as such.
//
// In a Go test one line is enough:
//
//	hosttest.Run(t, module, hosttest.Options{Config: []byte(`{"min_magnitude":4.5}`)})
package hosttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Options say how a module is to be examined. The zero value is for one that
// needs no configuration and no grants.
type Options struct {
	// Host loads the module. nil = one of the suite's own, which compiles in this
	// process: for modules that are trusted.
	Host    *host.Host
	Name    string // of the plugin, as in messages; "" = "plugin"
	Builtin string // which ready-made plugin the module is to be
	Config  json.RawMessage
	Grants  []string
	Secrets map[string]string
	Outputs []string // names of the outputs beside the default one
	Limits  host.Limits
	// Events are some that the plugin is made for; only subject, key, headers and
	// payload count. nil = made-up ones.
	Events []abi.Event
	// Steady is how many events the memory of an instance must bear without
	// growing; 0 = a million.
	Steady int
}

// Result is what came of a check.
type Result string

// Results.
const (
	Passed       Result = "ok"
	Failed       Result = "failed"
	NotExercised Result = "not exercised" // the module gave no occasion for it
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"` // unique
	What   string `json:"what"` // what is asked of a module, one phrase
	Result Result `json:"result"`
	Reason string `json:"reason,omitempty"` // of another result than Passed; else a remark
	Advice string `json:"advice,omitempty"` // what to do about a failure
	Detail string `json:"detail,omitempty"` // stack trace and last output of the plugin, several lines
	// Like is the name of the check that has failed before for the same cause;
	// what it says is not said again.
	Like string `json:"like,omitempty"`

	cause string // of a failure by a fault, without what differs from call to call
}

// deadline is what a call gets when the options do not say: more than any
// plugin should take, also on a slow machine.
const deadline = 10 * time.Second

// Verify examines a module. The error is for what keeps it from doing so, never
// for what it finds.
func Verify(ctx context.Context, module []byte, o Options) ([]Check, error) {
	if o.Name == "" {
		o.Name = "plugin"
	}
	if o.Steady <= 0 {
		o.Steady = 1_000_000
	}
	if o.Limits.Deadline <= 0 {
		o.Limits.Deadline = deadline
	}
	if c := strings.TrimSpace(string(o.Config)); c == "" || c == "null" {
		o.Config = json.RawMessage("{}")
	}
	if o.Host == nil {
		h := host.New(host.Options{})
		if err := h.Open(ctx); err != nil {
			return nil, fmt.Errorf("examine a module: %w", err)
		}
		defer h.Close(context.WithoutCancel(ctx))
		o.Host = h
	}
	s := &suite{ctx: ctx, module: module, o: o, made: len(o.Events) == 0, known: map[string]bool{}, causes: map[string]string{}}
	if s.events = o.Events; s.made {
		s.events = madeUp()
	}
	defer s.end()
	for _, part := range []func(){s.surface, s.life, s.configuration, s.frames, s.repeated, s.appended, s.unknownFlags, s.answers, s.memory, s.state} {
		part()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("examine a module: %w", err)
		}
	}
	return s.checks, nil
}

// Failures returns the checks that failed.
func Failures(checks []Check) []Check {
	var failed []Check
	for _, c := range checks {
		if c.Result == Failed {
			failed = append(failed, c)
		}
	}
	return failed
}

// TB is the part of testing.TB that Run uses.
type TB interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Run examines a module in a test: each failure is an error of t.
func Run(t TB, module []byte, o Options) []Check {
	t.Helper()
	checks, err := Verify(t.Context(), module, o)
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, c := range checks {
		switch c.Result {
		case Failed:
			if c.Like != "" {
				t.Errorf("%s: %s (as in %q)", c.Name, c.Reason, c.Like)
				continue
			}
			t.Errorf("%s (%s): %s; %s\n%s", c.Name, c.What, c.Reason, c.Advice, c.Detail)
		case NotExercised:
			t.Logf("%s: %s: %s", c.Name, c.Result, c.Reason)
		}
	}
	return checks
}

// Payloads makes events of payloads, with subjects and keys of no meaning.
func Payloads(payloads ...[]byte) []abi.Event {
	events := make([]abi.Event, len(payloads))
	for i, p := range payloads {
		events[i] = abi.Event{Subject: []byte("events.verify"), Key: fmt.Appendf(nil, "key-%d", i%3), Payload: p}
	}
	return events
}

// suite is one examination.
type suite struct {
	ctx    context.Context //nolint:containedctx // that of Verify, for its length
	module []byte
	o      Options
	events []abi.Event
	made   bool // the events are made up

	gen     *host.Generation // nil = the module does not load
	starts  bool             // it loads and an instance can be opened
	imports map[string]bool
	exports map[string]bool
	known   map[string]bool   // checks that failed, by name
	causes  map[string]string // the first check that failed for it, by cause
	varies  bool              // two instances answered in two ways
	seen    seen
	res     abi.Result
	checks  []Check
}

func (s *suite) end() {
	if s.gen != nil {
		_ = s.gen.Close(context.WithoutCancel(s.ctx)) // what it fails with is no fault of the module
	}
}

// check runs one check. f says by its methods what came of it.
func (s *suite) check(name, what string, f func(c *Check)) {
	c := Check{Name: name, What: what, Result: Passed}
	if s.ctx.Err() == nil {
		f(&c)
	}
	s.known[name] = c.Result == Failed
	if c.cause != "" && c.Result == Failed {
		if first, ok := s.causes[c.cause]; ok {
			c.Like, c.Advice, c.Detail = first, "", ""
		} else {
			s.causes[c.cause] = name
		}
	}
	s.checks = append(s.checks, c)
}

// running is check for what needs an instance.
func (s *suite) running(name, what string, f func(c *Check)) {
	s.check(name, what, func(c *Check) {
		if !s.starts {
			c.skip("the module does not start")
			return
		}
		f(c)
	})
}

func (c *Check) skip(format string, args ...any) {
	if c.Result == Passed {
		c.Result, c.Reason = NotExercised, fmt.Sprintf(format, args...)
	}
}

func (c *Check) fail(advice, format string, args ...any) {
	if c.Result != Failed {
		c.Result, c.Advice, c.Reason = Failed, advice, fmt.Sprintf(format, args...)
	}
}

func (c *Check) note(format string, args ...any) {
	if c.Result == Passed {
		c.Reason = fmt.Sprintf(format, args...)
	}
}

// fault fails with what a call has failed with.
func (c *Check) fault(err error, format string, args ...any) {
	if c.Result == Failed {
		return
	}
	what := fmt.Sprintf(format, args...)
	var f *host.Fault
	if !errors.As(err, &f) {
		c.fail("", "%s: %v", what, err)
		return
	}
	c.fail(advice(f), "%s: %s", what, f.Error())
	c.Detail = f.Detail
	c.cause = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, f.Error())
}

// advice says what to do about a fault.
func advice(f *host.Fault) string {
	switch f.Kind {
	case abi.FaultTrap:
		return "a trap throws the instance with its state away; handle the case, and answer an event that cannot be processed with an outcome (2 retry, 3 dead letter) and a reason"
	case abi.FaultDeadline:
		return "the call did not end; look for a loop without end"
	case abi.FaultOutOfMemory:
		return "give memory back after each batch, let wasmill_buffer make room for whatever it is asked for, or raise the plugin's memory limit"
	case abi.FaultGuestError:
		return "a negative result gives the whole batch up; answer an event that cannot be processed with an outcome (2 retry, 3 dead letter) and a reason"
	case abi.FaultBadResponse:
		var frame *abi.FrameError
		if errors.As(f.Err, &frame) {
			return frameAdvice(frame.What)
		}
		return "return addresses and lengths of linear memory as it is when the call ends: address<<32 | length"
	}
	return ""
}

// frameAdvice says how the part of a response that is wrong should be.
func frameAdvice(what string) string {
	for _, a := range []struct{ part, advice string }{
		{"records are not in the order", "write the outputs in the order of the events that cause them: all of event 0, then all of event 1"},
		{"outcomes are not in the order", "write at most one outcome for an event, in the order of the events"},
		{"an outcome and outputs", "an event has either outputs or an outcome; take its outputs back before the outcome is written"},
		{"source index", "the source index counts the events of this batch from 0; 0xffffffff is for outputs without an event"},
		{"outcome index", "the index counts the events of this batch from 0"},
		{"outcome code", "the codes are 1 drop, 2 retry, 3 dead letter"},
		{"output id", "output ids count the names in the \"outputs\" of wasmill_open from 0; say --outputs for those that the plugin uses"},
		{"counts exceed", "the header has the number of outcomes at byte 8 and of records at byte 12; nothing else lies between header, records and outcomes"},
		{"record length", "the length of a record is 32 bytes and its data, padded to a multiple of 8"},
		{"parts exceed", "the length of a record is 32 bytes and its data, padded to a multiple of 8"},
		{"total length", "the total length at byte 16 is that of the whole response, as in the length that wasmill_process returns"},
		{"max_output_bytes", "emit less for one batch, or raise max_output_bytes"},
		{"flags", "output flags are 1 (payload by reference) and 2 (keep headers); without a source event there are none"},
		{"header", "headers are u32 key length, u32 value length, key, value; keys are printable ASCII without space and colon"},
		{"reason", "reasons lie inside the response; their offset counts from its begin"},
	} {
		if strings.Contains(what, a.part) {
			return a.advice
		}
	}
	return "see the layout of a response in the description of the ABI"
}
