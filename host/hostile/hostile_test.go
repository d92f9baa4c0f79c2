package hostile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hostile"
	"github.com/wasmill/wasmill/sdk/abi"
)

// deadlineOf is that of a case's batch: short for those that it has to stop, long
// for those that something else must stop first, on whatever machine. The host
// gives each call of a start more.
func deadlineOf(c *hostile.Case) time.Duration {
	if c.Outcome == hostile.Any || slices.Contains(c.Kinds, abi.FaultDeadline) {
		return 30 * time.Millisecond
	}
	return time.Minute
}

// compileWorker is the argument that makes the test binary a worker.
const compileWorker = "compile-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == compileWorker {
		os.Exit(host.CompileWorker(os.Args[2], os.Stdin, os.Stdout))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func batch() []abi.Event {
	events := make([]abi.Event, hostile.Events)
	for i := range events {
		events[i] = abi.Event{
			Seq: uint64(i) + 1, Attempt: 1, Subject: []byte("in.a"), Payload: slices.Repeat([]byte("x"), hostile.PayloadBytes),
			Headers: abi.AppendHeader(nil, "k", "v"), HeaderCount: 1,
		}
	}
	return events
}

// result is what came of a case.
type result struct {
	outcome hostile.Outcome
	err     error
	took    time.Duration // the load when it was refused, else the call that failed
}

// run carries a module through a plugin's life, until something fails.
func run(ctx context.Context, h *host.Host, module []byte, deadline time.Duration) (r result) {
	begin := time.Now()
	done := func(o hostile.Outcome, err error) result { return result{o, err, time.Since(begin)} }
	gen, err := h.Load(ctx, host.Spec{
		Name: "hostile", Module: module, Grants: hostile.Grants(), Secrets: map[string]string{"key": "correct horse battery"},
		Limits: host.Limits{Memory: hostile.Memory, Deadline: deadline},
		Log:    func(string, int, int, string) {},
		Metric: func(string, string, int, float64) {},
	})
	if err != nil {
		return done(hostile.Refused, err)
	}
	defer func() {
		if err := gen.Close(ctx); err != nil && r.err == nil {
			r.err = err
		}
	}()
	begin = time.Now()
	i, err := gen.NewInstance(ctx, host.InstanceSpec{Pipeline: "p", Outputs: hostile.Outputs()})
	if err != nil {
		return done(hostile.NoStart, err)
	}
	defer i.Discard()
	begin = time.Now()
	var res abi.Result
	if err := i.Process(ctx, abi.BatchHeader{ID: 1}, batch(), &res); err != nil {
		return done(hostile.Faulty, err)
	}
	begin = time.Now()
	if err := i.Close(ctx, &res); err != nil {
		return done(hostile.NoClose, err)
	}
	return done(hostile.Harmless, nil)
}

// judge says what is wrong with what came of a case.
func judge(c *hostile.Case, r result) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if r.outcome != c.Outcome && c.Outcome != hostile.Any {
		say("it is %s (%v), want %s", r.outcome, r.err, c.Outcome)
		return wrong
	}
	if r.err == nil {
		return nil
	}
	text := r.err.Error()
	var fault *host.Fault
	var refused *host.LoadError
	switch {
	case errors.As(r.err, &fault):
		if c.Outcome != hostile.Any && !slices.Contains(c.Kinds, fault.Kind) {
			say("it is stopped by %s (%s), want %v", fault.Kind, fault.Message, c.Kinds)
		}
		text += "\n" + fault.Detail
		if len(fault.Message) > 512 || len(fault.Detail) > 4096 {
			say("the fault is of %d and %d bytes", len(fault.Message), len(fault.Detail))
		}
	case errors.As(r.err, &refused):
		if len(text) > 2000 {
			say("the refusal is of %d bytes", len(text))
		}
	default:
		say("it fails with %v", r.err)
	}
	if !strings.Contains(text, c.Says) {
		say("nothing says %q: %s", c.Says, text)
	}
	for _, c := range text {
		if unicode.IsControl(c) && c != '\n' && c != '\t' || c == unicode.ReplacementChar && strings.Contains(text, "\x1b") {
			say("its text holds %q: %q", c, text)
			break
		}
	}
	if strings.Contains(text, "correct horse") {
		say("it tells its secret: %s", text)
	}
	return wrong
}

// TestHostileModules loads and runs the modules one after another in one
// process, but for most of those that run to their deadline. That all of them
// come to nothing is the test; how fast is measured by `make hostile`.
func TestHostileModules(t *testing.T) {
	h := host.New(host.Options{})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	type group struct {
		n         int
		took, all time.Duration
		name      string // of the one that took longest
	}
	groups := map[string]*group{}
	var order []string
	seen := map[string]bool{}
	ran := 0
	for _, c := range hostile.Cases() {
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		if c.Slow {
			continue
		}
		ran++
		begin := time.Now()
		r := run(t.Context(), h, c.Module(), deadlineOf(&c))
		for _, wrong := range judge(&c, r) {
			t.Errorf("%s: %s: %s", c.Group, c.Name, wrong)
		}
		g := groups[c.Group]
		if g == nil {
			g = &group{}
			groups[c.Group] = g
			order = append(order, c.Group)
		}
		g.all += time.Since(begin)
		if g.n++; r.took > g.took {
			g.took, g.name = r.took, c.Name
		}
	}
	t.Logf("%d of %d modules", ran, len(seen))
	for _, name := range order {
		g := groups[name]
		t.Logf("%-10s %3d in %s, the longest %s: %s", name, g.n, g.all.Round(time.Millisecond), g.took.Round(time.Millisecond), g.name)
	}
}
