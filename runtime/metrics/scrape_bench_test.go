package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/metrics"
	"github.com/wasmill/wasmill/runtime/plan"
)

// BenchmarkScrape is one scrape of a real instance with a hundred pipelines,
// each of which has processed something; the goal is at most 5 ms.
func BenchmarkScrape(b *testing.B) {
	const pipelines = 100
	dir := b.TempDir()
	text := strings.Builder{}
	text.WriteString("[server]\nlisten = \"\"\n[topics.out]\nsubjects = [\"out.>\"]\n[plugins.pass]\nbuiltin = \"pass\"\n")
	for i := range pipelines {
		fmt.Fprintf(&text, "[topics.in%d]\nsubjects = [\"in%d.>\"]\n[pipelines.p%d]\nfrom = \"in%d\"\nstages = [\"pass\"]\nto = \"out\"\nsubject = \"out.%d\"\n", i, i, i, i, i)
	}
	file := filepath.Join(dir, "wasmill.toml")
	cfg, findings := config.Parse(file, []byte(text.String()), "pass")
	if err := findings.Err(); err != nil {
		b.Fatal(err)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		b.Fatal(err)
	}
	br := broker.New(broker.Config{StoreDir: filepath.Join(dir, "data")}, broker.Options{})
	if err := br.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = br.Close() }()
	h := host.New(host.Options{CacheDir: filepath.Join(dir, "cache")})
	if err := h.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Close(b.Context()) }()
	m := metrics.New()
	e := engine.New(engine.Deps{Broker: br, Host: h, Builtins: builtin.Modules(), Listener: m.Listener()})
	if err := e.Open(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close(b.Context()) }()
	m.SetStatus(e.Status)
	for i := range pipelines {
		if _, err := br.Publish(b.Context(), fmt.Sprintf("in%d", i), event.Output{Subject: fmt.Sprintf("in%d.a", i), Payload: []byte("x")}); err != nil {
			b.Fatal(err)
		}
	}
	scrape := func() string {
		w := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
		req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5") // as Prometheus asks
		req.Header.Set("Accept-Encoding", "gzip")
		m.Handler().ServeHTTP(w, req)
		return w.Body.String()
	}
	for end := time.Now().Add(time.Minute); strings.Count(scrape(), "wasmill_events_done_total{") < pipelines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("not every pipeline has done its event within a minute")
		}
	}
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		size = len(scrape())
	}
	b.ReportMetric(float64(size), "B/scrape")
}
