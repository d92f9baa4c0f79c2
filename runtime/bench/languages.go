package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Module is a pass-through plugin that was built with a language's SDK, or why
// it could not be.
type Module struct {
	Language string
	Missing  string // why there is none
	Bytes    []byte
	First    time.Duration // to build it in a new directory
	Again    time.Duration // to build it after a change of its source
}

// Language is what a plugin in one language costs. Times and rates are medians
// over the rounds.
type Language struct {
	Name         string    `json:"language"`
	Missing      string    `json:"missing,omitempty"`
	Size         int       `json:"bytes,omitempty"`
	BuildFirst   float64   `json:"build_first_seconds,omitempty"`
	BuildAgain   float64   `json:"build_again_seconds,omitempty"`
	LoadCold     float64   `json:"load_cold_seconds,omitempty"`   // read, check, rewrite, compile
	LoadCached   float64   `json:"load_cached_seconds,omitempty"` // the same with the compiled module kept
	Memory       int64     `json:"instance_bytes,omitempty"`      // linear memory
	Resident     int64     `json:"instance_resident_bytes,omitempty"`
	EventsPerSec float64   `json:"events_per_second,omitempty"`
	CPUMicros    float64   `json:"cpu_us_per_event,omitempty"`
	Ratio        float64   `json:"ratio,omitempty"` // to the native loop, round by round
	Ratios       []float64 `json:"rounds_ratio,omitempty"`
}

// languages measures a pass-through plugin in each language beside the native
// loop, in turn.
func (r *Report) languages(ctx context.Context, o Options) (err error) {
	dir := filepath.Join(o.Dir, "languages")
	b, err := openBroker(ctx, dir, broker.DurabilityOS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	h := host.New(host.Options{CacheDir: filepath.Join(dir, "modules")})
	if err := h.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()

	var loaded []*host.Generation
	defer func() {
		for _, g := range loaded {
			err = errors.Join(err, g.Close(ctx))
		}
	}()
	all := []variant{{nativeLoop, ours(b, o.Events, false, func() (pipeline.Processor, error) { return nativeFunc(passNative), nil })}}
	for _, m := range o.Languages {
		l := Language{Name: m.Language, Missing: m.Missing}
		if m.Missing == "" {
			_, _ = fmt.Fprintf(o.Progress, "loading the plugin in %s\n", m.Language)
			g, err := l.load(ctx, o, h, m)
			if err != nil {
				return fmt.Errorf("plugin in %s: %w", m.Language, err)
			}
			loaded = append(loaded, g)
			all = append(all, variant{m.Language, ours(b, o.Events, false, func() (pipeline.Processor, error) { return g.NewInstance(ctx, inBench) })})
		}
		r.Languages = append(r.Languages, l)
	}
	_, _ = fmt.Fprintf(o.Progress, "filling a topic with %d events\n", o.Events)
	if err := fill(ctx, b, o.Events); err != nil {
		return err
	}
	measured, err := rounds(ctx, o, b, all)
	if err != nil {
		return err
	}
	native := measured[0]
	for _, v := range measured[1:] {
		for i := range r.Languages {
			l := &r.Languages[i]
			if l.Name != v.Name {
				continue
			}
			for round, rate := range v.Rounds {
				l.Ratios = append(l.Ratios, rate/native.Rounds[round])
			}
			l.EventsPerSec, l.CPUMicros, l.Ratio = v.EventsPerSec, v.CPUMicros, median(l.Ratios)
		}
	}
	return nil
}

var inBench = host.InstanceSpec{Pipeline: "bench", Outputs: []string{"default"}}

// instances is how many are made to see what one takes.
const instances = 64

// load measures what comes before the first event, and returns the plugin as h
// has loaded it.
func (l *Language) load(ctx context.Context, o Options, h *host.Host, m Module) (g *host.Generation, err error) {
	l.Size, l.BuildFirst, l.BuildAgain = len(m.Bytes), m.First.Seconds(), m.Again.Seconds()
	spec := host.Spec{
		Name: "pass", Module: m.Bytes,
		Limits: host.Limits{Memory: 64 << 20, Deadline: time.Second, MaxOutputBytes: 8 << 20, MaxOutputs: 64},
	}
	var cold, cached []float64
	for round := range o.Rounds {
		cache := filepath.Join(o.Dir, fmt.Sprintf("load-%s-%d", l.Name, round))
		for _, times := range []*[]float64{&cold, &cached} {
			took, err := timeLoad(ctx, cache, spec)
			if err != nil {
				return nil, err
			}
			*times = append(*times, took.Seconds())
		}
	}
	l.LoadCold, l.LoadCached = median(cold), median(cached)

	if g, err = h.Load(ctx, spec); err != nil {
		return nil, err
	}
	if err := l.measureInstances(ctx, g); err != nil {
		return nil, errors.Join(err, g.Close(ctx))
	}
	return g, nil
}

func timeLoad(ctx context.Context, cache string, spec host.Spec) (took time.Duration, err error) {
	h := host.New(host.Options{CacheDir: cache})
	if err := h.Open(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	start := time.Now()
	g, err := h.Load(ctx, spec)
	if err != nil {
		return 0, err
	}
	took = time.Since(start)
	return took, g.Close(ctx)
}

// measureInstances sees what an instance takes that has run a batch: its linear
// memory, and what of it the process really holds.
func (l *Language) measureInstances(ctx context.Context, g *host.Generation) error {
	events := make([]abi.Event, 512)
	for i := range events {
		events[i] = abi.Event{Seq: uint64(i + 1), Attempt: 1, Subject: []byte("in.a"), Payload: payload(i)}
	}
	all := make([]*host.Instance, 0, instances)
	defer func() {
		for _, i := range all {
			i.Discard()
		}
	}()
	var res abi.Result
	runtime.GC()
	before := resident(os.Getpid())
	for range instances {
		i, err := g.NewInstance(ctx, inBench)
		if err != nil {
			return err
		}
		all = append(all, i)
		if err := i.Process(ctx, abi.BatchHeader{ID: 1}, events, &res); err != nil {
			return err
		}
	}
	l.Memory = all[0].Memory()
	runtime.GC()
	if after := resident(os.Getpid()); after > before {
		l.Resident = (after - before) / instances
	}
	return nil
}

func printLanguages(p *printer, languages []Language) {
	p.line("")
	p.line("%-15s %8s %15s %15s %13s %10s %9s %6s", "pass-through in", "module", "build, again", "load, cached", "memory (RSS)", "events/s", "CPU µs", "ratio")
	for _, l := range languages {
		if l.Missing != "" {
			continue
		}
		p.line("%-15s %7.1fK %7.2f %6.2fs %7.1f %5.1fms %6.2f %5.2fM %10.0f %9.2f %6.2f", l.Name, float64(l.Size)/1024,
			l.BuildFirst, l.BuildAgain, l.LoadCold*1000, l.LoadCached*1000, float64(l.Memory)/(1<<20), float64(l.Resident)/(1<<20), l.EventsPerSec, l.CPUMicros, l.Ratio)
	}
	for _, l := range languages {
		if l.Missing != "" {
			p.line("left out: %s: %s", l.Name, l.Missing)
		}
	}
}
