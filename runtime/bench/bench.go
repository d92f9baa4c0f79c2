// Package bench measures Wasmill on this machine and prints ratios against
// named baselines of the same run, which is what stays comparable from machine
// to machine. Three parts:
//
//   - throughput, in this process: events of a prefilled topic go through a
//     pipeline as fast as they can. The native loop is the product's own
//     pipeline with a Go function where the plugin would be; the baseline is the
//     best loop one writes with the public NATS clients. Then what each value of
//     server.durability costs.
//   - languages, in this process: a pass-through plugin in each language beside
//     the native loop, and what it takes to build, load and hold it.
//   - the product, as a child process: time to ready, resident memory, latency
//     at two rates, the gap in the outputs while a plugin is reloaded, the
//     recovery from a kill -9, and the latency of exactly once.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"
)

// Options say what to measure. The zero value is the documented default.
type Options struct {
	Events     int      // events in a throughput round; default 300,000
	Rounds     int      // rounds, variants in turn; default 3; medians are reported
	Seconds    int      // length of each latency and reload measurement; default 5
	Backlog    int      // events of the backlog measurement; default 2,000,000
	Throughput bool     // only the throughput part
	Only       []string // only these throughput variants; empty = all
	Languages  []Module // pass-through plugins in all languages; empty leaves that part out
	Alone      bool     // only the part of the languages
	Executable string   // the wasmill binary for the product part; "" leaves that part out
	JSON       bool     // print one JSON document instead of text
	Dir        string   // where stores are made; default a temporary directory, removed at the end
	Out        io.Writer
	Progress   io.Writer                         // one line per step; nil = none
	Modules    map[string]func() ([]byte, error) // what reads a ready-made plugin
}

func (o Options) withDefaults() Options {
	if o.Events <= 0 {
		o.Events = 300_000
	}
	if o.Rounds <= 0 {
		o.Rounds = 3
	}
	if o.Seconds <= 0 {
		o.Seconds = 5
	}
	if o.Backlog <= 0 {
		o.Backlog = 2_000_000
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// Report is what Run measured.
type Report struct {
	Machine    Machine      `json:"machine"`
	Throughput []Variant    `json:"throughput,omitempty"`
	Ratios     []Ratio      `json:"ratios,omitempty"`
	Durability []Durability `json:"durability,omitempty"`
	Languages  []Language   `json:"languages,omitempty"`
	Product    *Product     `json:"product,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPUs int    `json:"cpus"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	Go   string `json:"go"`
}

// Variant is one throughput loop; figures are medians over the rounds.
type Variant struct {
	Name         string    `json:"name"`
	EventsPerSec float64   `json:"events_per_second"`
	CPUMicros    float64   `json:"cpu_us_per_event"` // of the whole process: server, pipeline and guest
	Rounds       []float64 `json:"rounds_events_per_second"`
	rates        []float64
	cpus         []float64
}

// Ratio compares two variants round by round; Median is of those quotients.
type Ratio struct {
	Name   string    `json:"name"`
	Of     string    `json:"of"`
	To     string    `json:"to"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
	Goal   float64   `json:"goal"`
}

// Run measures and prints. It takes a minute or two with the defaults.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "wasmill-bench-")
		if err != nil {
			return nil, fmt.Errorf("make a directory for the benchmark: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Dir = dir
	}
	r := &Report{Machine: Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}}
	if !o.Alone {
		if err := r.throughput(ctx, o); err != nil {
			return nil, err
		}
		if len(o.Only) == 0 {
			if err := r.durability(ctx, o); err != nil {
				return nil, err
			}
		}
	}
	if len(o.Languages) > 0 {
		if err := r.languages(ctx, o); err != nil {
			return nil, err
		}
	}
	if !o.Throughput && !o.Alone && o.Executable != "" {
		product, err := measureProduct(ctx, o)
		if err != nil {
			return nil, err
		}
		r.Product = product
	}
	if o.JSON {
		enc := json.NewEncoder(o.Out)
		enc.SetIndent("", "  ")
		err := enc.Encode(r)
		return r, err
	}
	err := r.print(o.Out)
	return r, err
}

func (r *Report) print(w io.Writer) error {
	p := printer{w: w}
	p.line("%d CPUs, %s/%s, %s; 256-byte events, file storage, embedded server", r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go)
	if len(r.Throughput) > 0 {
		p.line("")
		p.line("%-34s %12s %14s", "throughput (median)", "events/s", "CPU µs/event")
		for _, v := range r.Throughput {
			p.line("%-34s %12.0f %14.2f", v.Name, v.EventsPerSec, v.CPUMicros)
		}
		p.line("")
		for _, q := range r.Ratios {
			p.line("%-58s %5.2f   (goal %.2f)", q.Name, q.Median, q.Goal)
		}
	}
	if len(r.Durability) > 0 {
		p.line("")
		p.line("%-34s %12s %14s", "server.durability, native loop", "events/s", "CPU µs/event")
		for _, d := range r.Durability {
			p.line("%-34s %12.0f %14.2f", d.Mode, d.EventsPerSec, d.CPUMicros)
		}
	}
	if len(r.Languages) > 0 {
		printLanguages(&p, r.Languages)
	}
	if r.Product != nil {
		r.Product.print(&p)
	}
	return p.err
}

// printer keeps the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// percentile of sorted durations.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
