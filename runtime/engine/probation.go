package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/sdk/abi"
)

// strikes is how many batches that only the old generation can process make a
// trial end in a rollback.
const strikes = 3

// trial is the probation of a generation that replaced another. While it
// lasts the old module stays loaded as the way back (invariant A5). It ends in
// one of three ways: the window passes, the generation strikes out and is
// rolled back, or another generation takes its place. All partitions of all
// pipelines share one trial; it is safe for concurrent use.
type trial struct {
	old        *loaded // holds a reference until the trial is settled
	generation *generation
	window     time.Duration
	record     *trialRecord // outlives the trial

	strikes atomic.Int32
	settled atomic.Bool
	struck  chan struct{} // closed at the last strike
	over    chan struct{} // closed by settle
}

// trialRecord is what a generation's trial came to.
type trialRecord struct {
	number int // of the generation that is the way back

	mu struct {
		sync.Mutex
		rescued int       // batches that only the old generation could process
		fault   string    // the last
		at      time.Time // of fault
		proven  bool      // the trial has passed all the same
	}
}

// faulted says whether the generation has failed its trial in part and has not
// proven itself since. A nil record had no trial.
func (r *trialRecord) faulted() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.rescued > 0 && !r.mu.proven
}

// open says whether the trial has not been passed, so far or at all.
func (r *trialRecord) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.mu.proven
}

func (r *trialRecord) prove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.proven = true
}

func (r *trialRecord) add(fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.rescued++
	r.mu.fault, r.mu.at = fault.Error(), time.Now()
}

// newTrial returns the trial of a generation that replaces old, which has that
// number.
func newTrial(old *loaded, number int, window time.Duration) *trial {
	old.retain()
	return &trial{old: old, window: window, record: &trialRecord{number: number}, struck: make(chan struct{}), over: make(chan struct{})}
}

// strike counts a batch that the new generation could not process and the old could.
func (t *trial) strike(fault error) {
	t.record.add(fault)
	if t.strikes.Add(1) == strikes {
		close(t.struck)
	}
}

// lost says that the generation has struck out.
func (t *trial) lost() bool { return t.strikes.Load() >= strikes }

// reason says why the generation is rolled back.
func (t *trial) reason() string {
	t.record.mu.Lock()
	defer t.record.mu.Unlock()
	return fmt.Sprintf("failed on %d batches that generation %d, the last one proven, could process; the last: %s",
		t.record.mu.rescued, t.record.number, t.record.mu.fault)
}

// settle ends the trial, once.
func (t *trial) settle() {
	if t.settled.CompareAndSwap(false, true) {
		close(t.over)
		t.old.release()
	}
}

// wait returns true when the window has passed or the generation has struck
// out, and false when the trial is over or ctx ends.
func (t *trial) wait(ctx context.Context) bool {
	timer := time.NewTimer(t.window)
	defer timer.Stop()
	select {
	case <-t.struck:
		return true
	case <-timer.C:
		return true
	case <-t.over:
	case <-ctx.Done():
	}
	return false
}

// fallback opens an instance of the old generation; nil when the trial is
// settled or the old one cannot be opened.
func (t *trial) fallback(ctx context.Context, spec host.InstanceSpec) *instance {
	if !t.old.retainIfHeld() {
		return nil
	}
	defer t.old.release()
	i, err := t.old.instantiate(ctx, spec)
	if err != nil {
		return nil
	}
	return i
}

// onTrial is an instance of a generation on probation. A batch that faults is
// tried once more on a fresh instance. If that faults, too, or if the handler
// panicked on an event, it runs on the old generation: when that succeeds, its
// result stands and the new one has a strike; when it fails as well the event is
// to blame, and what the new one did stands: its result with the panic, or its
// fault, for which the pipeline finds the event. After the last strike every
// batch runs on the old generation until the engine has swapped it back.
//
// Results are valid until the next call, as those of any Processor.
type onTrial struct {
	*instance
	trial  *trial
	spec   host.InstanceSpec
	report func(fault error, kind string) // of a strike; the pipeline does not see it
	old    *instance                      // kept once the trial is lost
	by     string                         // digest of the module that the last answer is of
	second abi.Result                     // of the old generation
	copy   resultCopy
}

var _ pipeline.Processor = (*onTrial)(nil)

func (p *onTrial) Process(ctx context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	p.by = ""
	if p.old != nil {
		return p.old.Process(ctx, h, events, res)
	}
	if p.trial.settled.Load() {
		return p.instance.Process(ctx, h, events, res)
	}
	var fault error
	if !p.trial.lost() {
		if fault = p.attempt(ctx, h, events, res); faultKind(fault) == "" {
			return fault
		}
	}
	old := p.trial.fallback(ctx, p.spec)
	if old == nil {
		if fault == nil { // struck out, and the way back is gone meanwhile
			return p.instance.Process(ctx, h, events, res)
		}
		return stands(fault)
	}
	err := old.Process(ctx, h, events, &p.second)
	if err == nil && faultKind(fault) == abi.FaultPanic {
		err = panicIn(&p.second)
	}
	if err != nil {
		old.Discard()
		if fault != nil && faultKind(err) != "" {
			return stands(fault) // the event is to blame
		}
		res.Reset()
		p.by = old.Digest()
		return err
	}
	p.by = old.Digest()
	*res, p.second = p.second, *res
	if fault != nil {
		p.trial.strike(fault)
		p.report(fault, faultKind(fault))
	}
	if p.trial.lost() {
		p.old = old
		return nil
	}
	p.copy.take(res)
	old.Discard()
	return nil
}

// Digest names the module that the last answer is of.
func (p *onTrial) Digest() string {
	switch {
	case p.by != "":
		return p.by
	case p.old != nil:
		return p.old.Digest()
	}
	return p.instance.Digest()
}

// attempt runs the batch on the new generation. It returns the fault that a
// fresh instance repeats, or the panic of a handler, with which res stands.
func (p *onTrial) attempt(ctx context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) (fault error) {
	// The second call runs on a fresh instance: the host throws away what faulted.
	for range 2 {
		if fault = p.instance.Process(ctx, h, events, res); fault == nil {
			return panicIn(res)
		}
		if faultKind(fault) == "" {
			return fault
		}
	}
	return fault
}

// handlerPanic is the reason that a plugin gave with an event it panicked on.
type handlerPanic string

func (e handlerPanic) Error() string     { return string(e) }
func (handlerPanic) FaultKind() string   { return abi.FaultPanic }
func (handlerPanic) FaultDetail() string { return "" }

// panicIn returns the first panic of a handler that res tells of, or nil.
func panicIn(res *abi.Result) error {
	for i := range res.Outcomes {
		o := &res.Outcomes[i]
		if o.Code == abi.CodeRetry && bytes.HasPrefix(o.Reason, []byte(abi.PanicReason)) {
			return handlerPanic(o.Reason)
		}
	}
	return nil
}

// stands is what a batch ends with when only the new generation's own answer is
// left: the result after a panic, otherwise the fault.
func stands(fault error) error {
	if faultKind(fault) == abi.FaultPanic {
		return nil
	}
	return fault
}

// Close ends the instance that processed last.
func (p *onTrial) Close(ctx context.Context, res *abi.Result) error {
	p.by = ""
	if p.old != nil {
		return p.old.Close(ctx, res)
	}
	return p.instance.Close(ctx, res)
}

func (p *onTrial) Discard() {
	if p.old != nil {
		p.old.Discard()
	}
	p.instance.Discard()
}

// faultKind tells a fault of the plugin from a call that was cancelled: "".
func faultKind(err error) string {
	var f interface {
		error
		FaultKind() string
	}
	if err != nil && errors.As(err, &f) {
		return f.FaultKind()
	}
	return ""
}

// resultCopy holds the bytes of a result whose instance is gone.
type resultCopy struct{ buf []byte }

// take replaces the views of res by views of its own copy, valid until the next take.
func (c *resultCopy) take(res *abi.Result) {
	n := 0
	for i := range res.Outputs {
		o := &res.Outputs[i]
		n += len(o.Subject) + len(o.Key) + len(o.Headers) + len(o.Payload)
	}
	for i := range res.Outcomes {
		n += len(res.Outcomes[i].Reason)
	}
	if cap(c.buf) < n {
		c.buf = make([]byte, 0, n)
	}
	c.buf = c.buf[:0]
	own := func(b *[]byte) {
		at := len(c.buf)
		c.buf = append(c.buf, *b...)
		*b = c.buf[at:len(c.buf):len(c.buf)]
	}
	for i := range res.Outputs {
		o := &res.Outputs[i]
		own(&o.Subject)
		own(&o.Key)
		own(&o.Headers)
		own(&o.Payload)
	}
	for i := range res.Outcomes {
		own(&res.Outcomes[i].Reason)
	}
}
