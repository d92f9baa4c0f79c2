//go:build unix

package trace

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
)

const benchTOML = `
[server]
listen = ""
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[plugins.pass]
builtin = "pass"
[pipelines.p]
from = "in"
stages = ["pass", "pass"]
to = "out"
subject = "out.{subject.2}"
`

// BenchmarkTraces is what traces cost a real pipeline of two stages that reads a
// full topic: without, of 1 % of the events, and of all, in turns, the best of
// each. The goal is at most 5 % for 1 %.
func BenchmarkTraces(b *testing.B) {
	const events, rounds = 50_000, 6
	rcv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer rcv.Close()
	names := []string{"off", "1%", "100%"}
	mills := []*mill{newMill(b, rcv.URL, 0, events), newMill(b, rcv.URL, 0.01, events), newMill(b, rcv.URL, 1, events)}
	for b.Loop() {
		var rate, cost [3]float64
		for round := range rounds {
			for turn := range mills {
				i := (round + turn) % len(mills) // none is always the first
				m := mills[i]
				begin, cpu := time.Now(), processorTime(b)
				m.again(events)
				rate[i] = max(rate[i], events/time.Since(begin).Seconds())
				if c := (processorTime(b) - cpu).Seconds() / events * 1e6; cost[i] == 0 || c < cost[i] {
					cost[i] = c
				}
			}
		}
		for i, name := range names {
			b.ReportMetric(rate[i], name+"-events/s")
			b.ReportMetric(cost[i], name+"-cpu-µs/event")
		}
	}
}

// mill is an engine with one pipeline, on a broker of its own.
type mill struct {
	b    *testing.B
	e    *engine.Engine
	done atomic.Int64
}

// newMill has processed that many events when it returns.
func newMill(b *testing.B, endpoint string, ratio float64, events int) *mill {
	b.Helper()
	m := &mill{b: b}
	dir := b.TempDir()
	file := filepath.Join(dir, "wasmill.toml")
	cfg, findings := config.Parse(file, []byte(benchTOML), "pass")
	if err := findings.Err(); err != nil {
		b.Fatal(err)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		b.Fatal(err)
	}
	br := broker.New(broker.Config{StoreDir: filepath.Join(dir, "data")}, broker.Options{})
	h := host.New(host.Options{CacheDir: filepath.Join(dir, "cache")})
	deps := engine.Deps{Broker: br, Host: h, Builtins: builtin.Modules(), Listener: event.Listener{
		Done: func(_ string, n, _ int, _ time.Duration, _ event.TraceID) { m.done.Add(int64(n)) },
	}}
	if err := errors.Join(br.Open(b.Context()), h.Open(b.Context())); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = h.Close(context.Background()), br.Close() })
	if ratio > 0 {
		t, err := New(Options{Endpoint: endpoint, Ratio: ratio, Service: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Open(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(t.Close)
		deps.Tracer = t
	}
	m.e = engine.New(deps)
	if err := m.e.Open(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.e.Close(context.Background()) })
	pub, err := br.NewPublisher(b.Context(), "in")
	if err != nil {
		b.Fatal(err)
	}
	out := event.Output{Subject: "in.a", Payload: []byte(strings.Repeat("x", 256))}
	for range events {
		if _, err := pub.Add(b.Context(), &out); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(pub.Flush(b.Context()), pub.Close(b.Context())); err != nil {
		b.Fatal(err)
	}
	m.wait(events)
	return m
}

// again has the pipeline process everything once more.
func (m *mill) again(events int) {
	m.done.Store(0)
	if _, err := m.e.Reset(m.b.Context(), "p", "all"); err != nil {
		m.b.Fatal(err)
	}
	m.wait(events)
}

func (m *mill) wait(events int) {
	for end := time.Now().Add(2 * time.Minute); m.done.Load() < int64(events); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			m.b.Fatalf("%d of %d events after two minutes", m.done.Load(), events)
		}
	}
}

// processorTime is that of this process.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
