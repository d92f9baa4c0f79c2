package host

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestGate(t *testing.T) {
	flood := func(g *gate, n, size int) (passed int) {
		for range n {
			if g.line(size) {
				passed++
			}
		}
		return passed
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		t.Log("a burst passes, the rest of a flood does not")
		if got := flood(g, 10_000, 1); got != logBurst {
			t.Errorf("%d lines of a flood passed, want %d", got, logBurst)
		}
		if g.report(false) != "" {
			t.Error("a report came within the first second")
		}

		t.Log("the number cut is told after a second, once")
		time.Sleep(time.Second) // the bubble's clock
		if got := g.report(false); !strings.HasPrefix(got, "lines cut here: 9800 (9800 bytes);") {
			t.Errorf("after the flood: %q", got)
		}
		if got := g.report(true); got != "" {
			t.Errorf("and again: %q", got)
		}

		t.Log("a quiet plugin has its burst again; one second gives the rate")
		time.Sleep(time.Minute)
		flood(g, logBurst, 1)
		time.Sleep(time.Second)
		if got := flood(g, logBurst, 1); got != int(logRate) {
			t.Errorf("%d lines in a second, want the rate", got)
		}

		t.Log("long lines are cut by their bytes")
		time.Sleep(time.Minute)
		g.report(true)
		if got := flood(g, logBurst, maxLine); got != logBytesBurst/maxLine {
			t.Errorf("%d lines of 4 KiB passed, want 256 KiB", got)
		}
		time.Sleep(time.Second)
		if got := flood(g, logBurst, maxLine); got != logBytesRate/maxLine {
			t.Errorf("%d lines of 4 KiB passed in a second, want 64 KiB", got)
		}

		t.Log("the end reports in any case")
		if got := g.report(true); !strings.HasPrefix(got, "lines cut here: 320 (1310720 bytes);") {
			t.Errorf("at the end: %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		t.Log("observations pass by the burst and the rate, those not used come back")
		var n tokens
		passed := 0
		for range 2 * observeBurst {
			if n.take(g) {
				passed++
			}
		}
		n.settle(g)
		if passed != observeBurst {
			t.Errorf("%d observations passed, want %d", passed, observeBurst)
		}
		time.Sleep(time.Second / 1024)
		for range 10 {
			if !n.take(g) {
				t.Error("cut although there are tokens")
			}
			n.settle(g)
		}
		if got := g.mu.values.tokens; got < 1024-11 || got > 1024-10 {
			t.Errorf("%g tokens are left", got)
		}
		if got := g.report(true); !strings.HasPrefix(got, "observations of histograms cut here: 1048576;") {
			t.Errorf("report: %q", got)
		}
	})
}

// Over all guests and instances of a plugin, and with the number when one ends.
func TestAPluginThatFloodsItsLog(t *testing.T) {
	r := &recorder{}
	w := new(wt.Module)
	log := w.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
	w.Plugin(wt.Plugin{Process: wt.OnData(wt.I32Const(0), wt.I32Const(0), wt.I32Const(1), wt.Call(log), wt.Unreachable())})
	gen := load(t, Spec{Module: w.Bytes(), Log: r.log})
	const calls = 20 * logBurst
	begin := time.Now()
	for range 4 {
		i := start(t, gen)
		for range calls / 4 {
			_ = i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}) // traps, on a fresh guest each time
		}
		i.Discard()
	}
	room := logBurst + int(time.Since(begin).Seconds()*logRate) + 2
	cut := 0
	for _, l := range r.lines {
		if strings.Contains(l, "lines cut here") {
			cut++
		}
	}
	room += int(time.Since(begin).Seconds()) + 4 // reports
	if n := len(r.lines); n > room || n < logBurst || cut == 0 {
		t.Errorf("%d lines of %d in the log, %d of them reports; there was room for %d", n, calls, cut, room)
	}
}

// One call that observes more than a plugin may.
func TestAPluginThatFloodsAHistogram(t *testing.T) {
	r := &recorder{}
	values := 0
	w := new(wt.Module)
	define := w.ImportFunc(abi.ImportModule, abi.ImportMetricDefine, wt.I32+wt.I32+wt.I32, wt.I32)
	observe := w.ImportFunc(abi.ImportModule, abi.ImportMetricObserve, wt.I32+wt.F64, "")
	w.Data(256, []byte("latency"))
	w.Plugin(wt.Plugin{
		Locals: wt.Locals(wt.LocalGroup{N: 1, Type: wt.I32}),
		Process: wt.OnData(
			wt.I32Const(256), wt.I32Const(7), wt.I32Const(abi.MetricHistogram), wt.Call(define), wt.Drop(),
			wt.I32Const(2*observeBurst), wt.LocalSet(2),
			wt.Loop(wt.NoResult, wt.I32Const(0), wt.F64Const(1), wt.Call(observe),
				wt.LocalGet(2), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.LocalTee(2), wt.BrIf(0)),
			wt.Answer(wt.ResponseAt, 24)),
	})
	begin := time.Now()
	i := start(t, load(t, Spec{Module: w.Bytes(), Log: r.log, Metric: func(string, string, int, float64) { values++ }}))
	if err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}); err != nil {
		t.Fatal(err)
	}
	i.Discard()
	room := observeBurst + int(time.Since(begin).Seconds()*observeRate) + 1
	if values < observeBurst || values > room {
		t.Errorf("%d observations passed, there was room for %d", values, room)
	}
	if values < 2*observeBurst && !r.has("observations of histograms cut here") {
		t.Errorf("nothing says that %d were cut: %q", 2*observeBurst-values, r.lines)
	}
}
