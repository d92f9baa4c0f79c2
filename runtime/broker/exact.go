package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// Exact commits what an exactly-once pipeline does. Invariant A7: the outputs
// of some events and the checkpoint that says that these are finished are stored
// in one atomic batch or not at all, and only as long as no other process has
// taken the pipeline over. (What becomes of a batch that the server tears:
// exactBatch.)
//
//	partition's sink: outputs → groups ┐
//	partition's sink: outputs → groups ┼→ committer: one atomic batch = outputs + checkpoint
//	               …                   ┘        │ (the next gathers while one is under way)
//	                                            ▼
//	                            applier: journal → other topics → positions confirmed
//
// One stream, the home, holds the checkpoint and the outputs to the first topic.
// The outputs to other topics, dead letters among them, are in the batch as its
// journal, and the applier publishes them once the batch is stored, in atomic
// batches of their own with a record of how much of which journal is applied. A
// crash in between is made good at the next start, from the journal.
//
// The size of a batch adapts: everything that is ready when the one before is
// stored goes into the next, up to what the server takes.
type Exact struct {
	wire     *wire
	js       jetstream.JetStream
	owner    string // of its checkpoints: this run
	cfg      ExactConfig
	log      *slog.Logger
	listener event.Listener
	streams  []exactStream // [0] is the home
	byTopic  []int         // number of the stream by number of the output
	chunk    int           // bytes of a message of a journal
	maxBytes int           // of a commit, unless one event has caused more
	floor    atomic.Uint64 // every event up to here is finished
	before   *coverage     // what was committed before this start
	again    *repeats      // outputs that are stored though their events are not committed, nil = none

	commits, applies *atomicBatch
	next             checkpoint // as it is stored; owned by the committer
	revision         uint64     // its sequence in the home

	work  chan struct{} // capacity 1: there may be something to commit
	queue chan *commit  // committed, to be applied
	stop  context.CancelFunc
	done  sync.WaitGroup
	ended chan struct{} // closed when nothing is committed any more

	mu struct {
		sync.Mutex
		sinks    []*ExactSink
		journals []journalRef // committed and not applied, oldest first
		failed   error
		replaced func() // called when another process has taken over
		why      string // why a commit is being tried again, "" = it is not
		closed   bool
	}
}

// ExactConfig says what an exactly-once pipeline commits and where.
type ExactConfig struct {
	Pipeline   string
	Topic      string // that it reads
	Key        string // of events, as event.ParseKey reads it
	Partitions int
	// Outputs are the topics by number of output, the dead letters last; a topic
	// may be there more than once. Home is the one of them whose stream holds the
	// checkpoint.
	Outputs []string
	Home    string
	Window  event.Room // what one partition may have queued; zero fields have defaults
}

func (c ExactConfig) withDefaults() ExactConfig {
	if c.Window.Events <= 0 {
		c.Window.Events = 8192
	}
	if c.Window.Bytes <= 0 {
		c.Window.Bytes = 16 << 20
	}
	return c
}

// exactStream is a stream that is published to.
type exactStream struct {
	topic                        string
	intake                       intake
	checkpoint, journal, applied string // subjects of its records
	at                           applied
	revision                     uint64 // sequence of the record of at, 0 = there is none
	adjacent                     bool   // it was seen that a batch has consecutive sequences
}

// maxApplying is how many commits with a journal may wait to be applied.
const maxApplying = 4

// OpenSink returns the sink of a partition. notify is called, by a goroutine that
// must not be kept, after Confirmed has moved.
func (e *Exact) OpenSink(partition int, notify func()) (*ExactSink, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.mu.failed; err != nil {
		return nil, err
	}
	s := &ExactSink{exact: e, partition: partition, notify: notify}
	for i := range e.streams {
		s.intakes = append(s.intakes, e.streams[i].intake)
	}
	s.mu.ring = newRing()
	s.mu.taken = s.mu.ring.first
	e.mu.sinks = append(e.mu.sinks, s)
	return s, nil
}

// Covers reports whether an event had been committed before this start. It is
// for one goroutine.
func (e *Exact) Covers(ev *event.Event) bool { return e.before.covers(&ev.Event) }

// Finished says that every event up to seq is finished.
func (e *Exact) Finished(seq uint64) { e.floor.Store(seq) }

// Close ends everything at once; what the sinks have not committed is dropped.
// Idempotent.
func (e *Exact) Close() {
	e.fail(ErrClosed)
	e.done.Wait()
	e.wire.close()
}

func (e *Exact) wake() {
	select {
	case e.work <- struct{}{}:
	default:
	}
}

func (e *Exact) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.failed
}

func (e *Exact) fail(err error) {
	e.mu.Lock()
	first := e.mu.failed == nil
	if first {
		e.mu.failed = err
		close(e.ended)
	}
	replaced := e.mu.replaced
	e.mu.Unlock()
	e.stop()
	if first && replaced != nil && errors.Is(err, ErrReplaced) {
		replaced()
	}
}

// onReplaced has f called when another process has taken the pipeline over.
func (e *Exact) onReplaced(f func()) {
	e.mu.Lock()
	e.mu.replaced = f
	failed := e.mu.failed
	e.mu.Unlock()
	if errors.Is(failed, ErrReplaced) {
		f()
	}
}

// trouble says why nothing is being committed at the moment, or is "".
func (e *Exact) trouble() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mu.failed != nil && !errors.Is(e.mu.failed, ErrClosed):
		return e.mu.failed.Error()
	case e.mu.why != "":
		return e.mu.why
	}
	return ""
}

func (e *Exact) setTrouble(why string) {
	e.mu.Lock()
	e.mu.why = why
	e.mu.Unlock()
}

// start begins to commit.
func (e *Exact) start() {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	run := func(loop func(context.Context) error) {
		e.done.Go(func() {
			if err := loop(ctx); err != nil {
				e.fail(err)
			}
		})
	}
	run(e.commitLoop)
	run(e.applyLoop)
	if t := e.wire.tenure; t != nil {
		run(func(ctx context.Context) error {
			select {
			case <-t.gone: // no connection comes back: nobody should wait for a commit
				return errTenureOver
			case <-ctx.Done():
				return nil
			}
		})
	}
}

func (e *Exact) commitLoop(ctx context.Context) error {
	defer close(e.queue)
	first := 0 // the partition that is asked first, in turn
	for {
		select {
		case <-e.work:
		case <-ctx.Done():
			return nil
		}
		for {
			c := e.gather(first)
			if c == nil {
				break
			}
			first++
			event.Failpoint(event.FailExactGathered)
			if err := e.commit(ctx, c); err != nil {
				return err
			}
			event.Failpoint(event.FailExactCommitted)
			select {
			case e.queue <- c:
			case <-ctx.Done():
				return nil
			}
			if len(c.side[0]) == 0 {
				continue
			}
			select { // what the next commit stores in the home must come behind it
			case <-c.applied:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// gather returns what is ready to be committed, nil when nothing is.
func (e *Exact) gather(first int) *commit {
	c := &commit{exact: e, home: make([]atomicMessage, 1), side: make([][]atomicMessage, len(e.streams)), applied: make(chan struct{})}
	e.mu.Lock()
	sinks := e.mu.sinks
	e.mu.Unlock()
	for i := range sinks {
		sinks[(first+i)%len(sinks)].take(c)
	}
	if len(c.parts) == 0 {
		return nil
	}
	return c
}

// commit stores c. It tries until it succeeds or must not go on.
func (e *Exact) commit(ctx context.Context, c *commit) error {
	next := e.next.clone()
	next.Batch++
	next.Floor = max(next.Floor, e.floor.Load())
	for _, p := range c.parts {
		at := &next.Layouts[0].Positions[p.sink.partition]
		*at = max(*at, p.cause)
	}
	next.trim()
	if e.again != nil && next.Floor >= e.again.high {
		next.Torn = nil
	}
	e.mu.Lock()
	owed := slices.Clone(e.mu.journals)
	e.mu.Unlock()
	next.Journals = slices.Clone(owed)
	if err := c.seal(&next); err != nil {
		return err
	}
	if c.ref.Chunks > 0 {
		e.mu.Lock()
		e.mu.journals = append(e.mu.journals, c.ref)
		e.mu.Unlock()
	}
	home := &e.streams[0]
	b := &exactBatch{to: home, out: c.home}
	b.open = func(torn []piece, begun bool, _ int) ([]byte, error) {
		before := e.next.clone()
		before.Journals, before.Begun, before.Torn = owed, begun, append(before.Torn, torn...)
		return sealRecord(checkpointMagic, &before)
	}
	seq, err := e.store(ctx, e.commits, b, e.revision)
	if err != nil {
		return fmt.Errorf("commit to topic %q: %w", home.topic, err)
	}
	e.next, e.revision, c.seq = next, seq, seq
	return nil
}
