package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// partition is a serial path of a pipeline: one goroutine takes batches from
// its queue, runs them through the stages and adds the outputs to its sink.
// What it added and the broker has not confirmed waits in pending, oldest
// first; confirmations come from the sink's goroutines.
//
//	loop: swap stages that were asked for
//	      take a batch (wait to fill it only while more is on its way)
//	      stage 1 → … → stage n → sink
//	      pending ← batch with the positions of its outputs
//	      queue empty and nothing more coming → flush
//	confirmed: while the head of pending has all its outputs confirmed → finished
type partition struct {
	p        *Pipeline
	index    int
	queue    *queue
	sink     Sink
	stages   []*stage // owned by the goroutine of run
	calls    uint64   // calls made, the id of the last batch frame
	pos      []uint64 // by topic: position of the last output added
	identity []int    // 0, 1, 2, …: the origin of a batch's own events
	scratch

	pendingMu sync.Mutex // guards pending and free; held over nothing that blocks
	pending   []*batch
	free      []*batch

	swapMu sync.Mutex
	swaps  []swap

	swapping bool // a swap is being applied; of run's goroutine
}

// stage is one plugin instance and the buffers of its calls.
type stage struct {
	Stage
	proc   Processor
	res    abi.Result
	events []abi.Event // inputs made from the previous stage's outputs
	origin []int       // of events: index in the batch
	keep   []byte      // headers merged for events, and copies kept over a retry

	account *Account
	faulted bool // the last call has: the next one starts a fresh instance

	// by is the digest of the module whose answer is being carried out: a swap in
	// the middle of it does not make the new generation the one that failed.
	by string
}

// answered notes which module has answered last.
func (st *stage) answered() {
	if p, ok := st.proc.(identified); ok {
		st.by = p.Digest()
	}
}

type swap struct {
	stage int
	proc  Processor
	done  chan struct{}
}

// batch is the unit of work: the events taken together, and where their outputs
// went.
type batch struct {
	events []abi.Event
	slots  []uint64
	bytes  int
	made   []int    // by event: outputs published so far, for Wasmill-Source
	need   []uint64 // by topic: every output up to here must be confirmed

	traces []*event.Trace // by event, nil for one that is not traced; empty when none is
	joint  *event.Trace   // of what no single event has caused
}

func (b *batch) reset(topics int) {
	clear(b.events)
	clear(b.traces)
	b.traces, b.joint = b.traces[:0], nil
	b.events, b.slots, b.bytes, b.made = b.events[:0], b.slots[:0], 0, b.made[:0]
	if cap(b.need) < topics {
		b.need = make([]uint64, topics)
	}
	b.need = b.need[:topics]
	clear(b.need)
}

func newPartition(ctx context.Context, p *Pipeline, index int) (*partition, error) {
	pt := &partition{p: p, index: index, queue: newQueue(), pos: make([]uint64, len(p.cfg.Outputs)+2)}
	pt.last = make([][]byte, len(p.cfg.Outputs))
	pt.sent = make([]sent, len(p.cfg.Outputs)+1)
	sink, err := p.deps.Sink(index, pt.confirmed)
	if err != nil {
		return nil, fmt.Errorf("open sink: %w", err)
	}
	pt.sink = sink
	for i, st := range p.cfg.Stages {
		proc, err := p.deps.Processor(i, index)
		if err != nil {
			pt.discard(ctx)
			return nil, fmt.Errorf("stage %q: %w", st.Name, err)
		}
		pt.stages = append(pt.stages, &stage{Stage: st, proc: proc, account: p.deps.Throttle.account(p.cfg.Name, st.Plugin)})
	}
	return pt, nil
}

// discard gives up a partition that never ran.
func (pt *partition) discard(ctx context.Context) {
	for _, st := range pt.stages {
		st.proc.Discard()
	}
	_ = pt.sink.Close(ctx) // nothing was added to it
}

// run is the partition's goroutine. It returns when the queue is closed and
// empty and every output confirmed, or with a failure.
func (pt *partition) run(ctx context.Context) (err error) {
	defer func() { err = pt.end(ctx, err) }()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	dirty := false // something was added since the last flush
	for {
		if err := pt.applySwaps(ctx, 0); err != nil {
			return err
		}
		b := pt.newBatch()
		got, ended := pt.queue.take(pt.p.cfg.Batch, pt.p.expect.Load, dirty, timer, b)
		if got {
			if pt.p.deps.Conduct.aside() != nil {
				return errCut // as below
			}
			if err := pt.process(ctx, b); errors.Is(err, errDraining) {
				return nil // b and what is queued stay unacknowledged
			} else if err != nil {
				return err
			}
			dirty = true
			if !pt.queue.empty() || pt.p.expect.Load() {
				continue
			}
		} else {
			pt.recycle(b)
		}
		if dirty {
			if err := pt.sink.Flush(); err != nil {
				return fmt.Errorf("flush outputs: %w", err)
			}
			event.Failpoint(event.FailFlushed)
			dirty = false
		}
		if ended {
			return nil
		}
	}
}

// process runs one batch through the stages and queues it until its outputs are
// confirmed.
func (pt *partition) process(ctx context.Context, b *batch) error {
	for range b.events {
		b.made = append(b.made, 0)
	}
	r := run{partition: pt, batch: b, reached: -1}
	for len(pt.identity) < len(b.events) {
		pt.identity = append(pt.identity, len(pt.identity))
	}
	pt.beginTraces(b)
	err := r.stage(ctx, 0, b.events, pt.identity[:len(b.events)])
	pt.reportPublished()
	if errors.Is(err, errCut) {
		pt.p.traceEnd(b, r.reached+1, err)
		b.cut(r.reached + 1) // all complete: the order is kept (A2)
		if len(b.events) == 0 {
			pt.recycle(b)
			return err
		}
	} else if err != nil {
		pt.p.traceEnd(b, 0, err)
		return err
	}
	if n := len(b.events); n > 0 { // a cut may have left none
		if err := pt.commit(ctx, b.events[n-1].Seq); err != nil {
			pt.p.traceEnd(b, 0, err)
			return err
		}
	}
	event.Failpoint(event.FailAdded)
	copy(b.need, pt.pos)
	pt.pendingMu.Lock()
	pt.pending = append(pt.pending, b)
	pt.pendingMu.Unlock()
	pt.confirmed()
	return err // nil, or errCut
}

// commit tells the sink that the events up to seq have caused nothing more.
func (pt *partition) commit(ctx context.Context, seq uint64) error {
	pos, err := pt.sink.Commit(ctx, seq)
	if err != nil {
		return fmt.Errorf("commit outputs: %w", err)
	}
	pt.pos[len(pt.pos)-1] = pos
	return nil
}

// confirmed finishes, in order, the batches whose outputs are all stored. It is
// called by the sink's goroutines and by the partition's own.
func (pt *partition) confirmed() {
	for {
		pt.pendingMu.Lock()
		if len(pt.pending) == 0 || !pt.stored(pt.pending[0]) {
			pt.pendingMu.Unlock()
			return
		}
		b := pt.pending[0]
		n := copy(pt.pending, pt.pending[1:])
		pt.pending[n] = nil
		pt.pending = pt.pending[:n]
		pt.pendingMu.Unlock()
		event.Failpoint(event.FailFinished)
		pt.p.finished(b)
		pt.recycle(b)
	}
}

func (pt *partition) stored(b *batch) bool {
	for topic, need := range b.need {
		if need > 0 && pt.sink.Confirmed(topic) < need {
			return false
		}
	}
	return true
}

func (pt *partition) newBatch() *batch {
	pt.pendingMu.Lock()
	defer pt.pendingMu.Unlock()
	if n := len(pt.free); n > 0 {
		b := pt.free[n-1]
		pt.free = pt.free[:n-1]
		return b
	}
	b := &batch{}
	b.reset(len(pt.pos))
	return b
}

func (pt *partition) recycle(b *batch) {
	b.reset(len(pt.pos))
	pt.pendingMu.Lock()
	pt.free = append(pt.free, b)
	pt.pendingMu.Unlock()
}

// end closes the instances, publishes their last outputs, and waits for the
// sink. With a failure it only frees what there is.
func (pt *partition) end(ctx context.Context, failed error) error {
	if errors.Is(failed, errCut) {
		failed = nil
	}
	if failed == nil {
		failed = pt.applySwaps(ctx, 0) // asked for after the last batch
	}
	for i := range pt.stages {
		if err := pt.closeStage(ctx, i, failed == nil); err != nil && failed == nil {
			failed = err
		}
	}
	pt.refuseSwaps()
	if err := pt.sink.Close(ctx); err != nil && failed == nil {
		failed = fmt.Errorf("close sink: %w", err)
	}
	if failed == nil {
		pt.confirmed()
		if q := pt.p.deps.Conduct.aside(); q != nil {
			return q
		}
		return nil
	}
	pt.pendingMu.Lock()
	left := pt.pending
	pt.pending = nil
	pt.pendingMu.Unlock()
	for _, b := range left {
		pt.p.traceEnd(b, 0, failed)
	}
	return fmt.Errorf("pipeline %q: partition %d: %w", pt.p.cfg.Name, pt.index, failed)
}

// closeStage ends the instance of a stage; its last outputs go through the
// stages behind it.
func (pt *partition) closeStage(ctx context.Context, i int, publish bool) error {
	st := pt.stages[i]
	defer st.proc.Discard()
	st.res.Reset()
	err := st.proc.Close(ctx, &st.res)
	st.answered()
	if err != nil {
		if f, ok := asFault(err); ok {
			pt.report(st, f) // its state is gone, the events were finished before
			return nil
		}
		return fmt.Errorf("close stage %q: %w", st.Name, err)
	}
	if !publish || len(st.res.Outputs) == 0 {
		return nil
	}
	b := pt.newBatch()
	r := run{partition: pt, batch: b, reached: -1}
	err = r.settle(ctx, i, nil, nil, 1)
	pt.reportPublished()
	if err != nil {
		return err
	}
	pt.recycle(b) // no event waits for these outputs; Close of the sink does
	if err := pt.commit(ctx, 0); err != nil {
		return err
	}
	return pt.sink.Flush()
}

// requestSwap asks the partition to use proc for a stage from the next call on.
// The channel is closed when it does, or when the partition has ended.
func (pt *partition) requestSwap(stage int, proc Processor) chan struct{} {
	done := make(chan struct{})
	pt.swapMu.Lock()
	pt.swaps = append(pt.swaps, swap{stage: stage, proc: proc, done: done})
	pt.swapMu.Unlock()
	pt.queue.signal()
	return done
}

// applySwaps switches the stages from min on that were asked for, in the order
// of asking. Invariant A5: it runs in the partition's goroutine, between two
// calls. The last outputs of an old instance may wait for a retry and come here
// again: what is asked for meanwhile is next.
func (pt *partition) applySwaps(ctx context.Context, minStage int) error {
	if pt.swapping {
		return nil
	}
	pt.swapping = true
	defer func() { pt.swapping = false }()
	for {
		s, ok := pt.nextSwap(minStage)
		if !ok {
			return nil
		}
		err := pt.closeStage(ctx, s.stage, true)
		st := pt.stages[s.stage]
		st.proc, st.faulted = s.proc, false
		st.account.Forgive() // it is another plugin now
		close(s.done)
		if err != nil {
			return err // the others are refused when the partition ends
		}
	}
}

// nextSwap takes the oldest request for a stage from min on.
func (pt *partition) nextSwap(minStage int) (swap, bool) {
	pt.swapMu.Lock()
	defer pt.swapMu.Unlock()
	for i, s := range pt.swaps {
		if s.stage >= minStage {
			pt.swaps = slices.Delete(pt.swaps, i, i+1)
			return s, true
		}
	}
	return swap{}, false
}

// refuseSwaps frees the instances that came too late.
func (pt *partition) refuseSwaps() {
	pt.swapMu.Lock()
	defer pt.swapMu.Unlock()
	for _, s := range pt.swaps {
		s.proc.Discard()
		close(s.done)
	}
	pt.swaps = nil
}
