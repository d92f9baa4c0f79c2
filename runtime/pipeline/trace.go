package pipeline

import (
	"bytes"
	"errors"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// The records of the events that are traced. A batch in which none is has no
// records, and costs a look at the length of an empty list a call.

// Names of the moments in a trace.
const (
	noteRetry      = "retry"
	noteDeadLetter = "dead letter"
	noteDropped    = "dropped on failure"
	noteHalted     = "halted"
	noteLeft       = "not finished" // it comes back
)

// maxCauseTraced is how much of a cause a trace has.
const maxCauseTraced = maxCause

// beginTraces begins the records of a batch.
func (pt *partition) beginTraces(b *batch) {
	if t := pt.p.deps.Tracer; t != nil {
		b.traces = t.Begin(pt.p.cfg.Name, pt.p.cfg.Topic, b.events, b.traces[:0])
	}
}

// traceOf is the record of the event at an index of the batch; nil when it is
// not traced. What no single event has caused (at < 0) belongs to the record that
// all of the batch have together.
func (r *run) traceOf(at int) *event.Trace {
	b := r.batch
	if len(b.traces) == 0 {
		return nil
	}
	if at >= 0 {
		return b.traces[at]
	}
	if b.joint == nil {
		b.joint = r.p.deps.Tracer.Join(r.p.cfg.Name, r.p.cfg.Topic, b.traces)
	}
	return b.joint
}

// traceID is that of the first event of a batch that is traced.
func (b *batch) traceID() event.TraceID {
	for _, t := range b.traces {
		if t != nil {
			return t.Context.Trace
		}
	}
	return event.TraceID{}
}

// traceCall writes a call of stage k down for those events in it that are traced,
// and returns the trace of the first of them. failed is nil, or why the call failed.
// Events of one origin follow each other, and so do outputs and outcomes of an event.
func (r *run) traceCall(k int, events []abi.Event, origin []int, start time.Time, d time.Duration, failed fault) event.TraceID {
	st := r.stages[k]
	var first event.TraceID
	outputs, outcomes := st.res.Outputs, st.res.Outcomes
	cause := ""
	if failed != nil {
		cause = line(failed.Error(), maxCauseTraced)
	}
	for i := 0; i < len(events); {
		at, end := origin[i], i+1
		for end < len(events) && origin[end] == at {
			end++
		}
		t := r.traceOf(at)
		if t == nil {
			i = end
			continue
		}
		c := event.TracedCall{
			Stage: st.Name, Plugin: st.Plugin, Digest: st.by, Start: start, Duration: d,
			Batch: len(events), Events: end - i, Attempt: int(max(events[i].Attempt, 1)), Outcome: event.OutcomeDropped,
		}
		if failed != nil {
			c.Outcome, c.Fault, c.Cause = event.OutcomeFault, failed.FaultKind(), cause
		} else {
			outputs = skipTo(outputs, uint32(i))
			for len(outputs) > 0 && (outputs[0].Source == abi.NoSource || outputs[0].Source < uint32(end)) {
				if outputs[0].Source != abi.NoSource {
					c.Outputs++
					c.Outcome = event.OutcomeEmitted
				}
				outputs = outputs[1:]
			}
			for len(outcomes) > 0 && outcomes[0].Index < uint32(end) {
				if outcomes[0].Index >= uint32(i) {
					setOutcome(&c, &outcomes[0])
				}
				outcomes = outcomes[1:]
			}
		}
		t.Call(&c)
		if first == (event.TraceID{}) {
			first = t.Context.Trace
		}
		i = end
	}
	return first
}

// skipTo leaves out the outputs of events before i.
func skipTo(outputs []abi.Output, i uint32) []abi.Output {
	for len(outputs) > 0 && (outputs[0].Source == abi.NoSource || outputs[0].Source < i) {
		outputs = outputs[1:]
	}
	return outputs
}

func setOutcome(c *event.TracedCall, o *abi.Outcome) {
	switch o.Code {
	case abi.CodeDrop:
		return
	case abi.CodeRetry:
		c.Outcome = event.OutcomeRetried
	case abi.CodeDeadLetter:
		c.Outcome = event.OutcomeDeadLettered
	}
	c.Fault, c.Cause = abi.FaultHandlerError, line(string(o.Reason), maxCauseTraced)
}

// traceParent is the value of traceparent for an output of the last stage; "" when
// what the event came with stays: it is not traced, or a plugin has set another
// context, which is its right.
func (r *run) traceParent(o *abi.Output, src *abi.Event, at int) string {
	t := r.traceOf(at)
	if t == nil {
		return ""
	}
	if _, _, own := event.TraceHeader(o.Headers, event.HeaderTraceParent); own {
		return ""
	}
	if _, now, ok := r.parentOf(src); ok && !bytes.Equal(now, t.Came) {
		return ""
	}
	return t.Output(r.p.cfg.Outputs[o.ID].Topic, r.p.deps.Tracer).Parent
}

// tracePublished notes an output that was added to a topic.
func (r *run) tracePublished(at int, topic string, m *event.Output) {
	if t := r.traceOf(at); t != nil {
		out := t.Output(topic, r.p.deps.Tracer)
		out.Messages++
		out.Bytes += len(m.Subject) + len(m.Headers) + len(m.Payload)
	}
}

// traceNote notes a moment of an event's way.
func (r *run) traceNote(at int, name string, st *stage, attempt int, delay time.Duration, why failure) {
	if at < 0 || len(r.batch.traces) == 0 {
		return
	}
	t := r.batch.traces[at]
	if t == nil {
		return
	}
	cause := line(why.cause, maxCauseTraced)
	t.Note(event.TracedNote{Name: name, Stage: st.Name, Attempt: attempt, Delay: delay, Fault: why.kind, Cause: cause})
	if name != noteRetry {
		t.Fail(why.kind, cause)
	}
}

// traceEnd hands over the records of a batch whose events from index n on are
// done: they are finished, or with why they are left to a later run.
func (p *Pipeline) traceEnd(b *batch, n int, why error) {
	if len(b.traces) == 0 {
		return
	}
	now := time.Now()
	end := func(t *event.Trace) {
		if t == nil {
			return
		}
		t.Finish = now
		if why != nil {
			note := event.TracedNote{Name: noteLeft, Cause: line(why.Error(), maxCauseTraced)}
			t.Note(note)
			if !errors.Is(why, errDraining) && !errors.Is(why, errCut) && t.Fault == "" {
				t.Fail(noteLeft, note.Cause)
			}
		}
		p.deps.Tracer.End(t)
	}
	for i, t := range b.traces[n:] {
		end(t)
		b.traces[n+i] = nil
	}
	if n == 0 {
		end(b.joint)
		b.joint, b.traces = nil, b.traces[:0]
	}
}

// parentOf is the traceparent of an event, and the name under which it bears it.
func (s *scratch) parentOf(src *abi.Event) (name string, value []byte, ok bool) {
	if src != nil && src.HeaderCount > 0 {
		for _, key := range traceHeaders {
			if !isTraceParent(key) {
				continue
			}
			if v, ok := s.trace.find(src, key); ok {
				return key, v, true
			}
		}
	}
	return event.HeaderTraceParent, nil, false
}
