package host

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWatchdog(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	watch := func() *watched { return &watched{deadline: 100 * time.Millisecond, over: &atomic.Uint64{}} }

	t.Run("a call past its deadline is told once", func(t *testing.T) {
		w := watch()
		w.enter()
		for _, step := range []struct {
			ms   int
			told bool
		}{{0, false}, {50, false}, {125, true}, {150, false}, {5000, false}} {
			if line := w.look(at(step.ms)); (line != "") != step.told {
				t.Errorf("after %d ms: %q", step.ms, line)
			}
		}
		if n := w.over.Load(); n != 1 {
			t.Errorf("%d overruns, want 1", n)
		}
	})
	t.Run("short calls and no call are in time", func(t *testing.T) {
		w := watch()
		for ms := 0; ms < 1000; ms += 25 {
			w.enter()
			if line := w.look(at(ms)); line != "" {
				t.Errorf("after %d ms: %q", ms, line)
			}
			w.leave()
		}
		for ms := 1000; ms < 2000; ms += 25 {
			if line := w.look(at(ms)); line != "" {
				t.Errorf("while nothing runs: %q", line)
			}
		}
	})
	t.Run("every overrun counts, a line a second is enough", func(t *testing.T) {
		w := watch()
		lines := 0
		for call := range 30 { // 200 ms each
			w.enter()
			for ms := 0; ms < 200; ms += 25 {
				if line := w.look(at(call*200 + ms)); line != "" {
					if lines++; lines > 1 && !strings.Contains(line, "calls were late") {
						t.Errorf("line does not count the others: %q", line)
					}
				}
			}
			w.leave()
		}
		if n := w.over.Load(); n != 30 || lines < 5 || lines > 7 {
			t.Errorf("%d overruns, %d lines", n, lines)
		}
	})
	t.Run("it looks four times in the shortest deadline, and sleeps without any", func(t *testing.T) {
		d := newWatchdog()
		if d.tick() != 0 {
			t.Error("it looks at nothing")
		}
		d.add(&watched{})
		if d.tick() != 0 {
			t.Error("it looks at an instance without a deadline")
		}
		w := watch()
		d.add(w)
		d.add(&watched{deadline: time.Hour})
		if got := d.tick(); got != 25*time.Millisecond {
			t.Errorf("tick is %s", got)
		}
		d.remove(w)
		if got := d.tick(); got != maxTick {
			t.Errorf("tick is %s", got)
		}
	})
}
