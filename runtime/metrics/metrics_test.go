package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/metrics"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drive reports one of everything.
func drive(l event.Listener) {
	l.Fetched("alerts", 512, 131072, 9)
	l.Called("alerts", "strong", "strong", 512, 3*time.Millisecond, nil, event.TraceID{})
	l.Stage("alerts", "strong", "strong", event.Counts{In: 512, Out: 500, Dropped: 9, Retried: 2, DeadLettered: 1})
	l.Published("alerts", "alerts-out", 500, 64000)
	l.Done("alerts", 510, 130000, 4*time.Millisecond, event.TraceID{})
	l.Blocked("alerts", event.ReasonRate, 1500*time.Millisecond)
	l.Fault("alerts", "strong", "strong", abi.FaultTrap, errors.New("unreachable"))
	l.DeadLettered("alerts", "strong", "strong", 7, abi.FaultTrap, "unreachable")
	l.PipelineState("alerts", status.StateRunning, nil)
	l.Reload("plugin", "strong", "abc", "ok", nil)
	l.Reload("config", "wasmill.toml", "", "failed", errors.New("no"))
	l.Log("alerts", "strong", 0, abi.LevelInfo, "hello")
	l.InFlight("alerts", 3, 300)
}

func sample() status.Status {
	return status.Status{
		Version: "v1.2.3", Ready: true,
		Server:    status.Server{StoreBytes: 77},
		Topics:    []status.Topic{{Name: "quakes", Messages: 5, Bytes: 50}},
		Plugins:   []status.Plugin{{Name: "strong", Generation: status.Generation{Number: 2, Digest: "abc", Compile: 0.4, Memory: 1 << 20}}},
		Pipelines: []status.Pipeline{{Name: "alerts", State: status.StateRunning, Lag: 9, InFlight: 3, InFlightBytes: 300, Partitions: 2}},
	}
}

func exposition(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	srv := httptest.NewServer(m.Handler())
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	return string(body)
}

func TestExposition(t *testing.T) {
	m := metrics.New()
	m.SetStatus(func(context.Context) status.Status { return sample() })
	drive(m.Listener().WithDefaults())
	got := exposition(t, m)
	stage := `{pipeline="alerts",plugin="strong",stage="strong"}`
	for _, want := range []string{
		`wasmill_events_fetched_total{pipeline="alerts"} 512`,
		`wasmill_fetched_bytes_total{pipeline="alerts"} 131072`,
		`wasmill_events_done_total{pipeline="alerts"} 510`,
		`wasmill_events_published_total{pipeline="alerts",topic="alerts-out"} 500`,
		`wasmill_published_bytes_total{pipeline="alerts",topic="alerts-out"} 64000`,
		"wasmill_events_in_total" + stage + " 512",
		"wasmill_events_out_total" + stage + " 500",
		"wasmill_events_dropped_total" + stage + " 9",
		"wasmill_events_retried_total" + stage + " 2",
		"wasmill_events_dead_lettered_total" + stage + " 1",
		"wasmill_batch_events_sum" + stage + " 512",
		"wasmill_call_seconds_count" + stage + " 1",
		`wasmill_end_to_end_seconds_sum{pipeline="alerts"} 0.004`,
		`wasmill_backpressure_seconds_total{pipeline="alerts",reason="plugin_rate"} 1.5`,
		`wasmill_faults_total{fault="trap",pipeline="alerts",plugin="strong",stage="strong"} 1`,
		`wasmill_instance_memory_bytes{plugin="strong"} 1.048576e+06`,
		`wasmill_reloads_total{plugin="strong",result="ok"} 1`,
		`wasmill_reloads_total{plugin="",result="failed"} 1`,
		`wasmill_log_lines_total{plugin="strong"} 1`,
		`wasmill_lag_events{pipeline="alerts"} 9`,
		`wasmill_in_flight_events{pipeline="alerts"} 3`,
		`wasmill_in_flight_bytes{pipeline="alerts"} 300`,
		`wasmill_generation_info{digest="abc",plugin="strong"} 1`,
		`wasmill_topic_messages{topic="quakes"} 5`,
		`wasmill_build_info{version="v1.2.3"} 1`,
		"wasmill_ready 1",
		"go_goroutines ",
		"process_resident_memory_bytes ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the exposition", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestLint(t *testing.T) {
	m := metrics.New()
	m.SetStatus(func(context.Context) status.Status { return sample() })
	l := m.Listener().WithDefaults()
	drive(l)
	l.Metric("alerts", "strong", "quakes_seen", abi.MetricCounter, 1)
	l.Metric("alerts", "strong", "depth_meters", abi.MetricGauge, 1)
	l.Metric("alerts", "strong", "parse_seconds", abi.MetricHistogram, 0.1)
	families, err := m.Gather().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "wasmill_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") {
			t.Errorf("%s is outside the namespace", name)
		}
	}
}

func TestGuestMetrics(t *testing.T) {
	record := func(t *testing.T, values func(event.Listener)) string {
		t.Helper()
		m := metrics.New()
		values(m.Listener())
		return exposition(t, m)
	}
	has := func(t *testing.T, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("no %q in the exposition:\n%s", want, got)
		}
	}
	const refused = `wasmill_guest_metrics_refused_total{plugin="p"} `

	t.Run("a counter adds and ends in _total", func(t *testing.T) {
		got := record(t, func(l event.Listener) {
			l.Metric("a", "p", "Seen-Events", abi.MetricCounter, 2)
			l.Metric("a", "p", "Seen-Events", abi.MetricCounter, 3)
		})
		has(t, got, `wasmill_plugin_seen_events_total{pipeline="a",plugin="p"} 5`)
	})
	t.Run("a gauge takes the last value", func(t *testing.T) {
		got := record(t, func(l event.Listener) {
			l.Metric("a", "p", "depth", abi.MetricGauge, 2)
			l.Metric("a", "p", "depth", abi.MetricGauge, -3)
		})
		has(t, got, `wasmill_plugin_depth{pipeline="a",plugin="p"} -3`)
	})
	t.Run("a histogram observes", func(t *testing.T) {
		got := record(t, func(l event.Listener) { l.Metric("a", "p", "parse_seconds", abi.MetricHistogram, 0.5) })
		has(t, got, `wasmill_plugin_parse_seconds_sum{pipeline="a",plugin="p"} 0.5`)
	})
	t.Run("a name keeps its kind", func(t *testing.T) {
		got := record(t, func(l event.Listener) {
			l.Metric("a", "p", "depth", abi.MetricGauge, 2)
			l.Metric("a", "p", "depth", abi.MetricHistogram, 2)
		})
		has(t, got, refused+"1")
		has(t, got, `wasmill_plugin_depth{pipeline="a",plugin="p"} 2`)
	})
	t.Run("no plugin takes a name away from another", func(t *testing.T) {
		got := record(t, func(l event.Listener) {
			for _, name := range []string{"depth", "p_x__depth", "p_x_2__depth"} {
				l.Metric("a", "q", name, abi.MetricGauge, 2)
			}
			for i := range 60 { // all that q may define
				l.Metric("a", "q", fmt.Sprintf("n%d", i), abi.MetricGauge, 1)
			}
			for range 2 {
				l.Metric("a", "p-x", "depth", abi.MetricHistogram, 3)
			}
			for i := range 60 {
				l.Metric("a", "p-x", fmt.Sprintf("n%d", i), abi.MetricHistogram, 1)
			}
		})
		has(t, got, `wasmill_plugin_depth{pipeline="a",plugin="q"} 2`)
		has(t, got, `wasmill_plugin_p_x_3__depth_sum{pipeline="a",plugin="p-x"} 6`)
		has(t, got, `wasmill_plugin_p_x__n59_sum{pipeline="a",plugin="p-x"} 1`)
		if strings.Contains(got, "metrics_refused_total{") {
			t.Error("some were refused")
		}
	})
	t.Run("what would break the exposition is refused", func(t *testing.T) {
		bad := 0
		got := record(t, func(l event.Listener) {
			for _, c := range []struct {
				name  string
				kind  int
				value float64
			}{
				{"", abi.MetricGauge, 1},
				{strings.Repeat("n", 65), abi.MetricGauge, 1},
				{"x_sum", abi.MetricGauge, 1},
				{"x_bucket", abi.MetricHistogram, 1},
				{"x", 9, 1},
				{"nan", abi.MetricGauge, math.NaN()},
				{"inf", abi.MetricCounter, math.Inf(1)},
			} {
				l.Metric("a", "p", c.name, c.kind, c.value)
				bad++
			}
			l.Metric("a", "p", "down", abi.MetricCounter, -1) // ignored, must not panic
		})
		has(t, got, refused+fmt.Sprint(bad))
	})
	t.Run("a plugin cannot flood the registry", func(t *testing.T) {
		got := record(t, func(l event.Listener) {
			for i := range 6000 {
				l.Metric("a", "p", fmt.Sprintf("n%d", i), abi.MetricGauge, 1)
			}
			l.Metric("a", "q", "fine", abi.MetricGauge, 1)
		})
		if n := strings.Count(got, "# TYPE wasmill_plugin_"); n > 65 {
			t.Errorf("%d families of plugins, want at most 64 of one plugin", n)
		}
	})
}

func TestListenerIsConcurrentAndCheap(t *testing.T) {
	m := metrics.New()
	l := m.Listener().WithDefaults()
	t.Run("many goroutines and scrapes at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 200 {
					l.Fetched(fmt.Sprint("p", j%5), 1, 1, 0)
					l.Metric(fmt.Sprint("p", i), "p", fmt.Sprint("m", j%7), abi.MetricCounter, 1)
				}
			})
		}
		for range 10 {
			exposition(t, m)
		}
		wg.Wait()
		if got := exposition(t, m); !strings.Contains(got, `wasmill_events_fetched_total{pipeline="p0"} 320`) {
			t.Error("counts got lost")
		}
	})
	t.Run("no allocation once a label set is known", func(t *testing.T) {
		counts := event.Counts{In: 5, Out: 5}
		n := testing.AllocsPerRun(100, func() {
			l.Fetched("alerts", 5, 500, 0)
			l.Called("alerts", "s", "p", 5, time.Millisecond, nil, event.TraceID{})
			l.Stage("alerts", "s", "p", counts)
			l.Published("alerts", "out", 5, 500)
			l.Done("alerts", 5, 500, time.Millisecond, event.TraceID{})
			l.Metric("alerts", "p", "seen", abi.MetricCounter, 1)
		})
		if n != 0 {
			t.Errorf("%v allocations a batch", n)
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	l := metrics.New().Listener()
	counts := event.Counts{In: 5, Out: 5}
	b.ReportAllocs()
	for b.Loop() {
		l.Fetched("alerts", 5, 500, 0)
		l.Called("alerts", "s", "p", 5, time.Millisecond, nil, event.TraceID{})
		l.Stage("alerts", "s", "p", counts)
		l.Published("alerts", "out", 5, 500)
		l.Done("alerts", 5, 500, time.Millisecond, event.TraceID{})
	}
}

// Who asks for OpenMetrics, as Prometheus does, finds the trace of an event
// beside the latencies.
func TestLatenciesHaveExemplars(t *testing.T) {
	m := metrics.New()
	l := m.Listener()
	call, done := event.TraceID{15: 0xca}, event.TraceID{15: 0xd0}
	l.Called("alerts", "strong", "strong", 5, time.Millisecond, nil, call)
	l.Done("alerts", 5, 500, time.Millisecond, done)
	l.Traced("dropped", 3)
	scrape := func(accept string) string {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		req.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, req)
		return w.Body.String()
	}
	open := scrape("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
	for name, id := range map[string]event.TraceID{"wasmill_call_seconds_bucket": call, "wasmill_end_to_end_seconds_bucket": done} {
		found := false
		for line := range strings.Lines(open) {
			found = found || strings.HasPrefix(line, name) && strings.Contains(line, `# {trace_id="`+id.String()+`"}`)
		}
		if !found {
			t.Errorf("%s has no exemplar with %s", name, id)
		}
	}
	if !strings.HasSuffix(open, "# EOF\n") {
		t.Error("it is not OpenMetrics")
	}
	plain := scrape("text/plain")
	if strings.Contains(plain, "trace_id") {
		t.Error("the text format has exemplars, which it cannot")
	}
	if !strings.Contains(plain, `wasmill_traces_total{result="dropped"} 3`) {
		t.Error("dropped traces are not counted")
	}
}
