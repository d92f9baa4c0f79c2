package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/sdk/abi"
)

// script is a module whose instances do what a list says, one entry a call.
type script struct {
	mu    sync.Mutex
	tag   string
	steps []error // of the calls to come; none left = success
	calls int
	open  int
}

func (s *script) Digest() string              { return s.tag }
func (s *script) Memory() int64               { return 0 }
func (s *script) LoadTime() time.Duration     { return 0 }
func (s *script) Close(context.Context) error { return nil }

func (s *script) NewInstance(context.Context, host.InstanceSpec) (pipeline.Processor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &scripted{s: s}, nil
}

// errPanics is a step in which the handler panics on the first event.
var errPanics = errors.New("handler panics")

type scripted struct {
	s   *script
	buf [16]byte
}

func (i *scripted) Process(_ context.Context, _ abi.BatchHeader, _ []abi.Event, res *abi.Result) error {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.s.calls++
	res.Reset()
	if len(i.s.steps) > 0 {
		err := i.s.steps[0]
		i.s.steps = i.s.steps[1:]
		if errors.Is(err, errPanics) {
			reason := []byte(abi.PanicReason + i.s.tag)
			res.Outcomes = append(res.Outcomes, abi.Outcome{Code: abi.CodeRetry, Reason: reason})
			res.Outputs = append(res.Outputs, abi.Output{Source: 1, Payload: reason})
			return nil
		}
		if err != nil {
			return err
		}
	}
	n := copy(i.buf[:], i.s.tag)
	res.Outputs = append(res.Outputs, abi.Output{Payload: i.buf[:n]})
	res.Outcomes = append(res.Outcomes, abi.Outcome{Index: 1, Code: abi.CodeDrop, Reason: i.buf[:n]})
	return nil
}

func (i *scripted) Close(context.Context, *abi.Result) error { return nil }

func (i *scripted) Discard() {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.s.open--
	clear(i.buf[:]) // its memory is gone: views into it show that
}

// onScripts returns a processor of one script on trial against another.
func onScripts(t *testing.T, fresh, old *script) (*onTrial, *trial) {
	t.Helper()
	wrap := func(s *script) *loaded {
		return newLoaded(s, plan.Plugin{Name: "p"}, 0, func(error) {})
	}
	l := wrap(fresh)
	i, err := l.instantiate(t.Context(), host.InstanceSpec{})
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrial(wrap(old), 1, time.Minute)
	p := &onTrial{instance: i, trial: tr, report: func(error, string) {}}
	t.Cleanup(func() {
		p.Discard()
		if fresh.open != 0 || old.open != 0 {
			t.Errorf("instances left open: %d new, %d old", fresh.open, old.open)
		}
	})
	return p, tr
}

func TestOnTrial(t *testing.T) {
	t.Parallel()
	trap := testFault("trap")
	call := func(t *testing.T, p *onTrial) (string, error) {
		t.Helper()
		var res abi.Result
		err := p.Process(t.Context(), abi.BatchHeader{}, nil, &res)
		if err != nil {
			return "", err
		}
		if string(res.Outcomes[0].Reason) != string(res.Outputs[0].Payload) {
			t.Errorf("reason is %q, payload %q", res.Outcomes[0].Reason, res.Outputs[0].Payload)
		}
		return string(res.Outputs[0].Payload), nil
	}
	want := func(t *testing.T, p *onTrial, tag string) {
		t.Helper()
		if got, err := call(t, p); got != tag || err != nil {
			t.Errorf("the batch ran on %q (%v), want %q", got, err, tag)
		}
	}

	t.Run("a generation that works never needs the old one", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new"}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		want(t, p, "new")
		if old.calls != 0 || tr.strikes.Load() != 0 {
			t.Errorf("%d calls of the old one, %d strikes", old.calls, tr.strikes.Load())
		}
	})
	t.Run("a fault that a fresh instance does not repeat is no strike", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{trap}}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		want(t, p, "new")
		if fresh.calls != 2 || old.calls != 0 || tr.strikes.Load() != 0 {
			t.Errorf("%d calls new, %d old, %d strikes", fresh.calls, old.calls, tr.strikes.Load())
		}
	})
	t.Run("a batch that only the old one can process is a strike and keeps its result", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{trap, trap}}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		want(t, p, "old")
		if tr.strikes.Load() != 1 {
			t.Errorf("%d strikes", tr.strikes.Load())
		}
		want(t, p, "new")
	})
	t.Run("an event that the old one cannot process either is to blame itself", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{trap, testFault("second")}}, &script{tag: "old", steps: []error{trap}}
		p, tr := onScripts(t, fresh, old)
		if _, err := call(t, p); err == nil || err.Error() != "second" {
			t.Errorf("the pipeline gets %v, want the fault of the new one", err)
		}
		if tr.strikes.Load() != 0 {
			t.Errorf("%d strikes", tr.strikes.Load())
		}
	})
	t.Run("a panic that the old one does not have is a strike", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{errPanics}}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		want(t, p, "old")
		if fresh.calls != 1 || tr.strikes.Load() != 1 {
			t.Errorf("%d calls new, %d strikes", fresh.calls, tr.strikes.Load())
		}
		want(t, p, "new")
	})
	t.Run("an event on which the old one panics, too, follows the pipeline's retry", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{errPanics, errPanics}}, &script{tag: "old", steps: []error{errPanics, trap}}
		p, tr := onScripts(t, fresh, old)
		want(t, p, abi.PanicReason+"new")
		want(t, p, abi.PanicReason+"new")
		if tr.strikes.Load() != 0 {
			t.Errorf("%d strikes", tr.strikes.Load())
		}
	})
	t.Run("after the last strike every batch runs on the old one", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: slices.Repeat([]error{trap}, 100)}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		for range strikes + 2 {
			want(t, p, "old")
		}
		if fresh.calls != 2*strikes {
			t.Errorf("the new one was called %d times, want %d", fresh.calls, 2*strikes)
		}
		select {
		case <-tr.struck:
		default:
			t.Error("the engine was not told to roll back")
		}
	})
	t.Run("another partition's strikes count, too", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new"}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		for range strikes {
			tr.strike(trap)
		}
		want(t, p, "old")
		if fresh.calls != 0 {
			t.Errorf("the new one was called %d times", fresh.calls)
		}
	})
	t.Run("it knows which module has answered", func(t *testing.T) {
		t.Parallel()
		fresh := &script{tag: "new", steps: []error{nil, trap, trap, trap, trap, errPanics}}
		old := &script{tag: "old", steps: []error{nil, trap, errPanics}}
		p, _ := onScripts(t, fresh, old)
		for i, by := range []string{"new", "old", "new", "new"} { // the new one passes, is rescued, and fails where the old one does, twice
			_, _ = call(t, p)
			if got := p.Digest(); got != by {
				t.Errorf("call %d: %q, want %q", i+1, got, by)
			}
		}
	})
	t.Run("a cancelled call is not a fault", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{context.Canceled}}, &script{tag: "old"}
		p, _ := onScripts(t, fresh, old)
		if _, err := call(t, p); !errors.Is(err, context.Canceled) || fresh.calls != 1 || old.calls != 0 {
			t.Errorf("%v after %d calls new, %d old", err, fresh.calls, old.calls)
		}
	})
	t.Run("once settled a fault is the pipeline's", func(t *testing.T) {
		t.Parallel()
		fresh, old := &script{tag: "new", steps: []error{trap}}, &script{tag: "old"}
		p, tr := onScripts(t, fresh, old)
		tr.settle()
		if _, err := call(t, p); faultKind(err) == "" || fresh.calls != 1 || old.calls != 0 {
			t.Errorf("%v after %d calls new, %d old", err, fresh.calls, old.calls)
		}
	})
	t.Run("partitions strike at the same time", func(t *testing.T) {
		t.Parallel()
		old := &script{tag: "old"}
		fresh := &script{tag: "new", steps: slices.Repeat([]error{trap}, 1000)}
		p, tr := onScripts(t, fresh, old)
		var wg sync.WaitGroup
		for range 8 {
			i, err := p.of.instantiate(t.Context(), host.InstanceSpec{})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				q := &onTrial{instance: i, trial: tr, report: func(error, string) {}}
				defer q.Discard()
				for range 20 {
					want(t, q, "old")
				}
			})
		}
		wg.Wait()
		if !tr.lost() {
			t.Error("the trial is not lost")
		}
	})
}
