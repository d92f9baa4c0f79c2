package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// run takes one batch down the stages, depth first: the outputs of a call are
// carried to the end before the same stage is called again, so that they can be
// views of the instance's memory and need no copy. Only an outcome that calls
// for a retry makes copies of what follows it.
type run struct {
	*partition
	batch   *batch
	reached int // the last event of the batch of which something was published or given up; -1 = none
}

var errDraining = errors.New("stopped while an event waited for its retry")

// stage sends events, in order, through stage k and all behind it. origin gives
// for each event its index in the batch, -1 for one that none of them caused.
func (r *run) stage(ctx context.Context, k int, events []abi.Event, origin []int) error {
	limit := r.p.cfg.Batch
	for len(events) > 0 {
		n, bytes := 0, 0
		for n < len(events) && n < limit.MaxEvents {
			size := eventBytes(&events[n])
			if n > 0 && bytes+size > limit.MaxBytes {
				break
			}
			bytes += size
			n++
		}
		if err := r.call(ctx, k, events[:n], origin[:n], true); err != nil {
			return err
		}
		events, origin = events[n:], origin[n:]
	}
	return nil
}

// call hands events to stage k. A fault is tried once more on a fresh instance
// when again is set; after that the batch is halved until the event at fault
// stands alone, which then follows the retry policy.
func (r *run) call(ctx context.Context, k int, events []abi.Event, origin []int, again bool) error {
	if r.p.deps.Conduct.aside() != nil {
		if n := r.begun(origin); n == 0 {
			return errCut
		} else if n < len(events) {
			if err := r.call(ctx, k, events[:n], origin[:n], again); err != nil {
				return err
			}
			return errCut
		}
	}
	f, err := r.invoke(ctx, k, events, origin)
	if err != nil {
		return err
	}
	if f == nil {
		return r.settle(ctx, k, events, origin, 1)
	}
	if len(events) == 1 {
		return r.again(ctx, k, events[0], origin[0], 1, 0, r.stages[k].failureOf(f))
	}
	if again {
		return r.call(ctx, k, events, origin, false)
	}
	half := len(events) / 2
	if err := r.call(ctx, k, events[:half], origin[:half], false); err != nil {
		return err
	}
	return r.call(ctx, k, events[half:], origin[half:], false)
}

// invoke makes one call, as soon as the plugin's account allows, and reports it.
// The result is in the stage's res.
func (r *run) invoke(ctx context.Context, k int, events []abi.Event, origin []int) (fault, error) {
	leave, err := r.enter(ctx, k, origin[0])
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := r.p.slots.take(ctx); err != nil {
		return nil, err
	}
	st := r.stages[k]
	st.res.Reset()
	r.calls++
	start := time.Now()
	h := abi.BatchHeader{Kind: abi.KindData, Count: uint32(len(events)), ID: r.calls, Now: start.UnixNano()}
	err = st.proc.Process(ctx, h, events, &st.res)
	d := time.Since(start)
	r.p.slots.give()
	st.answered()
	st.book(d, len(events), err != nil)
	f, ok := asFault(err)
	var trace event.TraceID
	if len(r.batch.traces) > 0 && (ok || err == nil) {
		trace = r.traceCall(k, events, origin, start, d, f)
	}
	r.p.deps.Listener.Called(r.p.cfg.Name, st.Name, st.Plugin, len(events), d, err, trace)
	if gone := ctx.Err(); gone != nil {
		return nil, gone // abandoned meanwhile: another run may own the events now
	}
	event.Failpoint(event.FailCalled)
	if err == nil {
		return nil, nil
	}
	if !ok {
		return nil, fmt.Errorf("stage %q: %w", st.Name, err)
	}
	r.report(st, f)
	if watches := r.p.deps.Tap.Watches(); watches != nil && len(events) == 1 {
		r.observe(watches, k, events, int(max(events[0].Attempt, 1)), f)
	}
	return f, nil
}

func asFault(err error) (fault, bool) {
	var f fault
	ok := errors.As(err, &f)
	return f, ok
}

func (pt *partition) report(st *stage, f fault) {
	pt.p.stats.fault(st, f.FaultKind(), f)
	pt.p.deps.Listener.Fault(pt.p.cfg.Name, st.Name, st.Plugin, f.FaultKind(), f)
}

// settle carries out the result of a call of stage k with events: outputs go
// on, outcomes are followed. attempt is how often these events were tried.
func (r *run) settle(ctx context.Context, k int, events []abi.Event, origin []int, attempt int) error {
	if watches := r.p.deps.Tap.Watches(); watches != nil {
		r.observe(watches, k, events, attempt, nil)
	}
	st := r.stages[k]
	outputs, outcomes, by := st.res.Outputs, st.res.Outcomes, st.by
	counts := event.Counts{In: len(events), Out: len(outputs)}
	if len(outcomes) == 0 {
		counts.Dropped = silent(len(events), outputs)
		r.count(st, counts)
		r.p.deps.Conduct.pass(counts.Dropped)
		return r.forward(ctx, k, events, origin, outputs)
	}
	retries := 0
	for i := range outcomes {
		switch outcomes[i].Code {
		case abi.CodeRetry:
			retries++
		case abi.CodeDeadLetter:
		case abi.CodeDrop:
		}
	}
	counts.Dropped = silent(len(events), outputs) - len(outcomes) + drops(outcomes)
	r.count(st, counts)
	r.p.deps.Conduct.pass(counts.Dropped)
	if retries > 0 {
		// The next call of this stage ends the life of what this one returned.
		outputs, outcomes = st.copyResult()
	}
	next := 0 // first output not yet forwarded
	for i := range outcomes {
		o := &outcomes[i]
		if o.Code == abi.CodeDrop {
			continue
		}
		// Invariant A2: what precedes the event goes first.
		upto := next
		for upto < len(outputs) && (outputs[upto].Source == abi.NoSource || outputs[upto].Source < o.Index) {
			upto++
		}
		if err := r.forward(ctx, k, events, origin, outputs[next:upto]); err != nil {
			return err
		}
		next = upto
		e, at := events[o.Index], origin[o.Index]
		if r.p.deps.Conduct.aside() != nil && at > r.reached {
			return errCut // it would have to be called again
		}
		why := r.failureIn(st, o)
		var err error
		if o.Code == abi.CodeRetry {
			err = r.again(ctx, k, e, at, attempt, time.Duration(o.Delay)*time.Millisecond, why)
			st.by = by // whatever else was called meanwhile
		} else {
			if why.cause == "" {
				why.cause = "the plugin asked for it"
			}
			err = r.deadLetter(ctx, k, at, attempt, why)
		}
		if err != nil {
			return err
		}
	}
	return r.forward(ctx, k, events, origin, outputs[next:])
}

// silent counts the events without any output.
func silent(events int, outputs []abi.Output) int {
	last := abi.NoSource
	for i := range outputs {
		if s := outputs[i].Source; s != abi.NoSource && s != last {
			last = s
			events--
		}
	}
	return events
}

func drops(outcomes []abi.Outcome) int {
	n := 0
	for i := range outcomes {
		if outcomes[i].Code == abi.CodeDrop {
			n++
		}
	}
	return n
}

func (r *run) count(st *stage, c event.Counts) {
	r.p.stats.count(c)
	r.p.deps.Listener.Stage(r.p.cfg.Name, st.Name, st.Plugin, c)
}

// again tries one event until it succeeds or its attempts are spent. It holds
// the partition: the order of a key is kept (A2). attempt is how often the
// event was tried so far; delay, if positive, replaces the first backoff, within
// the limit of all.
func (r *run) again(ctx context.Context, k int, e abi.Event, at, attempt int, delay time.Duration, why failure) error {
	st := r.stages[k]
	for attempt < r.p.cfg.Retry.Attempts {
		r.count(st, event.Counts{Retried: 1})
		if delay <= 0 {
			delay = r.backoff(attempt)
		}
		delay = min(delay, r.longest())
		r.traceNote(at, noteRetry, st, attempt, delay, why)
		err := r.sleep(ctx, k, delay)
		if errors.Is(err, errDraining) && at < 0 {
			err = nil // no event will bring it back: it has its attempts now
		}
		if err != nil {
			return r.cutAt(at, err)
		}
		attempt++
		e.Attempt = uint32(attempt)
		one := []abi.Event{e}
		f, err := r.invoke(ctx, k, one, []int{at})
		if err != nil {
			return err
		}
		delay = 0
		if f != nil {
			why = st.failureOf(f)
			continue
		}
		if o := st.res.Outcomes; len(o) == 1 && o[0].Code == abi.CodeRetry {
			r.count(st, event.Counts{In: 1})
			if watches := r.p.deps.Tap.Watches(); watches != nil {
				r.observe(watches, k, one, attempt, nil)
			}
			why = r.failureIn(st, &o[0])
			delay = time.Duration(o[0].Delay) * time.Millisecond
			continue
		}
		return r.settle(ctx, k, one, []int{at}, attempt)
	}
	if why.kind == abi.FaultHandlerError && why.cause == "" {
		why.cause = "the plugin asked for a retry"
	}
	return r.giveUp(ctx, k, at, attempt, why)
}

// failureIn is why the plugin itself cannot process an event now. A panic of its
// handler counts as a fault, like those that end an instance.
func (r *run) failureIn(st *stage, o *abi.Outcome) failure {
	why := failure{kind: abi.FaultHandlerError, cause: string(o.Reason), digest: st.by}
	if o.Code == abi.CodeRetry && strings.HasPrefix(why.cause, abi.PanicReason) {
		why.kind = abi.FaultPanic
		err := errors.New(why.cause)
		r.p.stats.fault(st, why.kind, err)
		r.p.deps.Listener.Fault(r.p.cfg.Name, st.Name, st.Plugin, why.kind, err)
	}
	return why
}

// backoff is the wait before the attempt after the given one.
func (r *run) backoff(attempt int) time.Duration {
	c := r.p.cfg.Retry
	d := c.Backoff
	for i := 1; i < attempt && d < c.MaxBackoff; i++ {
		d *= 2
	}
	return min(d, r.longest())
}

// longest is the longest wait before any attempt, also when a plugin asks for
// more: it is the operator who says for how long an event may hold what it holds.
func (r *run) longest() time.Duration {
	return max(r.p.cfg.Retry.MaxBackoff, r.p.cfg.Retry.Backoff)
}

// sleep waits before a retry of stage k. What was added before is confirmed
// meanwhile. A swap of this stage or one behind it is applied here: it may be
// the very fix that the event waits for. A drain ends the wait; the event then
// stays unacknowledged.
func (r *run) sleep(ctx context.Context, k int, d time.Duration) error {
	_, err := r.pause(ctx, k, d, nil)
	return err
}

// pause is sleep that ends as soon as something can be sent to turn, too; took
// says that it was.
func (r *run) pause(ctx context.Context, k int, d time.Duration, turn chan<- struct{}) (took bool, err error) {
	if err := r.sink.Flush(); err != nil {
		return false, fmt.Errorf("flush outputs: %w", err)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case turn <- struct{}{}:
			return true, nil
		case <-timer.C:
			return false, r.applySwaps(ctx, k)
		case <-r.queue.wake:
			if err := r.applySwaps(ctx, k); err != nil {
				return false, err
			}
			select {
			case <-r.p.stopping:
				return false, errDraining
			default:
			}
		case <-r.p.stopping:
			return false, errDraining
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// giveUp does what on_failure says with an event that no retry saved.
func (r *run) giveUp(ctx context.Context, k, at, attempts int, why failure) error {
	st := r.stages[k]
	r.reach(at)
	if at >= 0 && misconduct(why.kind) && r.p.cfg.OnFailure != "halt" {
		if q := r.p.deps.Conduct.fail(st, r.batch.events[at].Key, !r.p.cfg.Key.None(), why); q != nil {
			why.quarantine = q.Reason
		}
	}
	switch r.p.cfg.OnFailure {
	case "drop":
		r.traceNote(at, noteDropped, st, attempts, 0, why)
		r.p.stats.giveUp()
		r.count(st, event.Counts{Dropped: 1})
		return nil
	case "halt":
		r.traceNote(at, noteHalted, st, attempts, 0, why)
		what := "an output that no event caused"
		if at >= 0 {
			what = fmt.Sprintf("event %d of topic %q", r.batch.events[at].Seq, r.p.cfg.Topic)
		}
		tried := "1 attempt"
		if attempts != 1 {
			tried = fmt.Sprintf("%d attempts", attempts)
		}
		return fmt.Errorf("%w at stage %q: %s after %s: %s: %s", ErrHalted, st.Name, what, tried, why.kind, why.cause)
	default:
		return r.deadLetter(ctx, k, at, attempts, why)
	}
}

// copyResult returns deep copies of the last result, kept until the next call
// of copyResult.
func (st *stage) copyResult() ([]abi.Output, []abi.Outcome) {
	outputs := append([]abi.Output(nil), st.res.Outputs...)
	outcomes := append([]abi.Outcome(nil), st.res.Outcomes...)
	for i := range outputs {
		o := &outputs[i]
		o.Subject, o.Key = clone(o.Subject), clone(o.Key)
		o.Headers, o.Payload = clone(o.Headers), clone(o.Payload)
	}
	for i := range outcomes {
		outcomes[i].Reason = clone(outcomes[i].Reason)
	}
	return outputs, outcomes
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
