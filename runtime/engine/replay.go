package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// headerReplay names the pipeline whose stages an event went through once more.
const headerReplay = "Wasmill-Replay"

// maxReasons is how many failures a replay tells of.
const maxReasons = 10

// ErrBadReplay says that something cannot be replayed as it was asked for.
var ErrBadReplay = errors.New("replay")

// ReplayRange is what is replayed, and where to.
type ReplayRange struct {
	From string // a place of the pipeline's topic, see broker.Place
	To   string // the last: a sequence, or events stored before a time; "" and "end" = the last there is now
	Into string // topic that takes the outputs
}

// PreviewReplay says of how many events a range is. ErrNotFound,
// *broker.GoneError, broker.ErrBadStart.
func (e *Engine) PreviewReplay(ctx context.Context, name string, in ReplayRange) (status.Replayed, error) {
	s, err := e.supervisor(name)
	if err != nil {
		return status.Replayed{}, err
	}
	r := status.Replayed{Pipeline: name, Topic: s.spec.From, Into: in.Into}
	if r.FromSeq, err = e.messages.Place(ctx, r.Topic, in.From); err != nil {
		return r, fmt.Errorf("replay: from: %w", err)
	}
	to := in.To
	if to == "" {
		to = "end"
	}
	end, err := e.messages.Place(ctx, r.Topic, to)
	if err != nil {
		return r, fmt.Errorf("replay: to: %w", err)
	}
	if n := strings.TrimPrefix(to, "seq:"); n != "" && strings.Trim(n, "0123456789") == "" {
		topic, err := e.messages.Topic(ctx, r.Topic)
		if err != nil {
			return r, fmt.Errorf("replay: to: %w", err)
		}
		if end > topic.LastSeq {
			return r, fmt.Errorf("replay: to: %w", &broker.GoneError{Topic: r.Topic, Place: "sequence " + n, First: max(topic.FirstSeq, 1), Last: topic.LastSeq})
		}
		end++
	}
	r.ToSeq = end - 1
	if end > r.FromSeq {
		if r.Events, err = e.messages.Count(ctx, r.Topic, s.spec.Filter, r.FromSeq, end); err != nil {
			return r, fmt.Errorf("replay: %w", err)
		}
	}
	return r, nil
}

// Replay runs events of a pipeline's topic through instances of its own of the
// plugins in use, and stores the outputs in another topic. It reads by direct
// get, without a consumer, one event at a time, so that it takes one processor at
// the most. Neither the pipeline nor its position is touched, its outputs only
// when one of their topics is named, and no dead letter is made: what fails is
// counted. The result is also true when there is an error: it says what was done
// before. ErrBadReplay, and the errors of PreviewReplay.
func (e *Engine) Replay(ctx context.Context, name string, in ReplayRange) (status.Replayed, error) {
	r, err := e.PreviewReplay(ctx, name, in)
	if err != nil {
		return r, err
	}
	s, err := e.supervisor(name)
	if err != nil {
		return r, err
	}
	spec := s.spec
	spec.OnFailure, spec.Delivery = plan.OnFailureDeadLetter, plan.AtLeastOnce // of which only the count is kept
	into, err := e.replayInto(ctx, &spec, in.Into)
	if err != nil {
		return r, err
	}
	modules := map[string]*loaded{}
	defer func() {
		for _, m := range modules {
			m.release()
		}
	}()
	for _, name := range spec.Stages {
		p, err := e.plugin(name)
		if err != nil {
			return r, err
		}
		if modules[name] == nil {
			p.mu.Lock()
			modules[name] = p.mu.module
			modules[name].retain()
			p.mu.Unlock()
		}
	}
	run := replay{e: e, ctx: ctx, spec: &spec, into: into, r: &r, next: r.FromSeq}
	rehearsal := Rehearsal{
		Plan: e.plan(), Pipeline: &spec,
		Processor: func(plugin string, at host.InstanceSpec) (pipeline.Processor, error) {
			return modules[plugin].NewInstance(ctx, at)
		},
		Next: run.event, Published: run.publish,
		Listener: event.Listener{DeadLettered: func(_, _, _ string, seq uint64, _, cause string) {
			run.failed = true
			run.reason("event %d: %s", seq, cause)
		}},
	}
	err = rehearsal.Run(ctx)
	run.finish()
	if err = errors.Join(run.err, err); err != nil {
		return r, fmt.Errorf("replay of pipeline %q, up to sequence %d: %w", name, r.NextSeq-1, err)
	}
	return r, nil
}

// replayInto is the topic that takes the outputs.
func (e *Engine) replayInto(ctx context.Context, spec *plan.Pipeline, name string) (status.Topic, error) {
	switch name {
	case "":
		return status.Topic{}, fmt.Errorf("%w: say which topic takes the outputs", ErrBadReplay)
	case spec.From, plan.DeadLetters, plan.Audit:
		return status.Topic{}, fmt.Errorf("%w: the outputs cannot go into topic %q: name another one", ErrBadReplay, name)
	}
	t, err := e.messages.Topic(ctx, name)
	if err != nil {
		return t, fmt.Errorf("replay: into: %w", err)
	}
	if slices.ContainsFunc(spec.Outputs, func(o plan.Output) bool { return o.Topic == name }) {
		return t, nil
	}
	if replayPrefix(t.Subjects) == "" {
		return t, fmt.Errorf("%w: topic %q stores %s: one that takes outputs under their own subjects needs a subject such as \"%s.>\"",
			ErrBadReplay, name, strings.Join(t.Subjects, " "), name)
	}
	return t, nil
}

// replayPrefix is what outputs of other topics are put behind, with a dot.
func replayPrefix(subjects []string) string {
	for _, s := range subjects {
		if prefix, ok := strings.CutSuffix(s, ">"); ok && !strings.Contains(prefix, "*") {
			return prefix
		}
	}
	return ""
}

// replay is one replay at work. The rehearsal calls its methods one after the other.
type replay struct {
	e    *Engine
	ctx  context.Context //nolint:containedctx // one call of Replay, which waits for it
	spec *plan.Pipeline
	into status.Topic
	r    *status.Replayed

	next   uint64
	begun  bool // an event is on its way
	came   int  // outputs of it
	failed bool
	err    error // ends it
}

// finish counts the event that was on its way.
func (p *replay) finish() {
	if !p.begun || p.err != nil {
		return
	}
	switch {
	case p.failed:
		p.r.Failed++
	case p.came == 0:
		p.r.Dropped++
	}
	p.r.NextSeq = p.next
	p.begun, p.came, p.failed = false, 0, false
}

// event reads the next one that the pipeline's filter lets through.
func (p *replay) event() (event.Event, bool) {
	p.finish()
	for p.err == nil && p.next <= p.r.ToSeq {
		m, err := p.e.messages.Next(p.ctx, p.spec.From, p.next, "")
		if errors.Is(err, broker.ErrNotFound) || err == nil && m.Seq > p.r.ToSeq {
			break
		}
		if err != nil {
			p.err = err
			break
		}
		p.next = m.Seq + 1
		if len(p.spec.Filter) > 0 && !slices.ContainsFunc(p.spec.Filter, func(f string) bool { return event.Match(f, m.Subject) }) {
			continue
		}
		p.begun = true
		return eventOf(&m), true
	}
	return event.Event{}, false
}

// publish stores one output.
func (p *replay) publish(output string, m *event.Output) {
	if output == "" || p.err != nil {
		return // a dead letter
	}
	p.came++
	out := *m
	out.Headers = abi.AppendHeader(slices.Clone(m.Headers), headerReplay, p.spec.Name)
	out.HeaderCount++
	if !slices.ContainsFunc(p.into.Subjects, func(s string) bool { return event.Match(s, out.Subject) }) {
		out.Subject = replayPrefix(p.into.Subjects) + out.Subject
	}
	_, err := p.e.messages.Publish(p.ctx, p.into.Name, out)
	var refused *event.RefusedError
	switch {
	case errors.As(err, &refused):
		p.r.Refused++
		p.reason("an output of event %d: %v", p.next-1, err)
	case err != nil:
		p.err = err
	default:
		p.r.Outputs++
	}
}

func (p *replay) reason(format string, args ...any) {
	if len(p.r.Reasons) < maxReasons {
		p.r.Reasons = append(p.r.Reasons, fmt.Sprintf(format, args...))
	}
}

// eventOf is a stored message as a source would deliver it.
func eventOf(m *status.Message) event.Event {
	v := event.Event{Event: abi.Event{
		Seq: m.Seq, Time: m.Time.UnixNano(), Attempt: 1, Subject: []byte(m.Subject), Payload: []byte(m.Payload),
	}}
	if m.Base64 != nil {
		v.Payload = m.Base64
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		for _, value := range m.Headers[name] {
			v.Headers = abi.AppendHeader(v.Headers, name, value)
			v.HeaderCount++
		}
	}
	return v
}

// Module returns the module that a plugin runs. ErrNotFound.
func (e *Engine) Module(name string) ([]byte, error) {
	p, err := e.plugin(name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	spec, digest := p.mu.current.spec, p.mu.current.Digest
	p.mu.Unlock()
	if spec.Builtin != "" {
		return readModule(e.deps.Builtins, spec)
	}
	b, err := e.archive.load(digest)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the copy of plugin %q's module %s: %w", name, digest, ErrNotFound)
	}
	return b, err
}
