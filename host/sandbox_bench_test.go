package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/sdk/abi"
)

// benchModes are ways to run a guest: as wazero does by itself, as the host does,
// and with what wazero has to end a call.
var benchModes = [...]string{"plain", "rewritten", "closeOnDone"}

// BenchmarkSandbox prints what the sandbox costs: whole pipelines from topic to
// topic, and loops, in all modes in turn, and the medians of the quotients. Times
// of the processor say the same on a machine that is busy.
//
//	go test ./host -run - -bench Sandbox -benchtime 1x
func BenchmarkSandbox(b *testing.B) {
	const rounds, events = 5, 100_000
	w := newBenchWorld(b, events)
	var rows []*benchRow
	for _, p := range []struct{ name, module, config string }{
		{"pass-through pipeline", "pass", ""},
		{"JSON filter pipeline", "threshold", `{"pointer":"/mag","min":4.5}`},
	} {
		row := &benchRow{names: [2]string{p.name + ", events/s", "… processor µs an event"}, units: [2]string{"%.0f", "%.2f"}}
		for i, mode := range benchModes {
			inst := benchInstance(b, builtinModule(b, p.module), p.config, mode)
			row.measure[i] = func(round int) [2]float64 {
				wall, cpu := w.run(b, fmt.Sprintf("%s-%s-%d", p.module, strings.ToLower(mode), round), inst)
				return [2]float64{events / wall.Seconds(), float64(cpu.Microseconds()) / events}
			}
		}
		rows = append(rows, row)
	}
	for _, l := range benchLoops() {
		row := &benchRow{names: [2]string{1: l.name + ", ns an iteration"}, units: [2]string{1: "%.2f"}}
		for i, mode := range benchModes {
			g := benchGuest(b, l.module, "", mode)
			row.measure[i] = func(int) [2]float64 { return [2]float64{1: timeCalls(b, g, l.ops)} }
		}
		rows = append(rows, row)
	}
	for b.Loop() {
		for round := range rounds {
			for _, r := range rows {
				for i := range benchModes {
					r.got[i] = append(r.got[i], r.measure[i](round))
				}
			}
		}
	}
	out := os.Stdout // the table is what `make sandbox` prints
	fmt.Fprintf(out, "\n%-44s %12s %22s %24s\n", "medians", "plain wazero", "in the sandbox", "WithCloseOnContextDone")
	for _, r := range rows {
		r.print(out)
	}
}

// benchRow is one or two lines of the table, about what was measured together.
type benchRow struct {
	names, units [2]string // "" = nothing
	measure      [len(benchModes)]func(round int) [2]float64
	got          [len(benchModes)][][2]float64
}

// print shows each mode's median and, behind it, the median of its quotients to
// plain in the same round.
func (r *benchRow) print(out io.Writer) {
	for k, name := range r.names {
		if name == "" {
			continue
		}
		fmt.Fprintf(out, "%-44s", name)
		for i := range r.got {
			values, quotients := make([]float64, len(r.got[i])), make([]float64, len(r.got[i]))
			for n := range values {
				values[n], quotients[n] = r.got[i][n][k], r.got[i][n][k]/r.got[0][n][k]
			}
			text := fmt.Sprintf(r.units[k], medianOf(values))
			if i == 0 {
				fmt.Fprintf(out, " %12s", text)
			} else {
				fmt.Fprintf(out, " %12s  × %6.2f", text, medianOf(quotients))
			}
		}
		fmt.Fprintln(out)
	}
}

func medianOf(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// timeCalls returns how much of a processor one of ops steps of a guest takes, in
// ns.
func timeCalls(b *testing.B, g *guest, ops int) float64 {
	b.Helper()
	batch := events(1, 0)
	lim := abi.ResponseLimits{Events: 1, Outputs: 1, MaxBytes: 8 << 20, MaxPerEvent: 16}
	total := abi.BatchHeaderSize + abi.EventSize(&batch[0])
	begin, n := processTime(), 0
	for ; processTime()-begin < 100*time.Millisecond; n++ {
		if f := g.process(abi.BatchHeader{}, batch, total, lim, &abi.Result{}); f != nil {
			b.Fatal(f)
		}
	}
	return float64((processTime() - begin).Nanoseconds()) / float64(n*ops)
}

// benchInstance starts an instance as the host does, and puts another one of the
// module into it for the other modes.
func benchInstance(b *testing.B, binary []byte, config, mode string) *Instance {
	b.Helper()
	gen := load(b, Spec{Module: binary, Config: []byte(config)})
	i, err := gen.NewInstance(b.Context(), InstanceSpec{Pipeline: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(i.Discard)
	if mode != "rewritten" {
		replace(b, i.guest, binary, mode == "closeOnDone")
		if f := i.guest.open(i.doc); f != nil {
			b.Fatal(f)
		}
	}
	return i
}

// benchWorld is a broker with a topic full of events.
type benchWorld struct {
	*broker.Broker
	events int
}

func newBenchWorld(b *testing.B, events int) *benchWorld {
	b.Helper()
	w := &benchWorld{broker.New(broker.Config{StoreDir: b.TempDir(), Listen: "127.0.0.1:0", MaxStore: 16 << 30}, broker.Options{}), events}
	if err := w.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	})
	for _, t := range []broker.TopicConfig{
		{Name: "in", Subjects: []string{"in.>"}}, {Name: "out", Subjects: []string{"out.>"}}, {Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}},
	} {
		if err := w.EnsureTopic(b.Context(), t); err != nil {
			b.Fatal(err)
		}
	}
	pub, err := w.NewPublisher(b.Context(), "in")
	if err != nil {
		b.Fatal(err)
	}
	list := jsonEvents(256)
	for i := range events {
		if _, err := pub.Add(b.Context(), &event.Output{Subject: "in.a", Payload: bytes.Clone(list[i%len(list)].Payload)}); err != nil {
			b.Fatal(err)
		}
	}
	if err := pub.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := pub.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return w
}

// lent is an instance that outlives its pipeline.
type lent struct{ *Instance }

func (lent) Close(_ context.Context, res *abi.Result) error { res.Reset(); return nil }
func (lent) Discard()                                       {}

// run takes all events through a pipeline and returns how long it took, and how
// much of a processor.
func (w *benchWorld) run(b *testing.B, name string, inst *Instance) (wall, cpu time.Duration) {
	b.Helper()
	room := event.Room{Events: 4096, Bytes: 16 << 20}
	begin, used := time.Now(), processTime()
	src, err := w.OpenSource(b.Context(), broker.SourceConfig{Pipeline: name, Topic: "in", Start: "all", Prefetch: room})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var done atomic.Int64
	subject, err := event.ParseTemplate("out.{subject.2}")
	if err != nil {
		b.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config{
		Name: name, Topic: "in", DeadLetters: "dead-letters", Partitions: 1, OnFailure: "halt", Room: room,
		Stages:  []pipeline.Stage{{Name: "bench", Plugin: "bench"}},
		Outputs: []pipeline.Output{{Name: "default", Topic: "out", Subject: subject, Subjects: []string{"out.>"}}},
		Batch:   pipeline.Batch{MaxEvents: 512, MaxBytes: 1 << 20, MaxWait: 2 * time.Millisecond},
		Retry:   pipeline.Retry{Attempts: 1},
	}, pipeline.Deps{
		Source: src,
		Sink: func(partition int, confirmed func()) (pipeline.Sink, error) {
			return w.OpenSink(b.Context(), broker.SinkConfig{Pipeline: name, Partition: partition, Topics: []string{"out", "dead-letters"}, Window: room}, confirmed)
		},
		Processor: func(int, int) (pipeline.Processor, error) { return lent{inst}, nil },
		Shares:    []*pipeline.Share{pipeline.NewBudget(room.Events, int64(room.Bytes), 0).Share("bench")},
		Listener: event.Listener{Done: func(_ string, n, _ int, _ time.Duration, _ event.TraceID) {
			if done.Add(int64(n)) >= int64(w.events) {
				stop()
			}
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
	wall, cpu = time.Since(begin), processTime()-used
	if err := src.Close(); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Purge(b.Context(), "out", ""); err != nil {
		b.Fatal(err)
	}
	return wall, cpu
}
