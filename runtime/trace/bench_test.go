package trace

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
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
// full topic: without, of 1 % of the events, and of all. The goal is at most 5 % for 1 %.
func BenchmarkTraces(b *testing.B) {
	const events = 50_000
	dir := b.TempDir()
	rcv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer rcv.Close()
	file := filepath.Join(dir, "wasmill.toml")
	cfg, findings := config.Parse(file, []byte(benchTOML), "pass")
	if err := findings.Err(); err != nil {
		b.Fatal(err)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		b.Fatal(err)
	}
	h := host.New(host.Options{CacheDir: filepath.Join(dir, "cache")})
	if err := h.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Close(b.Context()) }()
	for _, ratio := range []float64{0, 0.01, 1} {
		name := fmt.Sprintf("%g%%", 100*ratio)
		if ratio == 0 {
			name = "off"
		}
		b.Run(name, func(b *testing.B) {
			br := broker.New(broker.Config{StoreDir: filepath.Join(b.TempDir(), "data")}, broker.Options{})
			if err := br.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = br.Close() }()
			var done, sent atomic.Int64
			listener := event.Listener{
				Done:   func(_ string, n, _ int, _ time.Duration, _ event.TraceID) { done.Add(int64(n)) },
				Traced: func(_ string, n int) { sent.Add(int64(n)) },
			}
			deps := engine.Deps{Broker: br, Host: h, Builtins: builtin.Modules(), Listener: listener}
			if ratio > 0 {
				tr, err := New(Options{Endpoint: rcv.URL, Ratio: ratio, Service: "bench", Listener: listener})
				if err != nil {
					b.Fatal(err)
				}
				if err := tr.Open(b.Context()); err != nil {
					b.Fatal(err)
				}
				defer tr.Close()
				deps.Tracer = tr
			}
			e := engine.New(deps)
			if err := e.Open(b.Context(), p); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = e.Close(b.Context()) }()
			wait := func(n int64) {
				for end := time.Now().Add(2 * time.Minute); done.Load() < n; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						b.Fatalf("%d of %d events after two minutes", done.Load(), n)
					}
				}
			}
			pub, err := br.NewPublisher(b.Context(), "in")
			if err != nil {
				b.Fatal(err)
			}
			m := event.Output{Subject: "in.a", Payload: []byte(strings.Repeat("x", 256))}
			for range events {
				if _, err := pub.Add(b.Context(), &m); err != nil {
					b.Fatal(err)
				}
			}
			if err := pub.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			_ = pub.Close(b.Context())
			wait(events)
			n := 0
			for b.Loop() {
				done.Store(0)
				if _, err := e.Reset(b.Context(), "p", "all"); err != nil {
					b.Fatal(err)
				}
				wait(events)
				n++
			}
			b.ReportMetric(float64(n*events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(sent.Load())/float64(n+1), "traces/op")
		})
	}
}
