package host

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// What a plugin may log and observe, over all its instances: a burst, and so
// much a second from then on.
const (
	logBurst = 200
	logRate  = 100.0

	logBytesBurst = 256 << 10
	logBytesRate  = 64 << 10

	observeBurst = 1 << 20
	observeRate  = 1 << 20

	// A runtime that gives up dumps a hundred lines, each time the same ones.
	crashBurst = 1
	crashEvery = 10 * time.Second
)

// bucket is a token bucket. The zero bucket is full when it is first used.
type bucket struct {
	burst, rate float64 // tokens, tokens a second
	tokens      float64
	filled      time.Time
}

func (b *bucket) fill(now time.Time) {
	if b.filled.IsZero() {
		b.tokens = b.burst
	} else if d := now.Sub(b.filled); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*b.rate, b.burst)
	}
	b.filled = now
}

// gate keeps a plugin that floods the log, or its own histograms, from flooding
// the process (invariant A4). What it cuts is counted, and reported as a line of
// its own at most once a second, and at the end. Safe for concurrent use.
type gate struct {
	mu struct {
		sync.Mutex
		lines, bytes, values  bucket
		crashes               bucket
		told                  time.Time // of the last report
		cutLines, cutBytes    int       // since then
		cutCrashes, cutDumped int       // crashes, and lines of theirs
		cutValues             uint64
	}
}

func newGate() *gate {
	g := &gate{}
	g.mu.lines = bucket{burst: logBurst, rate: logRate}
	g.mu.bytes = bucket{burst: logBytesBurst, rate: logBytesRate}
	g.mu.values = bucket{burst: observeBurst, rate: observeRate}
	g.mu.crashes = bucket{burst: crashBurst, rate: 1 / crashEvery.Seconds()}
	g.mu.told = time.Now()
	return g
}

// crash says whether what a guest's runtime says of a crash may pass; else its
// lines are given to crashLine.
func (g *gate) crash() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.crashes.fill(time.Now())
	if g.mu.crashes.tokens < 1 {
		g.mu.cutCrashes++
		return false
	}
	g.mu.crashes.tokens--
	return true
}

// crashLine counts a line of a crash that did not pass.
func (g *gate) crashLine() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.cutDumped++
}

// line says whether a line of n bytes may pass; else it is counted as cut.
func (g *gate) line(n int) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.lines.fill(now)
	g.mu.bytes.fill(now)
	if g.mu.lines.tokens < 1 || g.mu.bytes.tokens < float64(n) {
		g.mu.cutLines++
		g.mu.cutBytes += n
		return false
	}
	g.mu.lines.tokens--
	g.mu.bytes.tokens -= float64(n)
	return true
}

// values takes up to n tokens for observations and returns how many there were.
func (g *gate) values(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.values.fill(time.Now())
	got := min(n, int(g.mu.values.tokens))
	g.mu.values.tokens -= float64(got)
	return got
}

// give returns tokens for observations that were not used, and counts the
// observations that were cut.
func (g *gate) give(unused int, cut uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.values.tokens += float64(unused)
	g.mu.cutValues += cut
}

// report returns a line that says what was cut, or "" when nothing was or the
// last report was less than a second ago; at the end it does not wait.
func (g *gate) report(end bool) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &g.mu
	if m.cutLines == 0 && m.cutValues == 0 && m.cutCrashes == 0 {
		return ""
	}
	now := time.Now()
	if !end && now.Sub(m.told) < time.Second {
		return ""
	}
	var parts []string
	if m.cutCrashes > 0 {
		parts = append(parts, fmt.Sprintf("crashes cut here: %d (%d lines); one in %s is shown, the dead letters have each", m.cutCrashes, m.cutDumped, crashEvery))
	}
	if m.cutLines > 0 {
		parts = append(parts, fmt.Sprintf("lines cut here: %d (%d bytes); a plugin may log %d lines and %s at once, %.0f lines and %s a second",
			m.cutLines, m.cutBytes, logBurst, size(logBytesBurst), logRate, size(logBytesRate)))
	}
	if m.cutValues > 0 {
		parts = append(parts, fmt.Sprintf("observations of histograms cut here: %d; a plugin may make %d a second", m.cutValues, int(observeRate)))
	}
	m.told, m.cutLines, m.cutBytes, m.cutCrashes, m.cutDumped, m.cutValues = now, 0, 0, 0, 0, 0
	return strings.Join(parts, "; ")
}
