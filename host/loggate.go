package host

import (
	"fmt"
	"sync"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Lines that an instance may log: a burst, and so many a second from then on.
const (
	logBurst = 200
	logRate  = 100.0
)

// logGate keeps a plugin that floods its log from flooding the process's
// (invariant A4): a token bucket. What it cuts is counted, and the number
// reported as a line of its own, at most once a second and at the end. Safe for
// concurrent use.
type logGate struct {
	out func(level int, line string)

	mu struct {
		sync.Mutex
		tokens float64
		filled time.Time
		told   time.Time // of the last report
		cut    int       // lines since then
	}
}

func newLogGate(out func(level int, line string)) *logGate {
	g := &logGate{out: out}
	now := time.Now()
	g.mu.tokens, g.mu.filled, g.mu.told = logBurst, now, now
	return g
}

// line passes one line on, or counts it as cut.
func (g *logGate) line(level int, line string) {
	now := time.Now()
	g.mu.Lock()
	g.mu.tokens = min(g.mu.tokens+now.Sub(g.mu.filled).Seconds()*logRate, logBurst)
	g.mu.filled = now
	pass := g.mu.tokens >= 1
	if pass {
		g.mu.tokens--
	} else {
		g.mu.cut++
	}
	cut := g.dueLocked(now)
	g.mu.Unlock()
	g.report(cut)
	if pass {
		g.out(level, line)
	}
}

// settle reports what was cut, if a report is due; at the end it always is.
func (g *logGate) settle(end bool) {
	g.mu.Lock()
	cut := g.mu.cut
	if cut > 0 && !end {
		cut = g.dueLocked(time.Now())
	} else {
		g.mu.cut = 0
	}
	g.mu.Unlock()
	g.report(cut)
}

// dueLocked takes the number to report now.
func (g *logGate) dueLocked(now time.Time) (cut int) {
	if g.mu.cut == 0 || now.Sub(g.mu.told) < time.Second {
		return 0
	}
	cut, g.mu.cut, g.mu.told = g.mu.cut, 0, now
	return cut
}

func (g *logGate) report(cut int) {
	if cut > 0 {
		g.out(abi.LevelWarn, fmt.Sprintf("lines cut here: %d; an instance may log %d at once and %.0f a second", cut, logBurst, logRate))
	}
}
