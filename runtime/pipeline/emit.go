package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Headers that the runtime writes.
const (
	HeaderSource        = event.HeaderSource
	HeaderKey           = "Wasmill-Key" // key that the plugin gave the output
	HeaderCause         = "Wasmill-Cause"
	HeaderFault         = "Wasmill-Fault"
	HeaderPlugin        = "Wasmill-Plugin"
	HeaderDigest        = "Wasmill-Digest"
	HeaderSourceTopic   = event.HeaderSourceTopic
	HeaderSourceSeq     = event.HeaderSourceSeq
	HeaderSourceSubject = "Wasmill-Source-Subject"
	HeaderAttempts      = "Wasmill-Attempts"
	HeaderDetail        = "Wasmill-Detail"           // guest stack and last stderr lines, newlines as " | "
	HeaderQuarantine    = "Wasmill-Quarantine"       // why the pipeline was set aside, in the dead letter of the event that did it
	HeaderLeftOut       = "Wasmill-Headers-Left-Out" // how many of the event's headers a dead letter could not keep
)

// DeadLetterPrefix starts the subjects of dead letters.
const DeadLetterPrefix = "wasmill.dead."

// scratch is the memory in which a partition builds one output at a time.
type scratch struct {
	headers  []byte
	source   []byte
	subjects []byte
	wanted   []byte // headers that a template names
	trace    sourceHeaders
	own      headerKeys
	last     [][]byte // by output: the subject that was checked last
	sent     []sent   // by topic: added since the last report
}

type sent struct{ n, bytes int }

func (s *scratch) note(topic int, m *event.Output) {
	s.sent[topic].n++
	s.sent[topic].bytes += len(m.Subject) + len(m.Headers) + len(m.Payload)
}

// reportPublished tells the listener, once a batch, what was added.
func (pt *partition) reportPublished() {
	for topic, s := range pt.sent {
		if s.n == 0 {
			continue
		}
		name := pt.p.cfg.DeadLetters
		if topic < len(pt.p.cfg.Outputs) {
			name = pt.p.cfg.Outputs[topic].Topic
		}
		pt.p.deps.Listener.Published(pt.p.cfg.Name, name, s.n, s.bytes)
		pt.sent[topic] = sent{}
	}
}

// forward carries outputs of stage k on: to the next stage, or to the sink.
func (r *run) forward(ctx context.Context, k int, events []abi.Event, origin []int, outputs []abi.Output) error {
	if len(outputs) == 0 {
		return nil
	}
	if k == len(r.stages)-1 {
		return r.publish(ctx, k, events, origin, outputs)
	}
	next := r.stages[k+1]
	next.events, next.origin, next.keep = next.events[:0], next.origin[:0], next.keep[:0]
	r.trace.forget()
	for i := range outputs {
		o := &outputs[i]
		e := abi.Event{Attempt: 1, Subject: o.Subject, Key: o.Key, Headers: o.Headers, HeaderCount: uint32(o.HeaderCount), Payload: o.Payload}
		at := -1
		if o.Source != abi.NoSource {
			src := &events[o.Source]
			at = origin[o.Source]
			e.Seq, e.Time = src.Seq, src.Time
			if len(e.Subject) == 0 {
				e.Subject = src.Subject
			}
			if len(e.Key) == 0 {
				e.Key = src.Key
			}
			if o.Flags&abi.FlagPayloadRef != 0 {
				e.Payload = src.Payload
			}
			if o.Flags&abi.FlagKeepHeaders != 0 {
				e.Headers, e.HeaderCount = r.merge(next, src, o)
			} else if src.HeaderCount > 0 {
				e.Headers, e.HeaderCount = r.continueTrace(next, src, o)
			}
		}
		next.events = append(next.events, e)
		next.origin = append(next.origin, at)
	}
	return r.stage(ctx, k+1, next.events, next.origin)
}

// publish resolves and adds the outputs of the last stage. The outputs of one
// event are all checked before the first of them is added, so that an event is
// published whole or given up whole.
func (r *run) publish(ctx context.Context, k int, events []abi.Event, origin []int, outputs []abi.Output) error {
	published := 0
	r.trace.forget()
	for len(outputs) > 0 {
		n := 1
		for n < len(outputs) && outputs[n].Source == outputs[0].Source && outputs[n].Source != abi.NoSource {
			n++
		}
		group := outputs[:n]
		outputs = outputs[n:]
		var src *abi.Event
		at := -1
		if s := group[0].Source; s != abi.NoSource {
			src, at = &events[s], origin[s]
		}
		if n > 1 { // a first pass without adding
			if err := r.check(ctx, group, src, at); err != nil {
				if err := r.refused(ctx, k, at, err); err != nil {
					return err
				}
				continue
			}
		}
		for i := range group {
			r.reach(at)
			err := r.add(ctx, &group[i], src, at)
			if err == nil {
				published++
				if i == n-1 && at >= 0 {
					r.p.deps.Conduct.pass(1)
				}
				continue
			}
			var no *event.RefusedError
			if !errors.As(err, &no) {
				return fmt.Errorf("publish to %q: %w", r.p.cfg.Outputs[group[i].ID].Topic, err)
			}
			if err := r.refused(ctx, k, at, err); err != nil {
				return err
			}
			break
		}
	}
	r.p.stats.out.Add(uint64(published))
	return nil
}

// check says why one of the outputs of an event cannot be published.
func (r *run) check(ctx context.Context, group []abi.Output, src *abi.Event, at int) error {
	for i := range group {
		msg, err := r.message(&group[i], src, at)
		if err != nil {
			return err
		}
		if err := r.sink.Check(ctx, int(group[i].ID), &msg); err != nil {
			return err
		}
	}
	return nil
}

// refused gives up the event whose output cannot be published. Trying again
// would not change the subject or the size.
func (r *run) refused(ctx context.Context, k, at int, err error) error {
	st := r.stages[k]
	r.p.stats.fault(st, abi.FaultRefusedSubject, err)
	r.p.deps.Listener.Fault(r.p.cfg.Name, st.Name, st.Plugin, abi.FaultRefusedSubject, err)
	if at < 0 {
		return nil // no event caused it: it is reported, there is nothing to keep
	}
	return r.giveUp(ctx, k, at, 1, failure{kind: abi.FaultRefusedSubject, cause: err.Error(), digest: st.by})
}

// add publishes one output.
func (r *run) add(ctx context.Context, o *abi.Output, src *abi.Event, at int) error {
	msg, err := r.message(o, src, at)
	if err != nil {
		return err
	}
	pos, err := r.sink.Add(ctx, int(o.ID), &msg)
	if err != nil {
		return err
	}
	r.pos[o.ID] = pos
	if at >= 0 {
		r.batch.made[at]++
	}
	if len(r.batch.traces) > 0 {
		r.tracePublished(at, r.p.cfg.Outputs[o.ID].Topic, &msg)
	}
	r.note(int(o.ID), &msg)
	return nil
}

// message is an output as it is published, valid until the next call.
func (r *run) message(o *abi.Output, src *abi.Event, at int) (event.Output, error) {
	subject, err := r.subject(o, src)
	if err != nil {
		return event.Output{}, err
	}
	msg := event.Output{Subject: subject, Payload: o.Payload}
	h := r.headers[:0]
	count := 0
	parent := ""
	if len(r.batch.traces) > 0 {
		if parent = r.traceParent(o, src, at); parent != "" {
			name, _, _ := r.parentOf(src)
			h = abi.AppendHeader(h, name, parent)
			count++
		}
	}
	if src != nil {
		if o.Flags&abi.FlagPayloadRef != 0 {
			msg.Payload = src.Payload
		}
		if src.HeaderCount > 0 {
			var taken int
			h, taken = r.inherit(h, o, src, parent != "")
			count += taken
		}
	}
	h = append(h, o.Headers...)
	count += int(o.HeaderCount)
	if len(o.Key) > 0 {
		h = abi.AppendHeader(h, HeaderKey, asString(o.Key))
		count++
	}
	if at >= 0 {
		value := append(r.source[:0], r.p.cfg.Topic...)
		value = append(value, '/')
		value = strconv.AppendUint(value, r.batch.events[at].Seq, 10)
		value = append(value, '/')
		value = strconv.AppendInt(value, int64(r.batch.made[at]), 10)
		r.source = value
		h = abi.AppendHeader(h, HeaderSource, asString(value))
		count++
	}
	if at >= 0 {
		msg.Cause = r.batch.events[at].Seq
	}
	r.headers = h
	msg.Headers, msg.HeaderCount = h, count
	return msg, nil
}

// subject resolves and checks where an output goes. The returned string is
// valid until the next call.
func (r *run) subject(o *abi.Output, src *abi.Event) (string, error) {
	out := &r.p.cfg.Outputs[o.ID]
	if out.Topic == "" {
		return "", &event.RefusedError{Topic: out.Name, Reason: "the pipeline has no topic for this output: set `to`"}
	}
	if o.HeaderCount > 0 || len(o.Key) > 0 {
		if err := checkOwn(out.Topic, o); err != nil {
			return "", err
		}
	}
	s := o.Subject
	if len(s) == 0 && src != nil {
		s = src.Subject
		if !out.Subject.None() {
			view := *src
			if len(o.Key) > 0 {
				view.Key = o.Key
			}
			if names := out.Subject.Headers(); len(names) > 0 {
				view.Headers, view.HeaderCount = r.named(names, src, o)
			}
			var err error
			if s, err = out.Subject.Append(r.subjects[:0], &view); err != nil {
				return "", &event.RefusedError{Topic: out.Topic, Reason: err.Error()}
			}
			r.subjects = s
		}
	}
	if last := &r.last[o.ID]; bytes.Equal(s, *last) && len(s) > 0 {
		return asString(s), nil // checked a moment ago
	}
	if err := checkSubject(asString(s), out); err != nil {
		return "", err
	}
	if out.Topic == r.p.cfg.Topic && !r.p.cfg.Loop && r.p.cfg.reads(asString(s)) {
		return "", &event.RefusedError{Topic: out.Topic, Reason: fmt.Sprintf("subject %q is read by this pipeline itself: allow it with loop = true", s)}
	}
	r.last[o.ID] = append(r.last[o.ID][:0], s...)
	return asString(s), nil
}

// reads says whether the pipeline's own filter selects subject.
func (c *Config) reads(subject string) bool {
	for _, f := range c.Filter {
		if event.Match(f, subject) {
			return true
		}
	}
	return len(c.Filter) == 0
}

// checkOwn refuses headers and keys that a plugin must not set.
func checkOwn(topic string, o *abi.Output) error {
	for block := o.Headers; ; {
		key, _, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		if reservedHeader(asString(key)) {
			return &event.RefusedError{Topic: topic, Reason: "header " + strconv.Quote(string(key)) + " is reserved"}
		}
		block = rest
	}
	for _, c := range o.Key {
		if c == '\r' || c == '\n' || c == 0 {
			return &event.RefusedError{Topic: topic, Reason: "the key holds a line break or NUL"}
		}
	}
	return nil
}

// checkSubject upholds A6: a plugin reaches no subject outside its output.
func checkSubject(s string, out *Output) error {
	if s == "" {
		return &event.RefusedError{Topic: out.Topic, Reason: "the output has no subject: set one, or subject in the pipeline"}
	}
	if err := event.CheckSubject(s); err != nil {
		return &event.RefusedError{Topic: out.Topic, Reason: err.Error()}
	}
	for _, pattern := range out.Subjects {
		if event.Match(pattern, s) {
			return nil
		}
	}
	return &event.RefusedError{Topic: out.Topic, Reason: fmt.Sprintf("subject %q is not one of the topic's (%s)", s, strings.Join(out.Subjects, ", "))}
}

// asString views b as a string for the duration of a call that copies it.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
