package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Source delivers the events of one topic in sequence order.
type Source interface {
	// Fetch blocks until there is something to tell, appends what is at hand to
	// dst and returns it. It never asks the broker for more than room; a single
	// event larger than room.Bytes still passes when nothing else is on its way.
	// lag is how many more events the topic holds behind the last one returned;
	// without an event it only says that this number has changed.
	// A cancelled ctx loses no event. Called by one goroutine.
	Fetch(ctx context.Context, dst []event.Event, room event.Room) (events []event.Event, lag uint64, err error)
	// Ack acknowledges the event with that token and all before it. It does not
	// wait: what is acknowledged survives a crash once Durable has reached it.
	// Calls come in order.
	Ack(token string) error
	// Durable is the sequence up to which no event comes back after a crash.
	Durable() uint64
	// OnDurable has moved called, by a goroutine that must not be kept, whenever
	// Durable has grown. Called once, before the first Fetch.
	OnDurable(moved func())
	// Close waits, for some seconds at the most, until what was acknowledged is
	// durable.
	Close() error
}

// Sink publishes the outputs of one partition. Topics are numbered as in
// Config.Outputs; the number after the last is the dead-letter topic, and the one
// after that stands for the positions that Commit returns. Add, Check, Commit and
// Flush are called by one goroutine, Confirmed by any.
type Sink interface {
	// Add queues one output, copying what it keeps, and blocks while the
	// topic's window is full. Positions count from 1 for each topic.
	Add(ctx context.Context, topic int, m *event.Output) (pos uint64, err error)
	// Check says why the topic can never store m, as Add would, or is nil.
	Check(ctx context.Context, topic int, m *event.Output) error
	// Commit says that everything that the partition's events up to seq have caused
	// was added, also where that is nothing; seq is 0 after outputs that no event
	// has caused. The outputs of one event come together and in the order of the
	// events, each with its Cause. A position that is not 0 must be confirmed
	// before the events are finished.
	Commit(ctx context.Context, seq uint64) (pos uint64, err error)
	// Flush has everything added so far confirmed as soon as the broker can.
	Flush() error
	// Confirmed is the highest position such that every output up to it is stored.
	Confirmed(topic int) uint64
	Close(ctx context.Context) error
}

// Processor is one instance of one stage for one partition. Not safe for
// concurrent use. Results are views that stay valid until the next call.
type Processor interface {
	// Process hands a batch to the plugin. An error with a FaultKind method is a
	// fault of the plugin; the next call then runs on a fresh instance.
	Process(ctx context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) error
	// Close ends the instance and returns its last outputs, valid until Discard.
	Close(ctx context.Context, res *abi.Result) error
	// Discard frees the instance.
	Discard()
}

// Config is what a pipeline is. It is not changed after New.
type Config struct {
	Name        string
	Topic       string // source topic, for Wasmill-Source
	Stages      []Stage
	Filter      []string // subjects read; empty = all of the topic
	Loop        bool     // an output may be an event of this pipeline's own
	Outputs     []Output // by output id; [0] is the default
	DeadLetters string   // name of the dead-letter topic
	Key         event.Key
	Partitions  int
	Batch       Batch
	Retry       Retry
	OnFailure   string     // "dead-letter", "drop" or "halt"
	Room        event.Room // in flight at the most, over all partitions
}

// Stage is one plugin at one place.
type Stage struct{ Name, Plugin string }

// Output is one topic a pipeline publishes to.
type Output struct {
	Name     string
	Topic    string         // "" = there is none: a plugin that uses it is refused
	Subject  event.Template // zero: the event keeps its subject
	Subjects []string       // the topic's subjects: an output must lie in one of them
}

// Batch bounds one call of a plugin. A batch closes at once when the topic has
// nothing more on its way; otherwise it waits at most MaxWait to fill.
type Batch struct {
	MaxEvents int
	MaxBytes  int
	MaxWait   time.Duration
}

// Retry says how often an event is tried in all, and how long to wait before
// the second attempt; the wait doubles up to MaxBackoff.
type Retry struct {
	Attempts   int
	Backoff    time.Duration
	MaxBackoff time.Duration
}

// Deps is what a pipeline works with.
type Deps struct {
	Source Source
	// Sink opens the sink of one partition; confirmed is called, from another
	// goroutine, whenever a Confirmed position has moved.
	Sink func(partition int, confirmed func()) (Sink, error)
	// Processor makes the instance of a stage for a partition.
	Processor func(stage, partition int) (Processor, error)
	// Shares of this pipeline in the budgets of the plugins in its stages, each
	// once. The order of the plugins must be the same in all pipelines.
	Shares   []*Share
	Listener event.Listener
	// Tap is where those who want to look at events do; nil is nobody, ever.
	Tap *event.Tap
	// Tracer chooses the events that are traced; nil traces none.
	Tracer event.Tracer
	// Throttle keeps the accounts of the plugins, for all pipelines of the
	// process; nil is one for this run alone.
	Throttle *Throttle
	// Conduct is the record of the pipeline over its runs; nil is one for this run
	// alone.
	Conduct *Conduct
	// DrainTimeout bounds how long Run goes on after its context ended.
	DrainTimeout time.Duration
}

// ErrHalted is what Run returns, wrapped with the cause, when an event failed
// for good and on_failure is "halt". The event stays unacknowledged.
var ErrHalted = errors.New("pipeline halted")

// ErrDrain is what Run returns when in-flight events were not finished within
// DrainTimeout. They stay unacknowledged and come back at the next start.
var ErrDrain = errors.New("drain timed out")

// fault is what this package needs to know of a plugin's failure.
type fault interface {
	error
	FaultKind() string
	FaultDetail() string
}

// identified is a processor that knows the digest of the module that its last
// call ran on, for dead letters.
type identified interface{ Digest() string }

// failure is why one event cannot go on.
type failure struct {
	kind, cause, detail string
	digest              string // of the module that failed
	quarantine          string // why it sets the pipeline aside; "" = it does not
}

func (st *stage) failureOf(f fault) failure {
	return failure{kind: f.FaultKind(), cause: f.Error(), detail: f.FaultDetail(), digest: st.by}
}
