package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// Budget holds the limits of one plugin over all pipelines that use it: events
// and bytes in flight, and events per second. Invariant A3: what Acquire has
// admitted and Release has not returned never exceeds the limits, but for one
// event that is larger than the byte limit alone. Waiting pipelines are served
// in the order they came, so that none starves. Safe for concurrent use.
type Budget struct {
	plugin string

	mu struct {
		sync.Mutex
		maxEvents int
		maxBytes  int64
		rate      float64 // events/s; 0 = unlimited
		events    int
		bytes     int64
		tokens    float64 // of the rate; at most a tenth of a second's worth
		refilled  time.Time
		waiting   []chan struct{} // FIFO; the head is woken when something changed
	}
}

// NewBudget returns the budget of a plugin. events and bytes must be positive;
// a rate of 0 is no limit.
func NewBudget(plugin string, events int, bytes int64, rate float64) *Budget {
	b := &Budget{plugin: plugin}
	b.SetLimits(events, bytes, rate)
	return b
}

// SetLimits changes the limits in place. What is in flight stays.
func (b *Budget) SetLimits(events int, bytes int64, rate float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.maxEvents, b.mu.maxBytes = max(events, 1), max(bytes, 1)
	if rate != b.mu.rate {
		b.mu.rate, b.mu.tokens, b.mu.refilled = rate, max(rate/10, 1), time.Now()
	}
	b.wakeLocked()
}

// Free returns how much is left now. The byte part is the limit itself while
// nothing is in flight.
func (b *Budget) Free() event.Room {
	b.mu.Lock()
	defer b.mu.Unlock()
	return event.Room{Events: max(b.mu.maxEvents-b.mu.events, 0), Bytes: int(max(b.mu.maxBytes-b.mu.bytes, 0))}
}

// Acquire admits the longest prefix of the given event sizes that the limits
// allow and returns its length, at least 1. It blocks, in turn, while not even
// one event is allowed, and reports the time and reason to blocked.
func (b *Budget) Acquire(ctx context.Context, sizes []int, blocked func(reason string, d time.Duration)) (int, error) {
	b.mu.Lock()
	if len(b.mu.waiting) == 0 {
		if n, _, _ := b.admitLocked(sizes); n > 0 {
			b.mu.Unlock()
			return n, nil
		}
	}
	turn := make(chan struct{}, 1)
	b.mu.waiting = append(b.mu.waiting, turn)
	b.mu.Unlock()
	defer b.leave(turn)

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b.mu.Lock()
		var n int
		var reason string
		var wait time.Duration
		if b.mu.waiting[0] == turn {
			n, reason, wait = b.admitLocked(sizes)
		} else {
			reason, wait = b.reasonLocked(sizes[0]), time.Hour
		}
		b.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		timer.Reset(wait)
		start := time.Now()
		select {
		case <-turn:
		case <-timer.C:
		case <-ctx.Done():
			blocked(reason, time.Since(start))
			return 0, ctx.Err()
		}
		blocked(reason, time.Since(start))
	}
}

// Release returns events that are finished.
func (b *Budget) Release(events int, bytes int64) {
	b.mu.Lock()
	b.mu.events -= events
	b.mu.bytes -= bytes
	b.wakeLocked()
	b.mu.Unlock()
}

// leave takes turn out of the queue and wakes the next.
func (b *Budget) leave(turn chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.mu.waiting {
		if w == turn {
			b.mu.waiting = append(b.mu.waiting[:i], b.mu.waiting[i+1:]...)
			break
		}
	}
	b.wakeLocked()
}

func (b *Budget) wakeLocked() {
	if len(b.mu.waiting) == 0 {
		return
	}
	select {
	case b.mu.waiting[0] <- struct{}{}:
	default:
	}
}

// admitLocked takes as many of sizes as fit. When none does it says why and how
// long to wait at the most before trying again.
func (b *Budget) admitLocked(sizes []int) (n int, reason string, wait time.Duration) {
	limit := len(sizes)
	if b.mu.rate > 0 {
		now := time.Now()
		b.mu.tokens = min(b.mu.tokens+now.Sub(b.mu.refilled).Seconds()*b.mu.rate, max(b.mu.rate/10, 1))
		b.mu.refilled = now
		limit = min(limit, int(b.mu.tokens))
	}
	var bytes int64
	for n < limit {
		size := int64(sizes[n])
		if b.mu.events+n >= b.mu.maxEvents {
			break
		}
		if b.mu.bytes+bytes+size > b.mu.maxBytes && b.mu.events+n > 0 {
			break
		}
		bytes += size
		n++
	}
	if n == 0 {
		reason = b.reasonLocked(sizes[0])
		wait = time.Hour
		if reason == event.ReasonRate {
			wait = time.Duration((1 - b.mu.tokens) / b.mu.rate * float64(time.Second))
			wait = max(wait, time.Millisecond) // several tokens at once, not a wake-up for each
		}
		return 0, reason, wait
	}
	b.mu.events += n
	b.mu.bytes += bytes
	if b.mu.rate > 0 {
		b.mu.tokens -= float64(n)
	}
	return n, "", 0
}

func (b *Budget) reasonLocked(size int) string {
	switch {
	case b.mu.events >= b.mu.maxEvents:
		return event.ReasonPluginEvents
	case b.mu.events > 0 && b.mu.bytes+int64(size) > b.mu.maxBytes:
		return event.ReasonPluginBytes
	default:
		return event.ReasonRate
	}
}

// holding is what one run has admitted through the budgets and not yet given
// back. A run that fails or is stopped ends with events in flight; the budgets
// live on, so that close returns what is left. Safe for concurrent use.
type holding struct {
	budgets []*Budget

	mu struct {
		sync.Mutex
		events int
		bytes  int64
		closed bool
	}
}

// add notes what every budget has admitted.
func (h *holding) add(events int, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.events += events
	h.mu.bytes += bytes
}

// release gives events back that are finished.
func (h *holding) release(events int, bytes int64) {
	h.mu.Lock()
	closed := h.mu.closed
	if !closed {
		h.mu.events -= events
		h.mu.bytes -= bytes
	}
	h.mu.Unlock()
	if closed {
		return // close gave them back
	}
	for _, b := range h.budgets {
		b.Release(events, bytes)
	}
}

// close gives back everything that is left. What a call that never returned
// still holds comes back with the next run, which has to have room for it.
func (h *holding) close() {
	h.mu.Lock()
	events, bytes := h.mu.events, h.mu.bytes
	h.mu.closed, h.mu.events, h.mu.bytes = true, 0, 0
	h.mu.Unlock()
	for _, b := range h.budgets {
		b.Release(events, bytes)
	}
}
