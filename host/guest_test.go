package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// recorder keeps what a plugin logs and measures.
type recorder struct {
	mu      sync.Mutex
	lines   []string
	metrics []string
}

func (r *recorder) log(pipeline string, partition, level int, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s/%d %d %s", pipeline, partition, level, line))
}

func (r *recorder) metric(pipeline, name string, kind int, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics = append(r.metrics, fmt.Sprintf("%s %s %d %g", pipeline, name, kind, value))
}

func (r *recorder) has(part string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, part) })
}

// one runs the Go guest in that mode on one event and returns its one output.
func one(t *testing.T, spec Spec) string {
	t.Helper()
	_, res, err := run(t, spec, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Outputs) != 1 {
		t.Fatalf("%d outputs, want one", len(res.Outputs))
	}
	return string(res.Outputs[0].Payload)
}

// TestGoGuest runs a real Go module, with the whole Go runtime in it.
func TestGoGuest(t *testing.T) {
	t.Run("passes a batch through", func(t *testing.T) {
		_, res, err := run(t, goSpec(t, ""), 512)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Outputs) != 512 || res.Outputs[511].Source != 511 || res.Outputs[0].Flags != abi.FlagPayloadRef|abi.FlagKeepHeaders {
			t.Errorf("%d outputs, the last %+v", len(res.Outputs), res.Outputs[len(res.Outputs)-1])
		}
	})
	t.Run("gets its configuration as the ABI says", func(t *testing.T) {
		spec := goSpec(t, "open")
		spec.Name, spec.Grants = "strong", []string{"secret", "clock"}
		want := `{"config":{"mode":"open"},"grants":["clock","secret"],"plugin":"strong","pipeline":"p","partition":1,"outputs":["default","other"]}`
		if got := one(t, spec); got != want {
			t.Errorf("wasmill_open got\n%s, want\n%s", got, want)
		}
	})
	t.Run("refuses its configuration with a reason", func(t *testing.T) {
		gen := load(t, goSpec(t, "refuse"))
		_, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p"})
		wantFault(t, err, abi.FaultGuestError, "refused its configuration: min_magnitude is missing")
	})
	t.Run("panics with its Go stack, and goes on afresh", func(t *testing.T) {
		i, res, err := run(t, goSpec(t, "panic"), 1)
		wantFault(t, err, abi.FaultTrap, "panic: assignment to entry in nil map; at main.event (main.go:", "(unreachable)", "main.event", "wasm stack trace:")
		if err := i.Process(t.Context(), abi.BatchHeader{}, nil, res); err != nil {
			t.Error(err)
		}
	})
	t.Run("exits", func(t *testing.T) {
		_, _, err := run(t, goSpec(t, "exit"), 1)
		wantFault(t, err, abi.FaultTrap, "the module exited with code 7")
	})
	t.Run("runs out of memory", func(t *testing.T) {
		spec := goSpec(t, "hoard")
		spec.Limits.Memory = 32 << 20
		i, _, err := run(t, spec, 1)
		wantFault(t, err, abi.FaultOutOfMemory, "memory limit of 32 MiB reached", "out of memory")
		if i.Memory() > 32<<20 {
			t.Errorf("it holds %d bytes", i.Memory())
		}
	})
	t.Run("collects its garbage: the clock is good enough to pace it", func(t *testing.T) {
		spec := goSpec(t, "garbage")
		i := start(t, load(t, spec))
		batch, res := events(64, 1<<10), &abi.Result{}
		for range 2000 { // 128,000 allocations, 260 MB
			if err := i.Process(t.Context(), abi.BatchHeader{}, batch, res); err != nil {
				t.Fatal(err)
			}
		}
		if got := i.Memory(); got > 24<<20 {
			t.Errorf("its memory has grown to %d MiB", got>>20)
		}
	})
	t.Run("sleeps an hour in no time", func(t *testing.T) {
		begin := time.Now()
		got, err := time.ParseDuration(one(t, goSpec(t, "sleep")))
		if err != nil || got < time.Hour || got > time.Hour+time.Minute {
			t.Errorf("the plugin believes it slept %s (%v)", got, err)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("the host waited %s", took)
		}
	})
	t.Run("has no wall clock without the grant", func(t *testing.T) {
		if got := one(t, goSpec(t, "clock")); got != "0" {
			t.Errorf("it is %s seconds after the epoch", got)
		}
		spec := goSpec(t, "clock")
		spec.Grants = []string{abi.GrantClock}
		var sec int64
		if _, err := fmt.Sscan(one(t, spec), &sec); err != nil || time.Since(time.Unix(sec, 0)) > time.Minute {
			t.Errorf("with the grant it is %d (%v)", sec, err)
		}
	})
	t.Run("has the same pseudo-random numbers in each run, but not in each partition", func(t *testing.T) {
		gen := load(t, goSpec(t, "random"))
		draw := func(gen *Generation, partition int) string {
			i, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p", Partition: partition})
			if err != nil {
				t.Fatal(err)
			}
			defer i.Discard()
			res := &abi.Result{}
			if err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), res); err != nil {
				t.Fatal(err)
			}
			return string(res.Outputs[0].Payload)
		}
		if a, b := draw(gen, 0), draw(gen, 0); a != b {
			t.Errorf("%s, then %s", a, b)
		}
		if a, b := draw(gen, 0), draw(gen, 1); a == b {
			t.Errorf("%s in both partitions", a)
		}
		spec := goSpec(t, "random")
		spec.Grants = []string{abi.GrantRandom}
		gen = load(t, spec)
		if a, b := draw(gen, 0), draw(gen, 0); a == b {
			t.Error("with the grant the numbers are the same, too")
		}
	})
	t.Run("finds no files, arguments or environment", func(t *testing.T) {
		if got := one(t, goSpec(t, "files")); !strings.HasSuffix(got, "[] []") || !strings.Contains(got, "/etc/passwd") || strings.Contains(got, "<nil>") {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("what it prints goes to the log, line by line", func(t *testing.T) {
		r := &recorder{}
		spec := goSpec(t, "print")
		spec.Log = r.log
		i, _, err := run(t, spec, 1)
		if err != nil {
			t.Fatal(err)
		}
		i.Discard()
		want := []string{"p/1 0 to stdout", "p/1 4 to stderr", "p/1 -4 to the log", "p/1 4 without an end"}
		if !slices.Equal(r.lines, want) {
			t.Errorf("log is %q, want %q", r.lines, want)
		}
	})
	t.Run("a crash is logged whole, and its repetitions are counted", func(t *testing.T) {
		r := &recorder{}
		spec := goSpec(t, "panic")
		spec.Log = r.log
		i := start(t, load(t, spec))
		const calls = 5
		for range calls {
			err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
			if f := (*Fault)(nil); !errors.As(err, &f) || !strings.Contains(f.FaultDetail(), "panic: ") {
				t.Errorf("it ended with %v, without what the runtime said", err)
			}
		}
		i.Discard()
		shown, cut := 0, 0
		for _, l := range r.lines {
			if strings.Contains(l, "panic: ") {
				shown++
			}
			if _, n, ok := strings.Cut(l, "crashes cut here: "); ok {
				var more int
				if _, err := fmt.Sscan(n, &more); err != nil {
					t.Error(err)
				}
				cut += more
			}
		}
		if shown == 0 || shown == calls || shown+cut != calls {
			t.Errorf("%d crashes were shown and %d said to be cut, of %d: %q", shown, cut, calls, r.lines)
		}
	})
	t.Run("counters and gauges are reported once a call", func(t *testing.T) {
		r := &recorder{}
		spec := goSpec(t, "metric")
		spec.Metric = r.metric
		if _, _, err := run(t, spec, 3); err != nil {
			t.Fatal(err)
		}
		want := []string{"p size 2 20", "p size 2 20", "p size 2 20", "p seen_total 0 3", "p level 1 9"}
		if !slices.Equal(r.metrics, want) {
			t.Errorf("metrics are %q, want %q", r.metrics, want)
		}
	})
	t.Run("a call past its deadline is ended", func(t *testing.T) {
		spec := goSpec(t, "spin")
		spec.Limits.Deadline = 20 * time.Millisecond
		i := start(t, load(t, spec))
		for range 2 { // each with a fresh guest
			begin := time.Now()
			err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
			t.Logf("a deadline of %s ended the call after %s", spec.Limits.Deadline, time.Since(begin))
			wantFault(t, err, abi.FaultDeadline, "its deadline of 20ms", "main.process")
		}
	})
	t.Run("says its last words", func(t *testing.T) {
		i, res, err := run(t, goSpec(t, "pass"), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Close(t.Context(), res); err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Subject) != "last.words" {
			t.Errorf("%v, %+v", err, res)
		}
	})
}

func TestProcessAllocatesNothing(t *testing.T) {
	i := start(t, load(t, goSpec(t, "")))
	for _, n := range []int{0, 1, 64, 512} {
		t.Run(fmt.Sprint(n, " events"), func(t *testing.T) {
			batch, res := events(n, 256), &abi.Result{}
			ctx := t.Context()
			step := func() {
				if err := i.Process(ctx, abi.BatchHeader{ID: 1}, batch, res); err != nil {
					t.Fatal(err)
				}
			}
			step()
			if allocs := testing.AllocsPerRun(100, step); allocs != 0 {
				t.Errorf("%g allocations a call", allocs)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	// secret_get("key", 3, 512, 5), whose result becomes the batch's failure:
	// -1000 - result, so that the fault shows it.
	w := new(wt.Module)
	get := w.ImportFunc(abi.ImportModule, abi.ImportSecretGet, wt.I32+wt.I32+wt.I32+wt.I32, wt.I64)
	w.Data(256, []byte("key"))
	w.Plugin(wt.Plugin{Process: wt.OnData(wt.I64Const(-1000),
		wt.I32Const(256), wt.I32Const(3), wt.I32Const(512), wt.I32Const(5), wt.Call(get), wt.Op(wt.OpI64Sub))})
	for _, tc := range []struct {
		name, value string
		secrets     map[string]string
		code        int
	}{
		{"one that fits", "", map[string]string{"key": "abcde"}, -1005},
		{"one that does not fit only tells its length", "", map[string]string{"key": "abcdef"}, -1006},
		{"one that is not there", "", map[string]string{"other": "x"}, -1000 + errnoNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := run(t, Spec{Module: w.Bytes(), Grants: []string{abi.GrantSecret}, Secrets: tc.secrets}, 1)
			wantFault(t, err, abi.FaultGuestError, fmt.Sprint("code ", tc.code))
		})
	}
}

func TestMetricDefinitions(t *testing.T) {
	gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{})})
	g := start(t, gen).guest
	for _, tc := range []struct {
		name string
		kind uint32
		want int32
	}{
		{"a_total", abi.MetricCounter, 0},
		{"_b2", abi.MetricHistogram, 1},
		{"a_total", abi.MetricCounter, 0},
		{"a_total", abi.MetricGauge, -errnoInvalid},
		{"", abi.MetricCounter, -errnoInvalid},
		{"2fast", abi.MetricCounter, -errnoInvalid},
		{"Upper", abi.MetricCounter, -errnoInvalid},
		{"with space", abi.MetricCounter, -errnoInvalid},
		{strings.Repeat("x", maxMetricName+1), abi.MetricCounter, -errnoInvalid},
		{"kind", 3, -errnoInvalid},
	} {
		if got := g.define([]byte(tc.name), tc.kind); got != tc.want {
			t.Errorf("define %q of kind %d gave %d, want %d", tc.name, tc.kind, got, tc.want)
		}
	}
	for n := 2; n < maxMetrics; n++ {
		if got := g.define(fmt.Appendf(nil, "m%d", n), 0); got != int32(n) {
			t.Fatalf("define m%d gave %d", n, got)
		}
	}
	if got := g.define([]byte("one_more"), 0); got != -errnoNoSpace {
		t.Errorf("metric %d gave %d", maxMetrics+1, got)
	}
	other := start(t, gen).guest
	if got := other.define([]byte("a_total"), abi.MetricGauge); got != -errnoInvalid {
		t.Errorf("another kind in another instance gave %d", got)
	}
	if got := other.define([]byte("m9"), 0); got != 0 {
		t.Errorf("a known name in another instance gave %d", got)
	}
}
