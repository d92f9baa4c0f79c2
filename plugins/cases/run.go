package cases

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/sdk/abi"
)

// The surroundings of a case that says nothing else.
const (
	defaultSubject = "test"
	seed           = "wasmill test"
)

func defaultNow() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// stage is where a case is played: the clock, and what comes of the steps.
type stage struct {
	c   *Case
	seq uint64

	mu  sync.Mutex
	at  int // the step at hand
	now time.Time
	out []result
}

func newStage(c *Case) *stage {
	s := &stage{c: c, now: c.Now, out: make([]result, len(c.Steps))}
	if s.now.IsZero() {
		s.now = defaultNow()
	}
	return s
}

// clock is what the plugins read.
func (s *stage) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// next goes to the next event and returns it as a topic would deliver it. When
// there is none it goes to the end of the instance.
func (s *stage) next() (abi.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at++; s.at >= len(s.c.Steps) || s.c.Steps[s.at].Kind != StepEvent {
		if s.at >= len(s.out) {
			s.out = append(s.out, result{})
		}
		return abi.Event{}, false
	}
	e := &s.c.Steps[s.at].Event
	if !e.Now.IsZero() {
		s.now = e.Now
	}
	s.seq++
	if e.Seq != 0 {
		s.seq = e.Seq
	}
	at := e.Time
	if at.IsZero() {
		at = s.now
	}
	v := abi.Event{
		Seq: s.seq, Time: at.UnixNano(), Attempt: uint32(max(e.Attempt, 1)), HeaderCount: uint32(len(e.Headers)),
		Subject: []byte(cmp.Or(e.Subject, defaultSubject)), Key: []byte(e.Key), Payload: e.Payload,
	}
	for _, h := range e.Headers {
		v.Headers = abi.AppendHeader(v.Headers, h.Name, h.Value)
	}
	return v, true
}

func (s *stage) add(l Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out[s.at].lines = append(s.out[s.at].lines, l)
}

func (s *stage) explain(detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out[s.at].detail = detail
}

func (s *stage) log(_ string, _, level int, line string) {
	name := "info"
	switch level {
	case abi.LevelDebug:
		name = "debug"
	case abi.LevelWarn:
		name = "warn"
	case abi.LevelError:
		name = "error"
	}
	s.add(Line{Kind: LineLog, Log: line, Level: name})
}

// results closes the record.
func (s *stage) results() []result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out
}

// lastLine is the line on which a file ends.
func (c *Case) lastLine() int {
	last := &c.Steps[len(c.Steps)-1]
	if n := len(last.Expect); n > 0 {
		return last.Expect[n-1].line
	}
	return last.line
}

// variant is the module of a plugin with a configuration of the case's.
func (r *Runner) variant(ctx context.Context, s *stage, g *plan.Plugin, setting Setting) (*host.Generation, error) {
	gen, err := r.load(ctx, g)
	if err != nil {
		return nil, err
	}
	config := g.Config
	if setting.Config != nil {
		config = setting.Config
	}
	return gen.Variant(host.Variant{
		Config: config, Secrets: setting.Secrets, Log: s.log,
		Fixed: &host.Fixed{Now: s.clock, Seed: seed},
	})
}

// runPlugin plays a case with one instance of a plugin.
func (r *Runner) runPlugin(ctx context.Context, s *stage, t target) error {
	g := *t.plugin
	if s.c.Grants != nil {
		g.Grants = slices.Sorted(slices.Values(s.c.Grants))
	}
	gen, err := r.variant(ctx, s, &g, s.c.Setting)
	if err != nil {
		return err
	}
	defer gen.Close(ctx)
	spec := surroundings(t, s.c.Outputs)
	i, err := gen.NewInstance(ctx, spec)
	if err != nil {
		return s.refused(err, "")
	}
	defer i.Discard()
	var res abi.Result
	for {
		e, ok := s.next()
		if !ok {
			break
		}
		events := []abi.Event{e}
		err := i.Process(ctx, abi.BatchHeader{Kind: abi.KindData, ID: e.Seq, Now: s.clock().UnixNano()}, events, &res)
		if err := s.fault(err); err != nil {
			return err
		}
		s.take(&res, spec.Outputs, events)
	}
	if err := s.fault(i.Close(ctx, &res)); err != nil {
		return err
	}
	s.take(&res, spec.Outputs, nil)
	return nil
}

// surroundings say where an instance works: in the pipeline of the plan that
// runs the plugin, with the outputs of all that do.
func surroundings(t target, outputs []string) host.InstanceSpec {
	spec := host.InstanceSpec{Pipeline: defaultSubject, Outputs: []string{defaultOutput}}
	used := false
	var named []string
	for i := range t.plan.Pipelines {
		l := &t.plan.Pipelines[i]
		for k, name := range l.Stages {
			if name != t.plugin.Name {
				continue
			}
			if !used {
				spec.Pipeline, used = l.Name, true
			}
			named = append(named, engine.OutputsOf(l, k)[1:]...)
		}
	}
	if outputs != nil {
		named = outputs
	}
	for _, name := range named {
		if !slices.Contains(spec.Outputs, name) {
			spec.Outputs = append(spec.Outputs, name)
		}
	}
	return spec
}

// refused notes that an instance could not be opened.
func (s *stage) refused(err error, in string) error {
	var f *host.Fault
	if !errors.As(err, &f) {
		return err
	}
	if f.Kind == abi.FaultGuestError {
		s.add(Line{Kind: LineOutcome, Outcome: outcomeRefused, Stage: in, Reason: strings.TrimPrefix(f.Message, "refused its configuration: ")})
		return nil
	}
	s.add(Line{Kind: LineFault, Fault: f.Kind, Reason: f.Message})
	s.explain(f.Detail)
	return nil
}

// fault notes a fault of a call; any other error is returned.
func (s *stage) fault(err error) error {
	var f *host.Fault
	if err == nil || !errors.As(err, &f) {
		return err
	}
	s.add(Line{Kind: LineFault, Fault: f.Kind, Reason: f.Message})
	s.explain(f.Detail)
	return nil
}

// take notes what a call returned.
func (s *stage) take(res *abi.Result, outputs []string, events []abi.Event) {
	for i := range res.Outputs {
		o := &res.Outputs[i]
		l := Line{Kind: LineOutput, Output: outputs[o.ID], Subject: string(o.Subject), Key: string(o.Key), Payload: slices.Clone(o.Payload)}
		if o.Source != abi.NoSource {
			if o.Flags&abi.FlagPayloadRef != 0 {
				l.Payload = slices.Clone(events[o.Source].Payload)
			}
			if o.Flags&abi.FlagKeepHeaders != 0 {
				l.Headers = appendHeaders(l.Headers, events[o.Source].Headers)
			}
		}
		l.Headers = appendHeaders(l.Headers, o.Headers)
		s.add(l)
	}
	for i := range res.Outcomes {
		o := &res.Outcomes[i]
		name := outcomeDrop
		switch o.Code {
		case abi.CodeDrop:
		case abi.CodeRetry:
			name = outcomeRetry
		case abi.CodeDeadLetter:
			name = outcomeDeadLetter
		}
		s.add(Line{Kind: LineOutcome, Outcome: name, Delay: time.Duration(o.Delay) * time.Millisecond, Reason: string(o.Reason)})
	}
}

func appendHeaders(headers []Header, block []byte) []Header {
	for {
		name, value, rest, ok := abi.NextHeader(block)
		if !ok {
			return headers
		}
		headers = append(headers, Header{string(name), string(value)})
		block = rest
	}
}

// runPipeline plays a case with all stages of a pipeline.
func (r *Runner) runPipeline(ctx context.Context, s *stage, t target) error {
	modules := map[string]*host.Generation{}
	defer func() {
		for _, gen := range modules {
			_ = gen.Close(ctx) // a variant frees nothing of its own
		}
	}()
	for _, name := range t.pipeline.Stages {
		if modules[name] != nil {
			continue
		}
		gen, err := r.variant(ctx, s, t.plan.Plugin(name), s.c.Plugins[name])
		if err != nil {
			return err
		}
		modules[name] = gen
	}
	several := len(t.pipeline.Stages) > 1
	run := engine.Rehearsal{
		Plan: t.plan, Pipeline: t.pipeline,
		Processor: func(plugin string, spec host.InstanceSpec) (pipeline.Processor, error) {
			i, err := modules[plugin].NewInstance(ctx, spec)
			if err != nil {
				return nil, &refusal{plugin, err}
			}
			return onStage{i, s}, nil
		},
		Next:      s.event,
		Published: s.published,
		Listener: event.Listener{
			DeadLettered: func(_, stage, _ string, _ uint64, kind, cause string) {
				l := Line{Kind: LineOutcome, Outcome: outcomeDeadLetter, Fault: kind, Reason: cause}
				if several {
					l.Stage = stage
				}
				if kind == abi.FaultHandlerError {
					l.Fault = "" // an answer of the plugin, not a fault
				}
				s.add(l)
			},
			Fault: func(_, _, _, _ string, err error) {
				var f *host.Fault
				if errors.As(err, &f) {
					s.explain(f.Detail)
				}
			},
		},
	}
	err := run.Run(ctx)
	var no *refusal
	switch {
	case errors.As(err, &no):
		in := ""
		if several {
			in = no.plugin
		}
		return s.refused(no.err, in)
	case errors.Is(err, pipeline.ErrHalted):
		s.add(Line{Kind: LineOutcome, Outcome: outcomeHalt, Reason: err.Error()})
		return nil
	}
	return err
}

// refusal is that an instance could not be opened.
type refusal struct {
	plugin string
	err    error
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// event is next for a pipeline. An event of which nothing came was dropped.
func (s *stage) event() (event.Event, bool) {
	s.dropped()
	e, ok := s.next()
	return event.Event{Event: e}, ok
}

func (s *stage) dropped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c.Steps[s.at].Kind == StepEvent && !slices.ContainsFunc(s.out[s.at].lines, func(l Line) bool { return l.Kind != LineLog }) {
		s.out[s.at].lines = append(s.out[s.at].lines, Line{Kind: LineOutcome, Outcome: outcomeDrop})
	}
}

// published notes an output of a pipeline, without what the runtime says in its
// headers: that is told otherwise.
func (s *stage) published(output string, m *event.Output) {
	if output == "" {
		return // a dead letter; the listener is told why
	}
	l := Line{Kind: LineOutput, Output: output, Subject: strings.Clone(m.Subject), Payload: slices.Clone(m.Payload)}
	for _, h := range appendHeaders(nil, m.Headers) {
		switch {
		case h.Name == pipeline.HeaderKey:
			l.Key = h.Value
		case h.Name != pipeline.HeaderSource:
			l.Headers = append(l.Headers, h)
		}
	}
	s.add(l)
}

// onStage is an instance in a pipeline, on the clock of the case.
type onStage struct {
	*host.Instance
	s *stage
}

func (o onStage) Process(ctx context.Context, h abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	h.Now = o.s.clock().UnixNano()
	return o.Instance.Process(ctx, h, events, res)
}
