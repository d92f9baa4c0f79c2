package bench

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/plugins/builtin"
)

// Every loop finishes every event, and the report names each of them.
func TestThroughputMeasuresEveryLoop(t *testing.T) {
	var out strings.Builder
	r, err := Run(t.Context(), Options{Events: 5000, Rounds: 1, Throughput: true, Modules: builtin.Modules(), Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Throughput {
		if v.EventsPerSec <= 0 || !strings.Contains(out.String(), v.Name) {
			t.Errorf("%s: %.0f events/s\n%s", v.Name, v.EventsPerSec, out.String())
		}
	}
	for i, mode := range []string{"os", "fsync", "async"} {
		if d := r.Durability[i]; d.Mode != mode || d.EventsPerSec <= 0 {
			t.Errorf("durability %d is %+v, want %s", i, d, mode)
		}
	}
	if len(r.Throughput) != 7 || len(r.Ratios) != 4 {
		t.Errorf("%d loops, %d ratios", len(r.Throughput), len(r.Ratios))
	}
}

// The benchmark for benchstat and profiles: go test -bench Loop ./runtime/bench.
func BenchmarkLoop(b *testing.B) {
	for _, name := range []string{baselineLoop, nativeLoop, passPlugin, nativeFilter, filterPlugin, atomicLoop, exactPlugin} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := Run(b.Context(), Options{Events: 200_000, Rounds: 1, Throughput: true, Only: []string{name}, Modules: builtin.Modules(), Progress: os.Stderr})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(r.Throughput[0].EventsPerSec, "events/s")
				b.ReportMetric(r.Throughput[0].CPUMicros, "cpu-µs/event")
			}
		})
	}
}

// Each language has its line, and one without a module says why.
func TestLanguagesAreMeasuredOrNamed(t *testing.T) {
	pass, err := builtin.Modules()["pass"]()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r, err := Run(t.Context(), Options{Events: 2000, Rounds: 1, Alone: true, Out: &out, Languages: []Module{
		{Language: "Go", Bytes: pass, First: time.Second, Again: time.Second},
		{Language: "Cobol", Missing: "there is no compiler"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Languages) != 2 || len(r.Throughput) != 0 {
		t.Fatalf("got %+v", r)
	}
	l := r.Languages[0]
	if l.Size != len(pass) || l.LoadCold <= 0 || l.LoadCached <= 0 || l.Memory <= 0 || l.EventsPerSec <= 0 || l.Ratio <= 0 {
		t.Errorf("got %+v", l)
	}
	if !strings.Contains(out.String(), "left out: Cobol: there is no compiler") {
		t.Errorf("the report is\n%s", out.String())
	}
}
