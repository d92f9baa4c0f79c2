package host

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestLogGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		g := newLogGate(func(_ int, line string) { lines = append(lines, line) })
		flood := func(n int) {
			for range n {
				g.line(0, "x")
			}
		}
		t.Log("a burst passes, the rest of a flood does not")
		flood(10_000)
		if len(lines) != logBurst {
			t.Errorf("%d lines of a flood passed, want %d", len(lines), logBurst)
		}
		g.settle(false)
		if len(lines) != logBurst {
			t.Error("a report came within the first second")
		}

		t.Log("the number cut is told after a second")
		time.Sleep(time.Second) // the bubble's clock
		g.line(0, "y")
		if got := lines[logBurst:]; len(got) != 2 || !strings.HasPrefix(got[0], "lines cut here: 9800;") || got[1] != "y" {
			t.Errorf("after the flood: %q", got)
		}

		t.Log("a quiet plugin has its burst again; one second gives the rate")
		time.Sleep(time.Minute)
		lines = nil
		flood(logBurst)
		time.Sleep(time.Second)
		flood(logBurst)
		if len(lines) != logBurst+int(logRate)+1 {
			t.Errorf("%d lines in a second, want the rate and a report", len(lines))
		}

		t.Log("the end reports in any case")
		lines = nil
		g.settle(true)
		g.settle(true)
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "lines cut here: 99;") {
			t.Errorf("at the end: %q", lines)
		}
	})
}

// Over all guests of an instance, and with the number when it ends.
func TestAnInstanceThatFloodsItsLog(t *testing.T) {
	r := &recorder{}
	w := new(wt.Module)
	log := w.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
	w.Plugin(wt.Plugin{Process: wt.OnData(wt.I32Const(0), wt.I32Const(0), wt.I32Const(1), wt.Call(log), wt.Unreachable())})
	i := start(t, load(t, Spec{Module: w.Bytes(), Log: r.log}))
	const calls = 20 * logBurst
	begin := time.Now()
	for range calls {
		_ = i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}) // traps, on a fresh guest each time
	}
	i.Discard()
	room := logBurst + int(time.Since(begin).Seconds()*logRate) + 2
	cut := 0
	for _, l := range r.lines {
		if strings.Contains(l, "lines cut here") {
			cut++
		}
	}
	room += int(time.Since(begin).Seconds()) + 1 // reports
	if n := len(r.lines); n > room || n < logBurst || cut == 0 {
		t.Errorf("%d lines of %d in the log, %d of them reports; there was room for %d", n, calls, cut, room)
	}
}
