package engine

import (
	"cmp"
	"context"
	"strconv"
	"sync"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
)

// PluginSpec is what the host loads for a plugin of a plan, but for its secrets.
func PluginSpec(builtins map[string]func() ([]byte, error), spec plan.Plugin) (host.Spec, error) {
	b, err := readModule(builtins, spec)
	if err != nil {
		return host.Spec{}, err
	}
	spec.Secrets = nil
	return hostSpec(spec, "", b, event.Listener{}.WithDefaults())
}

// OutputsOf lists the outputs that a stage of a pipeline can name, the default
// one first.
func OutputsOf(spec *plan.Pipeline, stage int) []string { return outputsOf(spec, stage) }

// Rehearsal runs a pipeline of a plan on events from memory: all of the way from
// the source to the sink, without a broker. One event is on its way at a time;
// the next is asked for when everything that it has caused is known. Attempts
// follow each other without a wait.
type Rehearsal struct {
	Plan     *plan.Plan
	Pipeline *plan.Pipeline
	// Processor makes the instance of a stage.
	Processor func(plugin string, spec host.InstanceSpec) (pipeline.Processor, error)
	// Next returns the next event; false = there is none, and the instances end.
	Next func() (event.Event, bool)
	// Published is told of each output, and with the name "" of the dead letters.
	Published func(output string, m *event.Output)
	Listener  event.Listener
}

// Run runs the pipeline until there are no events left, or it fails.
func (r *Rehearsal) Run(ctx context.Context) error {
	cfg, err := pipelineConfig(r.Plan, r.Pipeline)
	if err != nil {
		return err
	}
	cfg.Batch.MaxEvents, cfg.Batch.MaxWait = 1, 0
	cfg.Retry.Backoff, cfg.Retry.MaxBackoff = 1, 1
	ctx, end := context.WithCancel(ctx)
	defer end()
	conduct := pipeline.NewConduct()
	source := &rehearsalSource{
		free: make(chan struct{}, 1),
		next: func() (event.Event, bool) {
			conduct.Clear() // each event is a case of its own
			return r.Next()
		},
		end: end,
	}
	source.free <- struct{}{}
	p, err := pipeline.New(cfg, pipeline.Deps{
		Source: source,
		Sink: func(_ int, confirmed func()) (pipeline.Sink, error) {
			return &rehearsalSink{names: outputNames(r.Pipeline), published: r.Published, confirmed: confirmed, added: map[int]uint64{}}, nil
		},
		Processor: func(stage, partition int) (pipeline.Processor, error) {
			return r.Processor(r.Pipeline.Stages[stage], instanceSpec(r.Pipeline, stage, partition))
		},
		Listener: r.Listener,
		Conduct:  conduct,
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

func outputNames(spec *plan.Pipeline) []string {
	names := make([]string, len(spec.Outputs))
	for i, o := range spec.Outputs {
		names[i] = cmp.Or(o.Name, plan.DefaultOutput)
	}
	return names
}

// rehearsalSource is a source that hands out the next event when the last one is
// acknowledged.
type rehearsalSource struct {
	free chan struct{} // holds a token when no event is on its way
	next func() (event.Event, bool)
	end  func()

	moved func()
	mu    sync.Mutex
	acked uint64
}

func (s *rehearsalSource) Fetch(ctx context.Context, dst []event.Event, _ event.Room) ([]event.Event, uint64, error) {
	select {
	case <-s.free:
	case <-ctx.Done():
		return dst, 0, ctx.Err()
	}
	e, ok := s.next()
	if !ok {
		s.end()
		return dst, 0, context.Canceled
	}
	e.Ack = strconv.FormatUint(e.Seq, 10)
	return append(dst, e), 0, nil
}

func (s *rehearsalSource) Ack(token string) error {
	seq, err := strconv.ParseUint(token, 10, 64)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.acked = seq
	s.mu.Unlock()
	s.moved()
	s.free <- struct{}{}
	return nil
}

func (s *rehearsalSource) Durable() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

func (s *rehearsalSource) OnDurable(moved func()) { s.moved = moved }
func (s *rehearsalSource) Close() error           { return nil }

// rehearsalSink is a sink that stores nothing: what is added is confirmed.
type rehearsalSink struct {
	names     []string
	published func(output string, m *event.Output)
	confirmed func()

	mu    sync.Mutex
	added map[int]uint64 // by topic
}

func (r *rehearsalSink) Add(_ context.Context, topic int, m *event.Output) (uint64, error) {
	name := ""
	if topic < len(r.names) {
		name = r.names[topic]
	}
	r.published(name, m)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added[topic]++
	return r.added[topic], nil
}

func (r *rehearsalSink) Check(context.Context, int, *event.Output) error { return nil }

func (r *rehearsalSink) Commit(context.Context, uint64) (uint64, error) { return 0, nil }

func (r *rehearsalSink) Flush() error {
	r.confirmed()
	return nil
}

func (r *rehearsalSink) Confirmed(topic int) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.added[topic]
}

func (r *rehearsalSink) Close(context.Context) error {
	r.confirmed()
	return nil
}
