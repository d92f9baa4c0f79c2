package event

import (
	"encoding/hex"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Headers of the W3C trace context. NATS compares names byte by byte, but HTTP
// does not: what instrumentation made for HTTP writes is read, too.
const (
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

// TraceHeader returns the first header of a block whose name is name, which is
// in lower case, however its letters are written, and the name as it is written.
func TraceHeader(block []byte, name string) (key, value []byte, ok bool) {
	for len(block) > 0 {
		k, v, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		if len(k) == len(name) && sameLetters(k, name) {
			return k, v, true
		}
		block = rest
	}
	return nil, nil, false
}

// sameLetters compares names of ASCII letters of the same length; lower is in lower case.
func sameLetters(k []byte, lower string) bool {
	for i := range k {
		if k[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// TraceID names a trace. The zero TraceID is none.
type TraceID [16]byte

// SpanID names a span of a trace. The zero SpanID is none.
type SpanID [8]byte

// String is the ID in hex; "" for none.
func (t TraceID) String() string {
	if t == (TraceID{}) {
		return ""
	}
	return hex.EncodeToString(t[:])
}

// SpanContext is where in which trace something is: the content of a header
// traceparent. Flags has bit 1 set when the trace is sampled.
type SpanContext struct {
	Trace TraceID
	Span  SpanID
	Flags byte
}

// FlagSampled is the flag of a trace that is recorded.
const FlagSampled = 1

const traceParentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ParseTraceParent reads the value of a header traceparent. Of a later version
// than 00 it reads what that has in common with it, as the standard demands.
func ParseTraceParent(b []byte) (c SpanContext, ok bool) {
	var version [1]byte
	if len(b) < traceParentSize || !lowerHex(version[:], b[:2]) || version[0] == 0xff ||
		len(b) > traceParentSize && (version[0] == 0 || b[traceParentSize] != '-') ||
		b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return c, false
	}
	var flags [1]byte
	if !lowerHex(c.Trace[:], b[3:35]) || !lowerHex(c.Span[:], b[36:52]) || !lowerHex(flags[:], b[53:55]) ||
		c.Trace == (TraceID{}) || c.Span == (SpanID{}) {
		return SpanContext{}, false
	}
	c.Flags = flags[0]
	return c, true
}

// lowerHex decodes src, which has twice the length of dst. The standard allows no capitals.
func lowerHex(dst, src []byte) bool {
	for i := range dst {
		hi, lo := nibble(src[2*i]), nibble(src[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// TraceParent is c as the value of a header traceparent.
func (c SpanContext) TraceParent() string {
	b := make([]byte, 0, traceParentSize)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{c.Flags}))
}

// Tracer chooses the events whose way is traced, and takes the records of it.
// The data path asks once a batch. Safe for concurrent use.
type Tracer interface {
	// Begin begins to trace some of the events that a pipeline has taken from a
	// topic. When there are any it appends to dst one record for each event, nil
	// for those that are not traced; else it returns dst as it is.
	Begin(pipeline, topic string, events []abi.Event, dst []*Trace) []*Trace
	// Join begins the trace of what several events have caused together.
	Join(pipeline, topic string, of []*Trace) *Trace
	// End takes a record that is complete. It never waits; the record is the
	// Tracer's then.
	End(t *Trace)
	// NewSpan returns the ID of a span to come.
	NewSpan() SpanID
}

// Trace is the record of what one event goes through in one pipeline, from when
// a partition takes it until all that it has caused is confirmed. One goroutine
// at a time may use it.
type Trace struct {
	Context SpanContext // of the span that stands for the event; always sampled
	Parent  SpanContext // what the event came with; the zero value when it begins the trace
	State   string      // its tracestate
	Came    []byte      // its traceparent as it is written; valid until the event is finished

	Pipeline, Topic, Subject string
	Seq                      uint64
	Bytes                    int   // of the payload
	Stored                   int64 // when the topic stored it, ns; 0 = no event
	Start, Finish            time.Time

	Calls   []TracedCall
	Outputs []TracedOutput
	Notes   []TracedNote
	LeftOut int           // calls, outputs and notes beyond MaxTraced
	Links   []SpanContext // the events of a joint trace

	// What became of it, when that is a failure: one of abi's Fault names and the cause.
	Fault, Cause string
}

// MaxTraced is how many calls, topics and notes a Trace has of each.
const MaxTraced = 64

// TracedCall is one call of a stage that the event, or what it has caused, was in.
type TracedCall struct {
	Stage, Plugin, Digest string
	Start                 time.Time
	Duration              time.Duration
	Batch                 int // events of the call
	Events                int // of them, caused by this event
	Outputs               int // that came of those
	Attempt               int
	Outcome               string // one of the Outcome constants
	Fault, Cause          string // why it is none of emitted and dropped
}

// TracedOutput is what was published to one topic.
type TracedOutput struct {
	Topic    string
	Span     SpanID
	Parent   string // the value of traceparent that the outputs bear
	Start    time.Time
	Messages int
	Bytes    int // of subject, headers and payload
}

// TracedNote is a moment: a retry that waits, a dead letter.
type TracedNote struct {
	Time    time.Time
	Name    string
	Stage   string
	Attempt int
	Delay   time.Duration
	Fault   string
	Cause   string
}

// Note adds n, with the time of now.
func (t *Trace) Note(n TracedNote) {
	if len(t.Notes) == MaxTraced {
		t.LeftOut++
		return
	}
	n.Time = time.Now()
	t.Notes = append(t.Notes, n)
}

// Call adds c.
func (t *Trace) Call(c *TracedCall) {
	if len(t.Calls) == MaxTraced {
		t.LeftOut++
		return
	}
	t.Calls = append(t.Calls, *c)
}

// Output is the record of what goes to a topic, a new one at the first time.
func (t *Trace) Output(topic string, by Tracer) *TracedOutput {
	for i := range t.Outputs {
		if t.Outputs[i].Topic == topic {
			return &t.Outputs[i]
		}
	}
	c := SpanContext{Trace: t.Context.Trace, Span: by.NewSpan(), Flags: t.Context.Flags}
	t.Outputs = append(t.Outputs, TracedOutput{Topic: topic, Span: c.Span, Parent: c.TraceParent(), Start: time.Now()})
	return &t.Outputs[len(t.Outputs)-1]
}

// Size is about how many bytes the record takes.
func (t *Trace) Size() int {
	n := 512 + len(t.Subject) + len(t.State) + len(t.Cause) + len(t.Calls)*192 + len(t.Outputs)*160 + len(t.Notes)*144 + len(t.Links)*32
	for i := range t.Calls {
		n += len(t.Calls[i].Cause)
	}
	for i := range t.Notes {
		n += len(t.Notes[i].Cause)
	}
	return n
}

// Fail says that the event, or a part of it, could not be processed.
func (t *Trace) Fail(fault, cause string) { t.Fault, t.Cause = fault, cause }
