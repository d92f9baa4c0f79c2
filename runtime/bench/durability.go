package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/pipeline"
)

// Durability is what one value of server.durability costs: the native loop from
// topic to topic, on a store of its own. Figures are medians over the rounds.
type Durability struct {
	Mode         string  `json:"durability"`
	EventsPerSec float64 `json:"events_per_second"`
	CPUMicros    float64 `json:"cpu_us_per_event"`
}

// fsyncShare is how much smaller the round is in which every write is synced:
// it would take minutes otherwise.
const fsyncShare = 50

// durability measures all three, in turn.
func (r *Report) durability(ctx context.Context, o Options) error {
	for _, mode := range []string{broker.DurabilityOS, broker.DurabilityFsync, broker.DurabilityAsync} {
		events := o.Events
		if mode == broker.DurabilityFsync {
			events = max(events/fsyncShare, 100)
		}
		_, _ = fmt.Fprintf(o.Progress, "durability %s: %d events, %d times\n", mode, events, o.Rounds)
		d, err := measureDurability(ctx, o, mode, events)
		if err != nil {
			return fmt.Errorf("durability %s: %w", mode, err)
		}
		r.Durability = append(r.Durability, d)
	}
	return nil
}

func measureDurability(ctx context.Context, o Options, mode string, events int) (d Durability, err error) {
	b, err := openBroker(ctx, filepath.Join(o.Dir, "durability-"+mode), mode)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := fill(ctx, b, events); err != nil {
		return d, err
	}
	var rates, cpus []float64
	run := ours(b, events, false, func() (pipeline.Processor, error) { return nativeFunc(passNative), nil })
	for round := range o.Rounds {
		cpu, start := cpuTime(), time.Now()
		if err := run(ctx, fmt.Sprintf("bench-%d", round)); err != nil {
			return d, err
		}
		rates = append(rates, float64(events)/time.Since(start).Seconds())
		cpus = append(cpus, float64((cpuTime()-cpu).Microseconds())/float64(events))
		if _, err := b.Purge(ctx, "out", ""); err != nil {
			return d, err
		}
	}
	return Durability{Mode: mode, EventsPerSec: median(rates), CPUMicros: median(cpus)}, nil
}
