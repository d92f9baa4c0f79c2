package pipeline

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// Budget holds the limits of one plugin over all pipelines that use it: events
// and bytes in flight, and events per second. Each pipeline draws on it through
// a Share of its own.
//
// Invariant A3: what is in flight over all shares never exceeds the limits, but
// for one event of each pipeline, which always passes: no pipeline waits for
// what another may hold for ever.
//
// Invariant A4: a quarter of the limits is set aside, in equal reserves, for
// the pipelines that use the plugin. What lies in the reserve of one cannot be
// taken by another, so that a pipeline that lets go of nothing leaves its
// neighbours room to work with. The rest is for whoever comes first: waiters
// are served in the order they came, and one that waits for the rest does not
// hold up those behind it that still have room in their own reserve.
//
// Safe for concurrent use.
type Budget struct {
	mu struct {
		sync.Mutex
		maxEvents int
		maxBytes  int64
		rate      float64 // events/s; 0 = unlimited
		tokens    float64 // of the rate; at most a tenth of a second's worth
		refilled  time.Time
		shares    map[string]*Share
		users     int      // shares with a reserve
		waiting   []*Share // in the order they came
	}
}

// reserved is the part of the limits that all reserves are together: 1/reserved.
const reserved = 4

// Share is the part of one pipeline in a Budget. Only one Acquire may wait at a
// time; otherwise safe for concurrent use.
type Share struct {
	budget   *Budget
	pipeline string

	// Guarded by the budget's lock.
	user    bool // has a reserve; false once the pipeline does not use the plugin any more
	events  int  // in flight
	bytes   int64
	asked   []int // sizes that the waiting Acquire asks for
	granted int
	turn    chan struct{} // capacity 1: granted has been set
}

// NewBudget returns the budget of a plugin. events and bytes must be positive;
// a rate of 0 is no limit.
func NewBudget(events int, bytes int64, rate float64) *Budget {
	b := &Budget{}
	b.mu.shares = map[string]*Share{}
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
	b.grantLocked()
}

// Usage is what is in flight for a plugin, against its limits.
type Usage struct {
	Events, MaxEvents int
	Bytes, MaxBytes   int64
	Rate              float64 // events/s; 0 = no limit
}

// Usage returns what is in flight over all shares now.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := Usage{MaxEvents: b.mu.maxEvents, MaxBytes: b.mu.maxBytes, Rate: b.mu.rate}
	for _, s := range b.mu.shares {
		u.Events += s.events
		u.Bytes += s.bytes
	}
	return u
}

// SetUsers says which pipelines use the plugin: each has a reserve from now on,
// and no other has. What a pipeline that is gone still holds counts until it is
// released. A pipeline that joins a budget whose limits are used up has its
// reserve at once; until the others have let go of as much, more than the limits
// is in flight by that.
func (b *Budget) SetUsers(pipelines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range pipelines {
		b.shareLocked(name)
	}
	for name, s := range b.mu.shares {
		if s.user && !slices.Contains(pipelines, name) {
			s.user = false
			b.mu.users--
			b.forgetLocked(s)
		}
	}
	b.grantLocked()
}

// Share returns the share of a pipeline, which is one of the users from now on.
func (b *Budget) Share(pipeline string) *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shareLocked(pipeline)
}

func (b *Budget) shareLocked(pipeline string) *Share {
	s := b.mu.shares[pipeline]
	if s == nil {
		s = &Share{budget: b, pipeline: pipeline, turn: make(chan struct{}, 1)}
		b.mu.shares[pipeline] = s
	}
	if !s.user {
		s.user = true
		b.mu.users++
	}
	return s
}

// forgetLocked drops the share of a pipeline that is gone and holds nothing.
func (b *Budget) forgetLocked(s *Share) {
	if !s.user && s.events == 0 && len(s.asked) == 0 {
		delete(b.mu.shares, s.pipeline)
	}
}

// reserveLocked is what is set aside for s.
func (b *Budget) reserveLocked(s *Share) (events int, bytes int64) {
	if !s.user {
		return 0, 0
	}
	n := reserved * b.mu.users
	return max(b.mu.maxEvents/n, 1), max(b.mu.maxBytes/int64(n), 1)
}

// freeLocked is how much s may still take: what is left of its own reserve and,
// with all set, of what no other holds or has in reserve.
func (b *Budget) freeLocked(s *Share, all bool) (events int, bytes int64) {
	ownEvents, ownBytes := b.reserveLocked(s)
	events, bytes = ownEvents-s.events, ownBytes-s.bytes
	if all {
		restEvents, restBytes := b.mu.maxEvents-s.events, b.mu.maxBytes-s.bytes
		for _, o := range b.mu.shares {
			if o != s {
				e, n := b.reserveLocked(o)
				restEvents -= max(o.events, e)
				restBytes -= max(o.bytes, n)
			}
		}
		events, bytes = max(events, restEvents), max(bytes, restBytes)
	}
	if s.events == 0 { // one event always passes
		events, bytes = max(events, 1), max(bytes, 1)
	}
	return max(events, 0), max(bytes, 0)
}

// Free returns how much the pipeline may take now.
func (s *Share) Free() event.Room {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	events, bytes := s.budget.freeLocked(s, true)
	return event.Room{Events: events, Bytes: int(bytes)}
}

// reportEvery is how often a wait is reported while it lasts.
const reportEvery = time.Second

// Acquire admits the longest prefix of the given event sizes that the limits
// allow and returns its length, at least 1. It blocks while not even one event
// is allowed, and reports the time and reason to blocked, every second. The
// slice is not used after Acquire has returned.
func (s *Share) Acquire(ctx context.Context, sizes []int, blocked func(reason string, d time.Duration)) (int, error) {
	b := s.budget
	b.mu.Lock()
	drain(s.turn)
	s.asked, s.granted = sizes, 0
	b.mu.waiting = append(b.mu.waiting, s)
	b.grantLocked()
	n := s.granted
	b.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	timer := time.NewTimer(reportEvery)
	defer timer.Stop()
	for {
		b.mu.Lock()
		reason, wait := b.reasonLocked(s)
		b.mu.Unlock()
		timer.Reset(min(wait, reportEvery))
		start := time.Now()
		var err error
		select {
		case <-s.turn:
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		blocked(reason, time.Since(start))
		b.mu.Lock()
		if err == nil {
			b.grantLocked() // there may be tokens now
		}
		n := s.granted
		if n == 0 && err != nil {
			b.mu.waiting = slices.DeleteFunc(b.mu.waiting, func(w *Share) bool { return w == s })
			s.asked = nil
			b.grantLocked() // those behind it
		}
		b.mu.Unlock()
		switch {
		case n > 0:
			return n, nil // even if ctx has ended meanwhile: the caller releases it
		case err != nil:
			return 0, err
		}
	}
}

// Release returns events that are finished.
func (s *Share) Release(events int, bytes int64) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.events -= events
	s.bytes -= bytes
	b.forgetLocked(s)
	b.grantLocked()
}

// grantLocked serves the waiters in the order they came. Once one of them has
// to wait for what is common to all, those behind it have their reserves alone;
// tokens of the rate are for the first that could go on with one.
func (b *Budget) grantLocked() {
	if len(b.mu.waiting) == 0 {
		return
	}
	if b.mu.rate > 0 {
		now := time.Now()
		b.mu.tokens = min(b.mu.tokens+now.Sub(b.mu.refilled).Seconds()*b.mu.rate, max(b.mu.rate/10, 1))
		b.mu.refilled = now
	}
	all := true
	left := b.mu.waiting[:0]
	for i, s := range b.mu.waiting {
		if b.mu.rate > 0 && b.mu.tokens < 1 {
			left = append(left, b.mu.waiting[i:]...)
			break
		}
		if n := b.admitLocked(s, all); n == 0 {
			all = false
			left = append(left, s)
			continue
		}
		signal(s.turn)
	}
	clear(b.mu.waiting[len(left):])
	b.mu.waiting = left
}

// admitLocked takes as many of what s asks for as may pass.
func (b *Budget) admitLocked(s *Share, all bool) int {
	events, free := b.freeLocked(s, all)
	limit := min(len(s.asked), events)
	if b.mu.rate > 0 {
		limit = min(limit, int(b.mu.tokens))
	}
	n, bytes := 0, int64(0)
	for n < limit {
		size := int64(s.asked[n])
		if bytes+size > free && s.events+n > 0 {
			break
		}
		bytes += size
		n++
	}
	if n == 0 {
		return 0
	}
	s.events += n
	s.bytes += bytes
	if b.mu.rate > 0 {
		b.mu.tokens -= float64(n)
	}
	s.granted, s.asked = n, nil
	return n
}

// reasonLocked says what the waiting s waits for, and how long that takes at
// the most before it is worth trying again.
func (b *Budget) reasonLocked(s *Share) (string, time.Duration) {
	events, bytes := b.freeLocked(s, true)
	switch {
	case len(s.asked) == 0: // granted meanwhile
		return event.ReasonPluginEvents, 0
	case events == 0:
		return event.ReasonPluginEvents, time.Hour
	case s.events > 0 && int64(s.asked[0]) > bytes:
		return event.ReasonPluginBytes, time.Hour
	case b.mu.rate > 0 && b.mu.tokens < 1:
		wait := time.Duration((1 - b.mu.tokens) / b.mu.rate * float64(time.Second))
		return event.ReasonRate, max(wait, time.Millisecond) // several tokens at once, not a wake-up for each
	default: // it waits behind another for what both could have
		return event.ReasonPluginEvents, time.Hour
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// holding is what one run has admitted through its shares and not yet given
// back. A run that fails or is stopped ends with events in flight; the budgets
// live on, so that close returns what is left. Safe for concurrent use.
type holding struct {
	shares []*Share

	mu struct {
		sync.Mutex
		events int
		bytes  int64
		closed bool
	}
}

// add notes what every share has admitted.
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
	for _, s := range h.shares {
		s.Release(events, bytes)
	}
}

// close gives back everything that is left. What a call that never returned
// still holds comes back with the next run, which has to have room for it.
func (h *holding) close() {
	h.mu.Lock()
	events, bytes := h.mu.events, h.mu.bytes
	h.mu.closed, h.mu.events, h.mu.bytes = true, 0, 0
	h.mu.Unlock()
	for _, s := range h.shares {
		s.Release(events, bytes)
	}
}
