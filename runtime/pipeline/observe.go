package pipeline

import (
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// observe shows the result of a call of stage k to those who watch the stage.
// It runs before the result is carried out: what it copies is still as the
// plugin left it. failed is nil, or why the call of a single event failed.
func (r *run) observe(watches []*event.Watch, k int, events []abi.Event, attempt int, failed fault) {
	st := r.stages[k]
	for _, w := range watches {
		if w.Stage() != st.Name {
			continue
		}
		for _, i := range w.Pick(events, nil) {
			s := &event.Sample{Time: time.Now(), Partition: r.index, Attempt: attempt, Before: shownEvent(&events[i])}
			if failed != nil {
				s.Outcome, s.Reason = event.OutcomeFault, failed.FaultKind()+": "+failed.Error()
			} else {
				r.observeResult(s, k, &events[i], uint32(i))
			}
			w.Put(s)
		}
	}
}

// observeResult adds to s what became of event i of the call.
func (r *run) observeResult(s *event.Sample, k int, e *abi.Event, i uint32) {
	res := &r.stages[k].res
	for j := range res.Outputs {
		if res.Outputs[j].Source != i {
			continue
		}
		if s.Outputs++; len(s.After) < event.ShownOutputs {
			s.After = append(s.After, r.shownOutput(k, &res.Outputs[j], e))
		}
	}
	s.Outcome = event.OutcomeDropped
	if s.Outputs > 0 {
		s.Outcome = event.OutcomeEmitted
	}
	for j := range res.Outcomes {
		o := &res.Outcomes[j]
		if o.Index != i {
			continue
		}
		s.Reason = string(o.Reason)
		switch o.Code {
		case abi.CodeDrop:
			s.Outcome = event.OutcomeDropped
		case abi.CodeRetry:
			s.Outcome = event.OutcomeRetried
		case abi.CodeDeadLetter:
			s.Outcome = event.OutcomeDeadLettered
		}
	}
}

func shownEvent(e *abi.Event) event.Shown {
	return event.Shown{
		Seq: e.Seq, Stored: e.Time, Subject: string(e.Subject), Key: string(e.Key), Headers: shown(e.Headers),
		Payload: shown(e.Payload), Bytes: len(e.Payload),
	}
}

// shown copies as much as a sample holds.
func shown(b []byte) []byte { return clone(b[:min(len(b), event.ShownBytes)]) }

// shownOutput shows an output as what follows the stage will see it, but for the
// headers that the runtime adds when it publishes.
func (r *run) shownOutput(k int, o *abi.Output, src *abi.Event) event.Shown {
	s := event.Shown{Subject: string(o.Subject), Key: string(o.Key), Seq: src.Seq, Stored: src.Time}
	payload := o.Payload
	if o.Flags&abi.FlagPayloadRef != 0 {
		payload = src.Payload
	}
	s.Payload, s.Bytes = shown(payload), len(payload)
	if o.Flags&abi.FlagKeepHeaders != 0 {
		s.Headers = shown(src.Headers)
	}
	s.Headers = append(s.Headers, shown(o.Headers)...)
	if s.Key == "" {
		s.Key = string(src.Key)
	}
	if k < len(r.stages)-1 {
		if s.Subject == "" {
			s.Subject = string(src.Subject)
		}
		return s
	}
	out := &r.p.cfg.Outputs[o.ID]
	s.Output, s.Topic = out.Name, out.Topic
	if subject, err := r.subject(o, src); err == nil {
		s.Subject = strings.Clone(subject)
	} else {
		s.Refused = err.Error()
	}
	return s
}
