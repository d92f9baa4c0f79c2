package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// What one pipeline holds at the most, beside the limits of its plugins: the
// bound for a pipeline whose plugins allow more (invariant A3).
const (
	roomEvents = 32 << 10
	roomBytes  = 64 << 20
)

// What a source reads ahead, and what one partition may have unconfirmed per
// output topic.
const (
	prefetchEvents = 4096
	prefetchBytes  = 8 << 20
	windowEvents   = 16 << 10
	windowBytes    = 16 << 20
)

// stageNames names the stages: the plugin's name, with "-2", "-3" … behind it
// where a plugin is used again.
func stageNames(plugins []string) []string {
	names := make([]string, len(plugins))
	used := map[string]int{}
	for i, p := range plugins {
		used[p]++
		names[i] = p
		if n := used[p]; n > 1 {
			names[i] = fmt.Sprintf("%s-%d", p, n)
		}
	}
	return names
}

// partitions is how many a pipeline really has: without a key there is nothing
// to spread by.
func partitions(spec *plan.Pipeline) int {
	if spec.Key == "" {
		return 1
	}
	return max(spec.Partitions, 1)
}

// outputsOf lists the outputs that a stage can name: those of the pipeline for
// the last stage, and the way to the next stage for the others.
func outputsOf(spec *plan.Pipeline, stage int) []string {
	if stage < len(spec.Stages)-1 {
		return []string{plan.DefaultOutput}
	}
	names := make([]string, len(spec.Outputs))
	for i, o := range spec.Outputs {
		names[i] = o.Name
	}
	return names
}

func instanceSpec(spec *plan.Pipeline, stage, partition int) host.InstanceSpec {
	return host.InstanceSpec{Pipeline: spec.Name, Partition: partition, Outputs: outputsOf(spec, stage)}
}

// pipelineConfig translates a pipeline of the plan.
func pipelineConfig(p *plan.Plan, spec *plan.Pipeline) (pipeline.Config, error) {
	var errs []error
	key, err := event.ParseKey(spec.Key)
	if err != nil {
		errs = append(errs, fmt.Errorf("key: %w", err))
	}
	cfg := pipeline.Config{
		Name: spec.Name, Topic: spec.From, DeadLetters: plan.DeadLetters,
		Filter: spec.Filter, Loop: spec.Loop, Key: key, Partitions: partitions(spec), OnFailure: spec.OnFailure,
		Batch: pipeline.Batch{MaxEvents: spec.Batch.MaxEvents, MaxBytes: int(spec.Batch.MaxBytes), MaxWait: spec.Batch.MaxWait},
		Retry: pipeline.Retry{Attempts: spec.Retry.Attempts, Backoff: spec.Retry.Backoff, MaxBackoff: spec.Retry.MaxBackoff},
		Room:  event.Room{Events: roomEvents, Bytes: roomBytes},
	}
	for i, name := range stageNames(spec.Stages) {
		cfg.Stages = append(cfg.Stages, pipeline.Stage{Name: name, Plugin: spec.Stages[i]})
	}
	for _, o := range spec.Outputs {
		subject, err := event.ParseTemplate(o.Subject)
		if err != nil {
			errs = append(errs, fmt.Errorf("output %q: subject: %w", o.Name, err))
		}
		out := pipeline.Output{Name: o.Name, Topic: o.Topic, Subject: subject}
		if t := p.Topic(o.Topic); t != nil {
			out.Subjects = t.Subjects
		} else if o.Topic != "" {
			errs = append(errs, fmt.Errorf("output %q: there is no topic %q", o.Name, o.Topic))
		}
		cfg.Outputs = append(cfg.Outputs, out)
	}
	if len(errs) > 0 {
		return cfg, fmt.Errorf("pipeline %q: %w", spec.Name, errors.Join(errs...))
	}
	return cfg, nil
}

// sinkTopics are the topics of a sink: one for each output, then the dead
// letters. A default output without a topic keeps its number: the pipeline
// refuses what is emitted to it, so that nothing is ever added there.
func sinkTopics(spec *plan.Pipeline) []string {
	names := make([]string, 0, len(spec.Outputs)+1)
	for _, o := range spec.Outputs {
		names = append(names, cmp.Or(o.Topic, plan.DeadLetters))
	}
	return append(names, plan.DeadLetters)
}

// pipelineOps binds a supervisor to the broker, the plugins and the listener.
// stages are the plugins of the pipeline's stages.
func (e *Engine) pipelineOps(p *plan.Plan, spec *plan.Pipeline, stages []*plugin) pipelineOps {
	shared := e.topics.Describe().Mode == "external"
	return pipelineOps{
		shared: shared,
		lease: func(ctx context.Context) (lease, error) {
			return e.data.AcquireLease(ctx, spec.Name)
		},
		paused: func(ctx context.Context) (bool, error) { return e.isPaused(ctx, spec.Name) },
		report: func(state string, err error) {
			e.deps.Listener.PipelineState(spec.Name, state, err)
			e.logState(spec.Name, state, err)
		},
		open: func(ctx context.Context, fence *fence, own event.Listener, conduct *pipeline.Conduct) (runner, func(), error) {
			cfg, err := pipelineConfig(p, spec)
			if err != nil {
				return nil, nil, err
			}
			source, openSink, err := e.openData(ctx, spec, fence)
			if err != nil {
				return nil, nil, openSourceError(spec.Name, err)
			}
			finish := func() {
				if err := source.Close(); err != nil {
					e.log.Warn("close a source", "pipeline", spec.Name, "error", err)
				}
			}
			opened := &sinks{}
			deps := pipeline.Deps{
				Source:       source,
				Shares:       shares(stages, spec.Name),
				Throttle:     e.throttle,
				Tap:          e.deps.Taps.Of(spec.Name),
				Tracer:       e.deps.Tracer,
				Conduct:      conduct,
				Listener:     event.Tee(e.deps.Listener, own),
				DrainTimeout: e.deps.DrainTimeout,
				Processor: func(stage, partition int) (pipeline.Processor, error) {
					return e.processor(ctx, spec, stage, partition, stages[stage])
				},
				Sink: func(partition int, confirmed func()) (pipeline.Sink, error) {
					sink, err := openSink(partition, confirmed)
					if err != nil {
						return nil, err
					}
					opened.add(sink)
					if !shared {
						return sink, nil
					}
					return fencedSink{sink, fence}, nil
				},
			}
			if shared {
				deps.Source = fencedSource{source, fence}
			}
			r, err := e.newRunner(cfg, deps)
			if err != nil {
				finish()
				return nil, nil, err
			}
			return explained{r, source, opened}, finish, nil
		},
	}
}

// openData opens what a pipeline reads from, and returns how the sinks of its
// partitions are opened.
func (e *Engine) openData(ctx context.Context, spec *plan.Pipeline, fence *fence) (pipeline.Source, func(int, func()) (pipeline.Sink, error), error) {
	from := broker.SourceConfig{
		Pipeline: spec.Name, Topic: spec.From, Filter: spec.Filter, Start: spec.Start,
		Prefetch: event.Room{Events: prefetchEvents, Bytes: prefetchBytes}, Replaced: fence.close,
	}
	topics, window := sinkTopics(spec), event.Room{Events: windowEvents, Bytes: windowBytes}
	if spec.Delivery == plan.ExactlyOnce {
		source, err := e.data.OpenExact(ctx, from, broker.ExactConfig{
			Pipeline: spec.Name, Topic: spec.From, Key: spec.Key, Partitions: partitions(spec),
			Outputs: topics, Home: home(spec), Window: window,
		})
		if err != nil {
			return nil, nil, err
		}
		return source, source.OpenSink, nil
	}
	source, err := e.data.OpenSource(ctx, from)
	return source, func(partition int, confirmed func()) (pipeline.Sink, error) {
		return e.data.OpenSink(ctx, broker.SinkConfig{Pipeline: spec.Name, Partition: partition, Topics: topics, Window: window}, confirmed)
	}, err
}

// home is the topic whose stream holds the checkpoints of an exactly-once
// pipeline: that of its first output, where most of them go.
func home(spec *plan.Pipeline) string {
	for _, o := range spec.Outputs {
		if o.Topic != "" {
			return o.Topic
		}
	}
	return plan.DeadLetters
}

// openSourceError halts the pipeline when its position cannot be used: only the
// operator can say where it should go on.
func openSourceError(name string, err error) error {
	if errors.Is(err, broker.ErrTopicReplaced) || errors.Is(err, broker.ErrNewerRecord) || errors.Is(err, broker.ErrDamagedRecord) {
		return fmt.Errorf("pipeline %q: %w: %w", name, pipeline.ErrHalted, err)
	}
	return fmt.Errorf("pipeline %q: open its source: %w", name, err)
}

// shares lists a pipeline's share in each plugin's budget once, in the order of
// the plugins' names, which is the same in every pipeline: two pipelines never
// wait for each other.
func shares(stages []*plugin, name string) []*pipeline.Share {
	sorted := slices.Clone(stages)
	slices.SortFunc(sorted, func(a, b *plugin) int { return strings.Compare(a.name, b.name) })
	var out []*pipeline.Share
	for _, p := range slices.Compact(sorted) {
		out = append(out, p.budget.Share(name))
	}
	return out
}

// setUsers tells the plugins which pipelines of a plan draw on their budgets.
// No run of a pipeline that does not draw on one any more may be left.
func setUsers(p *plan.Plan, plugins map[string]*plugin) {
	for name, pl := range plugins {
		var users []string
		for i := range p.Pipelines {
			if slices.Contains(p.Pipelines[i].Stages, name) {
				users = append(users, p.Pipelines[i].Name)
			}
		}
		pl.budget.SetUsers(users)
	}
}

// processor makes the instance of a stage from the plugin's current generation.
func (e *Engine) processor(ctx context.Context, spec *plan.Pipeline, stage, partition int, p *plugin) (pipeline.Processor, error) {
	l, t := p.hold()
	defer l.release()
	return e.instance(ctx, spec, stage, partition, l, t)
}

// instance takes the instance that was prepared for a place, or makes one, and
// puts it under the trial t when there is one. The caller holds l.
func (e *Engine) instance(ctx context.Context, spec *plan.Pipeline, stage, partition int, l *loaded, t *trial) (pipeline.Processor, error) {
	is := instanceSpec(spec, stage, partition)
	i := e.pool.take(placeOf(is, stage), l)
	if i == nil {
		var err error
		if i, err = l.instantiate(ctx, is); err != nil {
			return nil, err
		}
	}
	if t == nil {
		return i, nil
	}
	report := func(fault error, kind string) {
		name := stageNames(spec.Stages)[stage]
		e.deps.Listener.Fault(spec.Name, name, l.spec.Name, kind, fault)
		e.log.Warn("a new plugin generation failed on a batch that the one before it could process",
			"pipeline", spec.Name, "stage", name, "plugin", l.spec.Name, "digest", l.Digest(), "error", fault)
	}
	return &onTrial{instance: i, trial: t, spec: is, report: report}, nil
}

func (e *Engine) logState(name, state string, err error) {
	switch {
	case state == status.StateHalted:
		e.log.Error("pipeline halted; `wasmill pipelines resume` starts it again", "pipeline", name, "error", err)
	case state == status.StateQuarantined:
		e.log.Error("pipeline set aside; a changed plugin or `wasmill pipelines resume` starts it at once", "pipeline", name, "error", err)
	case state == status.StateBackoff:
		e.log.Warn("pipeline failed and will start again", "pipeline", name, "error", err)
	case err != nil:
		e.log.Warn("a pipeline changed its state", "pipeline", name, "state", state, "error", err)
	default:
		e.log.Info("a pipeline changed its state", "pipeline", name, "state", state)
	}
}
