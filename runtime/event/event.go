// Package event holds what every room of the data path shares: the event on
// its way, the grammar of subjects, keys and subject templates, and the
// Listener to which the data path reports what happens. Metrics, logs and the
// dashboard subscribe to the Listener; the data path knows none of them.
package event

import (
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Event is one message of a topic on its way through a pipeline. The byte
// slices of the embedded view stay valid until the event is acknowledged.
type Event struct {
	abi.Event
	// Ack is the broker's token for acknowledging this event and, with it,
	// every earlier one of the same source.
	Ack string
}

// Size is what an event counts against byte limits: subject, headers and payload.
func (e *Event) Size() int { return len(e.Subject) + len(e.Headers) + len(e.Payload) }

// Reasons for which a pipeline stops fetching, as metrics and status name them.
const (
	ReasonPluginEvents = "plugin_in_flight"       // a plugin's max_in_flight
	ReasonPluginBytes  = "plugin_in_flight_bytes" // a plugin's max_in_flight_bytes
	ReasonRate         = "plugin_rate"            // a plugin's rate
	ReasonPartition    = "partition_full"         // one partition is behind, its queue is full
	ReasonOutput       = "output"                 // an output topic does not confirm fast enough
	ReasonPosition     = "position"               // the position of finished events is not stored yet
	ReasonPaused       = "paused"                 // an operator paused the pipeline
	ReasonThrottled    = "plugin_throttled"       // a plugin burns processor time in calls that fail
)

// Listener is told everything that happens on the data path. Each field may be
// nil in a literal; WithDefaults fills the gaps. The functions are called from
// many goroutines at once, must not block, and must not keep what they are
// given. They are called once a batch or more rarely, Metric aside, which follows
// the plugin.
type Listener struct {
	// Fetched: n events of that many bytes came from the topic; lag is how many
	// more the topic holds for this pipeline.
	Fetched func(pipeline string, n, bytes int, lag uint64)
	// Called: one call of a plugin with n events has ended after d; err is nil or
	// the fault, and trace that of one of the events, or none.
	Called func(pipeline, stage, plugin string, n int, d time.Duration, err error, trace TraceID)
	// Stage: what the outcomes of one batch were at one stage.
	Stage func(pipeline, stage, plugin string, c Counts)
	// Published: n outputs of that many bytes were handed to a topic's publisher.
	Published func(pipeline, topic string, n, bytes int)
	// Done: n events are finished: all they caused is confirmed. oldest is how
	// long ago the topic stored the oldest of them; trace that of one of them, or none.
	Done func(pipeline string, n, bytes int, oldest time.Duration, trace TraceID)
	// Blocked: the pipeline did not fetch, or did not publish, for d because of reason.
	Blocked func(pipeline, reason string, d time.Duration)
	// InFlight: events and bytes that the pipeline holds now.
	InFlight func(pipeline string, events, bytes int)
	// Fault: a call failed; kind is one of abi's Fault names.
	Fault func(pipeline, stage, plugin, kind string, err error)
	// DeadLettered: the event with that sequence went to the dead-letter topic.
	DeadLettered func(pipeline, stage, plugin string, seq uint64, kind, cause string)
	// PipelineState: a pipeline changed its state; err is the reason for "halted", "quarantined" and "backoff".
	PipelineState func(pipeline, state string, err error)
	// Reload: a plugin generation or the configuration was replaced (result
	// "ok"), refused ("failed") or rolled back ("rolled_back").
	Reload func(what, name, digest, result string, err error)
	// Log: a plugin wrote a line; level as in log/slog.
	Log func(pipeline, plugin string, partition, level int, line string)
	// Metric: a plugin added to, or observed, a metric of its own.
	Metric func(pipeline, plugin, name string, kind int, value float64)
	// Traced: n records of traced events were "sent" to the receiver, "refused" by
	// it or for want of it, or "dropped" because too many waited.
	Traced func(result string, n int)
}

// Counts is what became of the events of one batch at one stage.
type Counts struct {
	In, Out, Dropped, Retried, DeadLettered int
}

// Room is how many events and bytes a pipeline can take now.
type Room struct{ Events, Bytes int }

// Headers that say where an output comes from, and a dead letter.
const (
	HeaderSource      = "Wasmill-Source" // <topic>/<sequence>/<n-th output of that event>
	HeaderSourceTopic = "Wasmill-Source-Topic"
	HeaderSourceSeq   = "Wasmill-Source-Seq"
)

// Output is one message on its way to an output topic. Its slices are valid
// during the call they are passed to.
type Output struct {
	Subject     string // literal, already checked against the topic's subjects
	HeaderCount int
	Headers     []byte // abi header entries
	Payload     []byte
	Cause       uint64 // sequence of the event that caused it, 0 = none did
}

// RefusedError says that the broker can never store an output, whatever is
// retried: the event that caused it follows on_failure.
type RefusedError struct {
	Topic  string
	Reason string
}

func (e *RefusedError) Error() string { return "topic " + e.Topic + " refuses the output: " + e.Reason }
