package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

const (
	// stalledAfter is how long a running pipeline with something to do may
	// finish nothing.
	stalledAfter = 30 * time.Second
	// slowRate is a rate, in events/s, that by itself explains such a pause.
	slowRate = 0.1
	// topicsTimeout bounds the questions that Status asks the broker.
	topicsTimeout = 2 * time.Second
)

// Status is the whole picture now. It never waits for a pipeline; when the
// broker does not answer in time the topics are missing and a problem says so.
func (e *Engine) Status(ctx context.Context) status.Status {
	e.mu.RLock()
	p, started, closing := e.mu.plan, e.mu.started, e.mu.closing
	e.mu.RUnlock()
	s := status.Status{Version: e.deps.Version, State: "running", Started: started, Server: e.topics.Describe()}
	if closing {
		s.State = "draining"
		s.Problems = append(s.Problems, "is draining")
	}
	if p == nil {
		s.Problems = append(s.Problems, "is not open")
		return s
	}
	s.Config = p.File
	ctx, cancel := context.WithTimeout(ctx, topicsTimeout)
	defer cancel()
	// A full disk stops every topic, and no pipeline may have noticed it yet.
	broken := e.topics.Healthy()
	if broken != nil {
		s.Problems = append(s.Problems, broken.Error())
	}
	topics, err := e.topics.Topics(ctx)
	if err != nil && broken == nil {
		s.Problems = append(s.Problems, "the topics are not to be had: "+err.Error())
	}
	s.Topics = slices.DeleteFunc(topics, func(t status.Topic) bool { return p.Topic(t.Name) == nil })
	s.Plugins = e.Plugins(ctx)
	now := time.Now()
	e.trend.rate(s.Topics, now)
	supervisors := e.supervisors()
	readers := make([]broker.Reader, len(supervisors))
	for i, sup := range supervisors {
		readers[i] = broker.Reader{Pipeline: sup.name, Topic: sup.spec.From}
	}
	backlogs := e.data.BehindAll(ctx, readers)
	for i, sup := range supervisors {
		ps := e.describe(sup, sup.behind(backlogs[i]), now)
		ps.Lost = e.data.Lost(sup.name, sup.spec.From)
		s.Pipelines = append(s.Pipelines, ps)
		switch ps.State {
		case status.StateRunning, status.StatePaused, status.StateStandby:
		default:
			s.Problems = append(s.Problems, problem(&ps))
		}
	}
	s.Ready = len(s.Problems) == 0
	return s
}

func problem(p *status.Pipeline) string {
	if p.Reason == "" {
		return fmt.Sprintf("pipeline %q is %s", p.Name, p.State)
	}
	return fmt.Sprintf("pipeline %q is %s: %s", p.Name, p.State, p.Reason)
}

// Plan is what runs now; nil before Open.
func (e *Engine) Plan() *plan.Plan { return e.plan() }

// behind is how far a pipeline is behind its topic, by what the server says. What
// the pipeline saw at its last fetch says nothing of what has come since, when it
// is paused, at a limit or not running. Of a running one only what it was not given
// yet counts here: it acknowledges what it has finished a little later. Without an
// answer it is 0; the topics, asked at the same place, say that there was none.
func (s *supervisor) behind(b broker.Backlog) uint64 {
	if s.isState(status.StateRunning) {
		return b.Waiting
	}
	return b.Waiting + b.Unacked
}

// Pipeline describes one pipeline; ErrNotFound when there is none of that name.
func (e *Engine) Pipeline(name string) (status.Pipeline, error) {
	s, err := e.supervisor(name)
	if err != nil {
		return status.Pipeline{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), topicsTimeout)
	defer cancel()
	var b broker.Backlog
	b.Waiting, b.Unacked, _ = e.data.Behind(ctx, s.name, s.spec.From) // zero without an answer
	p := e.describe(s, s.behind(b), time.Now())
	p.Lost = e.data.Lost(s.name, s.spec.From)
	return p, nil
}

// describe says what s does; behind is how many events the server knows that it
// has not finished.
func (e *Engine) describe(s *supervisor, behind uint64, now time.Time) status.Pipeline {
	s.mu.Lock()
	p := status.Pipeline{
		Name: s.name, State: s.mu.state, Reason: s.mu.reason, From: s.spec.From, Stages: stageNames(s.spec.Stages),
		Outputs: map[string]string{}, Delivery: s.spec.Delivery, Partitions: partitions(&s.spec),
		Restarts: s.mu.restarts, Quarantines: s.mu.quarantines, LastError: s.mu.lastErr,
	}
	st, a := s.mu.past, s.mu.attempt
	s.mu.Unlock()
	if a != nil {
		st = sum(st, a.Stats())
	}
	for _, o := range s.spec.Outputs {
		if o.Topic != "" {
			p.Outputs[o.Name] = o.Topic
		}
	}
	p.In, p.Out, p.Dropped, p.Retried, p.DeadLettered = st.In, st.Out, st.Dropped, st.Retried, st.DeadLettered
	p.Faults, p.Backpressure = st.Faults, st.Backpressure
	if f := st.LastFault; !f.At.IsZero() {
		p.LastFault = &status.Fault{Kind: f.Kind, Stage: f.Stage, Plugin: f.Plugin, Message: f.Text, Time: f.At}
	}
	s.meter.describe(&p)
	p.MaxInFlight = e.roomOf(s)
	p.InFlight, p.InFlightBytes, p.Lag, p.AckedSeq = st.InFlight, st.InFlightBytes, max(st.Lag, behind), st.AckedSeq
	if p.State == status.StateRunning && p.Lag > 0 && e.stalled(s, now) {
		p.State = status.StateStalled
		since := s.progress.get()
		p.Reason = fmt.Sprintf("nothing has finished for %s with %d events waiting", now.Sub(since).Round(time.Second), p.Lag)
	}
	if a != nil && (p.State == status.StateRunning || p.State == status.StateStalled) {
		if why := a.trouble(); why != "" {
			p.Reason = strings.TrimPrefix(p.Reason+"; "+why, "; ")
		}
		if st.Throttled != "" {
			p.Reason = strings.TrimPrefix(p.Reason+"; "+st.Throttled, "; ")
		}
	}
	return p
}

// roomOf is the smallest limit on the events that a pipeline has in flight.
func (e *Engine) roomOf(s *supervisor) int {
	room := roomEvents
	for _, name := range s.spec.Stages {
		if p, err := e.plugin(name); err == nil {
			room = min(room, p.budget.Usage().MaxEvents)
		}
	}
	return room
}

// stalled says whether a running pipeline has made no progress for a while and
// no rate explains that.
func (e *Engine) stalled(s *supervisor, now time.Time) bool {
	if now.Sub(s.progress.get()) < stalledAfter {
		return false
	}
	if now.Sub(s.limited.get()) < stalledAfter {
		return false
	}
	for _, name := range s.spec.Stages {
		p, err := e.plugin(name)
		if err != nil {
			continue
		}
		p.mu.Lock()
		rate := p.mu.spec.Limits.Rate
		p.mu.Unlock()
		if rate > 0 && rate < slowRate {
			return false
		}
	}
	return true
}

// sum adds the counters of two runs; what describes a moment is that of b.
func sum(a, b pipeline.Stats) pipeline.Stats {
	b.In += a.In
	b.Out += a.Out
	b.Dropped += a.Dropped
	b.Retried += a.Retried
	b.DeadLettered += a.DeadLettered
	b.Faults = add(a.Faults, b.Faults)
	if b.LastFault.At.IsZero() {
		b.LastFault = a.LastFault
	}
	b.Backpressure = add(a.Backpressure, b.Backpressure)
	if b.AckedSeq == 0 {
		b.AckedSeq = a.AckedSeq
	}
	return b
}

func add[N uint64 | float64](a, b map[string]N) map[string]N {
	out := make(map[string]N, len(a)+len(b))
	maps.Copy(out, b)
	for k, v := range a {
		out[k] += v
	}
	return out
}

// Plugins describes the plugins with their histories, by name.
func (e *Engine) Plugins(context.Context) []status.Plugin {
	pipelines := e.supervisors()
	var out []status.Plugin
	for _, p := range e.pluginList() {
		s := status.Plugin{Name: p.name, Pipelines: []string{}}
		for _, sup := range pipelines {
			if slices.Contains(sup.spec.Stages, p.name) {
				s.Pipelines = append(s.Pipelines, sup.name)
			}
		}
		use := p.budget.Usage()
		s.InFlight, s.MaxInFlight, s.InFlightBytes, s.MaxInFlightBytes, s.MaxRate = use.Events, use.MaxEvents, use.Bytes, use.MaxBytes, use.Rate
		p.mu.Lock()
		s.Source = sourceOf(p.mu.spec)
		for _, g := range p.mu.history {
			d := g.describe(p.mu.trial)
			if g == p.mu.current && p.mu.module != nil {
				d.Memory = p.mu.module.Memory()
				s.Generation = d
			}
			s.History = append(s.History, d)
		}
		p.mu.Unlock()
		out = append(out, s)
	}
	return out
}

func sourceOf(p plan.Plugin) string {
	if p.Builtin != "" {
		return "builtin:" + p.Builtin
	}
	return p.Path
}
