package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Names of the throughput variants.
const (
	baselineLoop = "NATS clients, best loop"
	nativeLoop   = "native loop"
	passPlugin   = "pass-through plugin (Go)"
	nativeFilter = "native JSON filter"
	filterPlugin = "JSON filter plugin (Go)"
	atomicLoop   = "NATS clients, atomic batches"
	exactPlugin  = "pass-through, exactly once"
)

var wanted = []Ratio{
	{Name: "native loop / best loop with the NATS clients", Of: nativeLoop, To: baselineLoop, Goal: 0.9},
	{Name: "pass-through plugin / native loop", Of: passPlugin, To: nativeLoop, Goal: 0.9},
	{Name: "JSON filter plugin / native JSON filter", Of: filterPlugin, To: nativeFilter, Goal: 0.5},
	{Name: "pass-through plugin exactly once / atomic batches of 500", Of: exactPlugin, To: atomicLoop, Goal: 0.85},
}

// loop runs one variant over the topic "in" until every event is acknowledged.
type loop func(ctx context.Context, id string) error

type variant struct {
	name string
	loop loop
}

func (r *Report) throughput(ctx context.Context, o Options) (err error) {
	b, err := openBroker(ctx, filepath.Join(o.Dir, "throughput"), broker.DurabilityOS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	h := host.New(host.Options{CacheDir: filepath.Join(o.Dir, "modules")})
	if err := h.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()

	variants, closeAll, err := variants(ctx, o, b, h)
	defer func() { err = errors.Join(err, closeAll(ctx)) }()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(o.Progress, "filling a topic with %d events\n", o.Events)
	if err := fill(ctx, b, o.Events); err != nil {
		return err
	}
	if r.Throughput, err = rounds(ctx, o, b, variants); err != nil {
		return err
	}
	r.ratios()
	return nil
}

// rounds runs the loops in turn, so that whatever else the machine does meets
// all of them.
func rounds(ctx context.Context, o Options, b *broker.Broker, variants []variant) ([]Variant, error) {
	all := make([]Variant, len(variants))
	for round := range o.Rounds {
		for i, each := range variants {
			v := &all[i]
			v.Name = each.name
			_, _ = fmt.Fprintf(o.Progress, "round %d of %d: %s\n", round+1, o.Rounds, v.Name)
			cpu, start := cpuTime(), time.Now()
			if err := each.loop(ctx, fmt.Sprintf("bench-%d-%d", i, round)); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Name, err)
			}
			wall := time.Since(start)
			v.rates = append(v.rates, float64(o.Events)/wall.Seconds())
			v.cpus = append(v.cpus, float64((cpuTime()-cpu).Microseconds())/float64(o.Events))
			if _, err := b.Purge(ctx, "out", ""); err != nil {
				return nil, err
			}
		}
	}
	for i := range all {
		v := &all[i]
		v.EventsPerSec, v.CPUMicros, v.Rounds = median(v.rates), median(v.cpus), v.rates
	}
	return all, nil
}

// openBroker opens an embedded server with the topics of every loop.
func openBroker(ctx context.Context, dir, durability string) (*broker.Broker, error) {
	b := broker.New(broker.Config{StoreDir: dir, Listen: "127.0.0.1:0", Durability: durability, MaxStore: 16 << 30}, broker.Options{})
	if err := b.Open(ctx); err != nil {
		return nil, fmt.Errorf("open the benchmark's broker: %w", err)
	}
	for _, t := range []broker.TopicConfig{
		{Name: "in", Subjects: []string{"in.>"}},
		{Name: "out", Subjects: []string{"out.>"}},
		{Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}},
	} {
		if err := b.EnsureTopic(ctx, t); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

func (r *Report) ratios() {
	find := func(name string) *Variant {
		i := slices.IndexFunc(r.Throughput, func(v Variant) bool { return v.Name == name })
		if i < 0 {
			return nil
		}
		return &r.Throughput[i]
	}
	for _, q := range wanted {
		of, to := find(q.Of), find(q.To)
		if of == nil || to == nil {
			continue
		}
		for i := range of.rates {
			q.Rounds = append(q.Rounds, of.rates[i]/to.rates[i])
		}
		q.Median = median(q.Rounds)
		r.Ratios = append(r.Ratios, q)
	}
}

// variants makes the loops that o wants.
func variants(ctx context.Context, o Options, b *broker.Broker, h *host.Host) ([]variant, func(context.Context) error, error) {
	var generations []*host.Generation
	closeAll := func(ctx context.Context) error {
		var errs []error
		for _, g := range generations {
			errs = append(errs, g.Close(ctx))
		}
		return errors.Join(errs...)
	}
	plugin := func(name string, config string) (func() (pipeline.Processor, error), error) {
		read, ok := o.Modules[name]
		if !ok {
			return nil, fmt.Errorf("module %q is not in this binary", name)
		}
		module, err := read()
		if err != nil {
			return nil, err
		}
		g, err := h.Load(ctx, host.Spec{
			Name: name, Module: module, Config: json.RawMessage(config),
			Limits: host.Limits{Memory: 64 << 20, Deadline: time.Second, MaxOutputBytes: 8 << 20, MaxOutputs: 64},
		})
		if err != nil {
			return nil, err
		}
		generations = append(generations, g)
		return func() (pipeline.Processor, error) {
			return g.NewInstance(ctx, inBench)
		}, nil
	}
	pass, err := plugin("pass", `{}`)
	if err != nil {
		return nil, closeAll, err
	}
	filter, err := plugin("threshold", fmt.Sprintf(`{"pointer":"/mag","min":%g}`, threshold))
	if err != nil {
		return nil, closeAll, err
	}
	native := func(f nativeFunc) func() (pipeline.Processor, error) {
		return func() (pipeline.Processor, error) { return f, nil }
	}
	all := []variant{
		{baselineLoop, func(ctx context.Context, id string) error { return runBaseline(ctx, b, id, o.Events) }},
		{nativeLoop, ours(b, o.Events, false, native(passNative))},
		{passPlugin, ours(b, o.Events, false, pass)},
		{nativeFilter, ours(b, o.Events, false, native(filterNative))},
		{filterPlugin, ours(b, o.Events, false, filter)},
		{atomicLoop, func(ctx context.Context, id string) error { return runAtomic(ctx, b, id, o.Events) }},
		{exactPlugin, ours(b, o.Events, true, pass)},
	}
	if len(o.Only) > 0 {
		all = slices.DeleteFunc(all, func(v variant) bool { return !slices.Contains(o.Only, v.name) })
	}
	return all, closeAll, nil
}

// nativeFunc is a Go function in the place of a plugin.
type nativeFunc func(events []abi.Event, res *abi.Result)

func (f nativeFunc) Process(_ context.Context, _ abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	res.Reset()
	f(events, res)
	return nil
}

func (nativeFunc) Close(context.Context, *abi.Result) error { return nil }
func (nativeFunc) Discard()                                 {}

func passNative(events []abi.Event, res *abi.Result) {
	for i := range events {
		res.Outputs = append(res.Outputs, abi.Output{Source: uint32(i), Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders})
	}
}

func filterNative(events []abi.Event, res *abi.Result) {
	for i := range events {
		v, ok := jsonptr.Find(events[i].Payload, "/mag")
		if !ok {
			continue
		}
		if mag, ok := v.Float(); ok && mag >= threshold {
			res.Outputs = append(res.Outputs, abi.Output{Source: uint32(i), Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders})
		}
	}
}

// ours is the product's pipeline from topic "in" to topic "out".
func ours(b *broker.Broker, events int, exactly bool, processor func() (pipeline.Processor, error)) loop {
	return func(ctx context.Context, id string) (err error) {
		room := event.Room{Events: 4096, Bytes: 16 << 20}
		src, sink, err := openData(ctx, b, id, exactly, room)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, src.Close()) }()
		subject, err := event.ParseTemplate("out.{subject.2}")
		if err != nil {
			return err
		}
		run, stop := context.WithCancel(ctx)
		defer stop()
		var done atomic.Int64
		p, err := pipeline.New(pipeline.Config{
			Name: id, Topic: "in",
			Stages:      []pipeline.Stage{{Name: "bench", Plugin: "bench"}},
			Outputs:     []pipeline.Output{{Name: "default", Topic: "out", Subject: subject, Subjects: []string{"out.>"}}},
			DeadLetters: "dead-letters",
			Partitions:  1,
			Batch:       pipeline.Batch{MaxEvents: 512, MaxBytes: 1 << 20, MaxWait: 2 * time.Millisecond},
			Retry:       pipeline.Retry{Attempts: 1},
			OnFailure:   "halt",
			Room:        room,
		}, pipeline.Deps{
			Source:    src,
			Sink:      sink,
			Processor: func(int, int) (pipeline.Processor, error) { return processor() },
			Shares:    []*pipeline.Share{pipeline.NewBudget(room.Events, int64(room.Bytes), 0).Share("bench")},
			Listener: event.Listener{Done: func(_ string, n, _ int, _ time.Duration, _ event.TraceID) {
				if done.Add(int64(n)) >= int64(events) {
					stop()
				}
			}},
		})
		if err != nil {
			return err
		}
		if err := p.Run(run); err != nil {
			return err
		}
		if got := done.Load(); got != int64(events) {
			return fmt.Errorf("finished %d of %d events", got, events)
		}
		return ctx.Err()
	}
}

// openData opens the source and the sinks of a pipeline, as the engine does.
func openData(ctx context.Context, b *broker.Broker, id string, exactly bool, room event.Room) (pipeline.Source, func(int, func()) (pipeline.Sink, error), error) {
	from := broker.SourceConfig{Pipeline: id, Topic: "in", Start: "all", Prefetch: room}
	topics := []string{"out", "dead-letters"}
	if !exactly {
		src, err := b.OpenSource(ctx, from)
		return src, func(partition int, confirmed func()) (pipeline.Sink, error) {
			return b.OpenSink(ctx, broker.SinkConfig{Pipeline: id, Partition: partition, Topics: topics, Window: room}, confirmed)
		}, err
	}
	src, err := b.OpenExact(ctx, from, broker.ExactConfig{Pipeline: id, Topic: "in", Partitions: 1, Outputs: topics, Home: "out", Window: room})
	return src, func(partition int, confirmed func()) (pipeline.Sink, error) {
		return src.OpenSink(partition, confirmed)
	}, err
}

// fill publishes the events that every variant reads.
func fill(ctx context.Context, b *broker.Broker, events int) (err error) {
	pub, err := b.NewPublisher(ctx, "in")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pub.Close(ctx)) }()
	for i := range events {
		if _, err := pub.Add(ctx, &event.Output{Subject: "in.a", Payload: payload(i)}); err != nil {
			return fmt.Errorf("fill the topic: %w", err)
		}
	}
	return pub.Flush(ctx)
}
