// Package pipeline moves events from one topic through the stages of one
// pipeline to its output topics. It knows neither NATS nor Wasm: it works on
// the small Source, Processor and Sink interfaces of its own, so that its loops
// run in tests with neither.
//
//	dispatcher (1)            partition (n)                  sink callbacks
//	  wait for room             take a batch                   outputs confirmed
//	  fetch                     for each stage: call plugin    finish the batch
//	  acquire shares            add outputs to the sink        acknowledge the
//	  key → partition queue     flush when idle                finished prefix
//
// Invariants upheld here: A1 (acknowledge only a prefix whose outputs are all
// confirmed), A2 (a partition is one goroutine: events are processed and their
// outputs added in sequence order), A3 (Room and Shares bound what is in
// flight; at the limit nothing is fetched), A5 (a stage is swapped between two
// calls of its plugin).
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// Pipeline runs one pipeline of this process. Run may be called once; the other
// methods are safe for concurrent use.
type Pipeline struct {
	cfg   Config
	deps  Deps
	track tracker
	held  holding
	slots slots
	parts []*partition
	stats counters

	ready    chan struct{}
	expect   atomic.Bool   // the topic has more events on their way to the dispatcher
	progress chan struct{} // capacity 1: something finished, there may be room
	stopping chan struct{} // closed when the drain begins
	ackMu    sync.Mutex    // orders take and Ack
	lastAck  time.Time     // guarded by ackMu
	ackLater *time.Timer   // acknowledges; stopped when Run returns

	mu struct {
		sync.Mutex
		running  bool
		paused   chan struct{}      // not nil while paused; closed by Resume
		parked   bool               // the dispatcher waits for Resume: no Fetch is at work
		fetch    context.Context    //nolint:containedctx // of the Fetch at hand, so that Pause can interrupt it
		unfetch  context.CancelFunc // ends fetch
		failed   error              // first failure of a partition
		draining bool
	}
}

// New checks cfg and returns a pipeline that has acquired nothing yet.
func New(cfg Config, deps Deps) (*Pipeline, error) {
	switch {
	case cfg.Name == "" || cfg.Topic == "":
		return nil, errors.New("pipeline: name and topic are required")
	case len(cfg.Stages) == 0 || len(cfg.Outputs) == 0:
		return nil, fmt.Errorf("pipeline %q: at least one stage and one output are required", cfg.Name)
	case cfg.Partitions < 1 || cfg.Batch.MaxEvents < 1 || cfg.Batch.MaxBytes < 1:
		return nil, fmt.Errorf("pipeline %q: partitions and batch limits must be positive", cfg.Name)
	case cfg.Room.Events < 1 || cfg.Room.Bytes < 1:
		return nil, fmt.Errorf("pipeline %q: room must be positive", cfg.Name)
	case cfg.OnFailure != "dead-letter" && cfg.OnFailure != "drop" && cfg.OnFailure != "halt":
		return nil, fmt.Errorf("pipeline %q: on_failure %q is unknown", cfg.Name, cfg.OnFailure)
	}
	if cfg.Key.None() {
		cfg.Partitions = 1 // without a key there is nothing to spread by
	}
	cfg.Retry.Attempts = max(cfg.Retry.Attempts, 1)
	if deps.DrainTimeout <= 0 {
		deps.DrainTimeout = 30 * time.Second
	}
	deps.Listener = deps.Listener.WithDefaults()
	if deps.Throttle == nil {
		deps.Throttle = NewThrottle()
	}
	if deps.Conduct == nil {
		deps.Conduct = NewConduct()
	}
	p := &Pipeline{
		cfg: cfg, deps: deps,
		held:     holding{shares: deps.Shares},
		slots:    newSlots(cfg.Partitions),
		ready:    make(chan struct{}),
		progress: make(chan struct{}, 1),
		stopping: make(chan struct{}),
	}
	p.stats.init()
	p.ackLater = time.AfterFunc(time.Hour, func() { p.acknowledge(true) })
	p.ackLater.Stop()
	return p, nil
}

// Ready is closed when every instance is open and events flow.
func (p *Pipeline) Ready() <-chan struct{} { return p.ready }

// Run opens the instances and sinks and moves events until ctx ends, then
// drains: it fetches no more, finishes what is in flight, and returns nil, or
// ErrDrain when that took longer than DrainTimeout. A *QuarantineError says that
// nearly every event fails. Any other error is a failure; what was not acknowledged comes back at the next start. Run closes
// the instances and the sinks, and leaves the Source to its owner.
func (p *Pipeline) Run(ctx context.Context) error {
	// work outlives ctx by the drain: it is what calls and publishing run under.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	if err := p.open(work); err != nil {
		return err
	}
	stop, halt := context.WithCancel(ctx)
	defer halt()
	defer p.ackLater.Stop()
	p.deps.Source.OnDurable(p.durable)

	var wg sync.WaitGroup
	for _, pt := range p.parts {
		wg.Go(func() {
			if err := pt.run(work); err != nil {
				p.fail(err)
				halt()
			}
		})
	}
	close(p.ready)
	err := p.dispatch(stop)
	if err != nil {
		p.fail(err)
	}
	p.beginDrain()
	done := make(chan struct{})
	go func() { // ends with the partitions, which abandon releases at the latest
		wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(p.deps.DrainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		p.acknowledge(true)
	case <-timer.C:
		p.fail(fmt.Errorf("pipeline %q: %w after %s", p.cfg.Name, ErrDrain, p.deps.DrainTimeout))
		abandon()
		// A call that does not come back cannot be interrupted: wait a moment
		// for the partitions that can be, and leave the others behind.
		timer.Reset(time.Second)
		select {
		case <-done:
		case <-timer.C:
		}
	}
	p.held.close()
	p.deps.Listener.InFlight(p.cfg.Name, 0, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.failed
}

// open makes every partition's instances and sinks, or none.
func (p *Pipeline) open(ctx context.Context) error {
	for i := range p.cfg.Partitions {
		pt, err := newPartition(ctx, p, i)
		if err != nil {
			for _, o := range p.parts {
				o.discard(ctx)
			}
			p.parts = nil
			return fmt.Errorf("pipeline %q: open partition %d: %w", p.cfg.Name, i, err)
		}
		p.parts = append(p.parts, pt)
	}
	p.mu.Lock()
	p.mu.running = true
	p.mu.Unlock()
	return nil
}

func (p *Pipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.failed == nil {
		p.mu.failed = err
	}
}

func (p *Pipeline) beginDrain() {
	p.mu.Lock()
	p.mu.draining = true
	p.mu.Unlock()
	p.expect.Store(false)
	close(p.stopping)
	for _, pt := range p.parts {
		pt.queue.close()
	}
}

// Pause stops fetching; what is in flight is finished.
func (p *Pipeline) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.paused == nil {
		p.mu.paused = make(chan struct{})
		if p.mu.unfetch != nil {
			p.mu.unfetch()
		}
	}
}

// Resume undoes Pause.
func (p *Pipeline) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.paused != nil {
		close(p.mu.paused)
		p.mu.paused = nil
	}
}

// Swap replaces the plugin of a stage. It makes the new instances for all
// partitions first; if one fails, the others are discarded and the old ones
// stay (A5). Each partition then switches between two calls. Swap returns when
// all have, or with ctx's error, when the partitions that are still inside a
// call will switch as soon as it returns.
func (p *Pipeline) Swap(ctx context.Context, stage int, next func(partition int) (Processor, error)) error {
	p.mu.Lock()
	ok := p.mu.running && !p.mu.draining
	p.mu.Unlock()
	if !ok {
		return fmt.Errorf("pipeline %q: swap stage %d: it is not running", p.cfg.Name, stage)
	}
	made := make([]Processor, 0, len(p.parts))
	for i := range p.parts {
		proc, err := next(i)
		if err != nil {
			for _, m := range made {
				m.Discard()
			}
			return fmt.Errorf("pipeline %q: swap stage %q: partition %d: %w", p.cfg.Name, p.cfg.Stages[stage].Name, i, err)
		}
		made = append(made, proc)
	}
	done := make([]chan struct{}, len(p.parts))
	for i, pt := range p.parts {
		done[i] = pt.requestSwap(stage, made[i])
	}
	for _, d := range done {
		select {
		case <-d:
		case <-ctx.Done():
			return fmt.Errorf("pipeline %q: swap stage %q: %w", p.cfg.Name, p.cfg.Stages[stage].Name, ctx.Err())
		}
	}
	return nil
}

// finished is called when batches of a partition are complete: it acknowledges
// the finished prefix.
func (p *Pipeline) finished(b *batch) {
	unacked, unfinished := p.track.finish(b.slots)
	oldest := time.Duration(0)
	if len(b.events) > 0 {
		// The clock of the topic may be ahead, or this one was set back.
		oldest = max(time.Duration(time.Now().UnixNano()-b.events[0].Time), 0)
	}
	p.deps.Listener.Done(p.cfg.Name, len(b.events), b.bytes, oldest, b.traceID())
	p.traceEnd(b, 0, nil)
	if unacked > 0 {
		p.acknowledge(unfinished == 0 || unacked >= ackEvery)
	}
}

// durable gives back the room of events that a crash does not bring back, and
// lets the dispatcher go on.
func (p *Pipeline) durable() {
	events, bytes := p.track.free(p.deps.Source.Durable())
	if events == 0 {
		return
	}
	p.held.release(events, int64(bytes))
	p.stats.leave(events, bytes)
	p.deps.Listener.InFlight(p.cfg.Name, int(p.stats.events.Load()), int(p.stats.bytes.Load()))
	select {
	case p.progress <- struct{}{}:
	default:
	}
}

// Acknowledgements are coalesced: one for this many events or this long, and
// always when nothing is in flight.
const (
	ackEvery    = 512
	ackInterval = 2 * time.Millisecond
)

// acknowledge tells the source how far the finished prefix goes, now or within
// ackInterval. Invariant A1.
func (p *Pipeline) acknowledge(now bool) {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	if wait := ackInterval - time.Since(p.lastAck); !now && wait > 0 {
		// What is finished keeps its room until it is acknowledged: it must not
		// wait for something else to finish.
		p.ackLater.Reset(wait)
		return
	}
	ack, seq := p.track.take()
	if ack == "" {
		return
	}
	p.lastAck = time.Now()
	event.Failpoint(event.FailAck)
	if err := p.deps.Source.Ack(ack); err != nil {
		// The events come back after a restart. The source reports a broken
		// connection from Fetch.
		return
	}
	event.Failpoint(event.FailAcked)
	p.stats.acked.Store(seq)
}

// sizesOf reuses dst for the sizes of events.
func sizesOf(dst []int, events []event.Event) []int {
	dst = dst[:0]
	for i := range events {
		dst = append(dst, events[i].Size())
	}
	return dst
}
