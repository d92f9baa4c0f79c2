package host

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// watchdog finds calls that run past their deadline. It can only tell: a guest
// cannot be stopped from outside of its code, and a late response is still a
// correct one, so nothing is thrown away. It costs the data path two atomic
// additions a call and no reading of a clock; in return, an overrun shorter
// than a tick (a quarter of the shortest deadline) may go unnoticed.
type watchdog struct {
	wake chan struct{} // the set of watched calls has changed
	mu   struct {
		sync.Mutex
		watched map[*watched]struct{}
	}
}

// Bounds of the watchdog's tick.
const (
	minTick = 5 * time.Millisecond
	maxTick = 250 * time.Millisecond
)

// watched is what the watchdog knows of one instance.
type watched struct {
	calls    atomic.Uint64 // odd while a call runs
	deadline time.Duration // 0 = none
	over     *atomic.Uint64
	log      func(level int, line string)

	// Of the watchdog's goroutine:
	seen     uint64    // calls at the last tick
	since    time.Time // when seen was first seen
	told     bool      // the running call was reported
	lastLine time.Time
	unlogged int // overruns since lastLine
}

func (w *watched) enter() { w.calls.Add(1) }
func (w *watched) leave() { w.calls.Add(1) }

func newWatchdog() *watchdog {
	d := &watchdog{wake: make(chan struct{}, 1)}
	d.mu.watched = map[*watched]struct{}{}
	return d
}

func (d *watchdog) add(w *watched) {
	if w.deadline <= 0 {
		return
	}
	d.mu.Lock()
	d.mu.watched[w] = struct{}{}
	d.mu.Unlock()
	d.signal()
}

func (d *watchdog) remove(w *watched) {
	d.mu.Lock()
	delete(d.mu.watched, w)
	d.mu.Unlock()
	d.signal()
}

func (d *watchdog) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run watches until stop is closed.
func (d *watchdog) run(stop <-chan struct{}) {
	timer := time.NewTimer(maxTick)
	defer timer.Stop()
	for {
		if tick := d.tick(); tick > 0 {
			timer.Reset(tick)
		} else {
			timer.Stop() // nothing to watch: sleep until something is added
		}
		select {
		case <-stop:
			return
		case <-d.wake:
		case <-timer.C:
			d.look(time.Now())
		}
	}
}

// tick returns how often to look, or 0 when there is nothing to watch.
func (d *watchdog) tick() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	shortest := time.Duration(0)
	for w := range d.mu.watched {
		if shortest == 0 || w.deadline < shortest {
			shortest = w.deadline
		}
	}
	if shortest == 0 {
		return 0
	}
	return max(minTick, min(maxTick, shortest/4))
}

func (d *watchdog) look(now time.Time) {
	var lines []func()
	d.mu.Lock()
	for w := range d.mu.watched {
		if line := w.look(now); line != "" {
			lines = append(lines, func() { w.log(abi.LevelWarn, line) })
		}
	}
	d.mu.Unlock()
	for _, f := range lines { // outside of the lock: the log is not ours
		f()
	}
}

// look returns a line to log when the running call is past its deadline. Each
// call counts once, and one line a second is enough.
func (w *watched) look(now time.Time) string {
	n := w.calls.Load()
	if n != w.seen || n%2 == 0 {
		w.seen, w.since, w.told = n, now, false
		return ""
	}
	ran := now.Sub(w.since)
	if w.told || ran < w.deadline {
		return ""
	}
	w.told = true
	w.over.Add(1)
	w.unlogged++
	if now.Sub(w.lastLine) < time.Second {
		return ""
	}
	line := fmt.Sprintf("a call has run for more than %s, its deadline is %s; it goes on, and its result will be used",
		ran.Round(time.Millisecond), w.deadline)
	if w.unlogged > 1 {
		line += fmt.Sprintf(" (%d calls were late since the last such line)", w.unlogged)
	}
	w.lastLine, w.unlogged = now, 0
	return line
}
