package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// ExactSink takes the outputs of one partition of an exactly-once pipeline and
// gathers them in groups: all that one event has caused, or one that no event
// has. The Exact that it belongs to commits whole groups, of all partitions.
//
// Add, Check, Commit and Flush are called by one goroutine; the other methods by
// any.
type ExactSink struct {
	exact     *Exact
	partition int
	notify    func()
	intakes   []intake      // by stream; owned by Add
	confirmed atomic.Uint64 // calls of Commit whose groups are all stored

	mu struct {
		sync.Mutex
		ring   ring
		taken  uint64  // position in the ring behind the groups that were taken
		stream []uint8 // by output in the ring, oldest first: where it goes
		groups []group // closed and not taken, oldest first
		open   group   // of the newest outputs
		opened bool
		ends   uint64 // calls of Commit
		events int    // outputs in the ring
		bytes  int
		space  chan struct{}
		closed bool
	}
}

// group is what is committed together at least: the outputs before position to
// that no earlier group has.
type group struct {
	n     int    // outputs
	to    uint64 // position in the ring behind the last output
	cause uint64 // the event; all up to it are finished with this group, 0 = none
	ends  uint64 // calls of Commit that are answered with it
	home  int    // outputs to the stream of the checkpoint
	size  int    // bytes of those
	side  int    // bytes of the others, in the journal
}

// Add queues a copy of m for the topic with that number. It blocks while more is
// queued than the window allows. A message that the topic can never store is a
// *event.RefusedError, and nothing is queued. There is no position to wait for:
// Commit returns it.
func (s *ExactSink) Add(ctx context.Context, topic int, m *event.Output) (uint64, error) {
	stream := s.exact.byTopic[topic]
	size, err := s.refusal(ctx, stream, m)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	if s.mu.opened && m.Cause != s.mu.open.cause && m.Cause != 0 {
		s.closeLocked() // invariant A2: events come in order, so the one before is done
		if s.mu.events >= maxAtomic {
			s.exact.wake()
		}
	}
	if s.fullLocked(size) {
		if err := s.waitLocked(ctx, size); err != nil {
			s.mu.Unlock()
			return 0, err
		}
	}
	if err := s.usableLocked(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	if !s.mu.opened {
		s.mu.opened, s.mu.open = true, group{cause: m.Cause}
	}
	if s.exact.again.drop(stream, m.Cause) {
		s.mu.Unlock()
		return 0, nil
	}
	s.mu.ring.push(m, size)
	s.mu.stream = append(s.mu.stream, uint8(stream))
	s.mu.events++
	s.mu.bytes += size
	s.mu.open.n++
	if stream == 0 {
		s.mu.open.home++
		s.mu.open.size += size
	} else {
		s.mu.open.side += size + journalOverhead
	}
	s.mu.Unlock()
	return 0, nil
}

// Check says why the topic with that number can never store m, as Add would.
func (s *ExactSink) Check(ctx context.Context, topic int, m *event.Output) error {
	_, err := s.refusal(ctx, s.exact.byTopic[topic], m)
	return err
}

func (s *ExactSink) refusal(ctx context.Context, stream int, m *event.Output) (int, error) {
	e := s.exact
	return s.intakes[stream].refusalNow(ctx, e.js, e.wire.nc.MaxPayload(), 5*time.Second, m)
}

// Commit says that everything that the events of this partition up to seq have
// caused is added, also where that is nothing; 0 says so of outputs that no event
// has caused. It returns the position that Confirmed reaches when that is stored.
func (s *ExactSink) Commit(_ context.Context, seq uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return 0, err
	}
	s.mu.ends++
	switch n := len(s.mu.groups); {
	case s.mu.opened:
		s.mu.open.cause = max(s.mu.open.cause, seq)
		s.mu.open.ends++
		s.closeLocked()
	case n > 0: // the last group takes the events without outputs along
		g := &s.mu.groups[n-1]
		g.cause = max(g.cause, seq)
		g.ends++
	default:
		s.mu.groups = append(s.mu.groups, group{to: s.mu.ring.next, cause: seq, ends: 1})
	}
	s.exact.wake()
	return s.mu.ends, nil
}

// closeLocked ends the open group.
func (s *ExactSink) closeLocked() {
	s.mu.open.to = s.mu.ring.next
	s.mu.groups = append(s.mu.groups, s.mu.open)
	s.mu.opened, s.mu.open = false, group{}
}

// Flush has the groups that are closed committed as soon as what is before them is.
func (s *ExactSink) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exact.wake()
	return s.usableLocked()
}

// Confirmed is the highest position that Commit returned such that everything
// before it is stored, in all topics.
func (s *ExactSink) Confirmed(int) uint64 { return s.confirmed.Load() }

// Err says why outputs are not being stored at the moment, or is "".
func (s *ExactSink) Err() string { return s.exact.trouble() }

func (s *ExactSink) usableLocked() error {
	if s.mu.closed {
		return ErrClosed
	}
	return s.exact.failure()
}

// fullLocked reports whether Add has to wait. It never does for an event whose
// outputs alone are more than the window: they are committed together.
func (s *ExactSink) fullLocked(size int) bool {
	w := s.exact.cfg.Window
	return s.mu.events > s.mu.open.n && (s.mu.events >= w.Events || s.mu.bytes+size > w.Bytes)
}

// waitLocked waits for space in the window. It unlocks meanwhile.
func (s *ExactSink) waitLocked(ctx context.Context, size int) error {
	report := time.NewTimer(time.Second)
	defer report.Stop()
	start := time.Now()
	blocked := func() {
		now := time.Now()
		s.exact.listener.Blocked(s.exact.cfg.Pipeline, event.ReasonOutput, now.Sub(start))
		start = now
	}
	for s.fullLocked(size) && s.usableLocked() == nil {
		if s.mu.space == nil {
			s.mu.space = make(chan struct{})
		}
		space := s.mu.space
		s.mu.Unlock()
		s.exact.wake()
		var err error
		select {
		case <-space:
			blocked()
		case <-report.C:
			blocked()
			report.Reset(time.Second)
		case <-ctx.Done():
			blocked()
			err = ctx.Err()
		case <-s.exact.ended:
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// take moves groups into c, as long as there is room for them.
func (s *ExactSink) take(c *commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.mu.groups) && c.fits(&s.mu.groups[n]) {
		n++
	}
	if n == 0 {
		return
	}
	from := s.mu.ring.next - uint64(len(s.mu.stream))
	p := part{sink: s}
	for i := range s.mu.groups[:n] {
		g := &s.mu.groups[i]
		p.cause, p.ends = max(p.cause, g.cause), p.ends+g.ends
		for at := s.mu.taken; at < g.to; at++ {
			c.add(int(s.mu.stream[at-from]), s.mu.ring.at(at))
		}
		s.mu.taken = g.to
	}
	p.to = s.mu.taken
	c.parts = append(c.parts, p)
	s.mu.groups = s.mu.groups[:copy(s.mu.groups, s.mu.groups[n:])]
}

// stored frees what p took, which is stored in all topics now.
func (s *ExactSink) stored(p part) {
	s.mu.Lock()
	n := 0
	for s.mu.ring.first < p.to {
		s.mu.bytes -= s.mu.ring.pop()
		s.mu.events--
		n++
	}
	s.mu.stream = s.mu.stream[:copy(s.mu.stream, s.mu.stream[n:])]
	s.signalLocked()
	s.mu.Unlock()
	s.confirmed.Add(p.ends)
	s.notify()
}

func (s *ExactSink) signalLocked() {
	if s.mu.space != nil {
		close(s.mu.space)
		s.mu.space = nil
	}
}

// Close waits until every group that is closed is stored, or ctx ends. What
// belongs to an event that is not finished is dropped: the event comes back.
// Idempotent.
func (s *ExactSink) Close(ctx context.Context) error {
	for {
		s.mu.Lock()
		left := s.mu.ends - s.confirmed.Load()
		if s.mu.closed || left == 0 && len(s.mu.groups) == 0 {
			s.mu.closed = true
			s.mu.Unlock()
			return nil
		}
		if s.mu.space == nil {
			s.mu.space = make(chan struct{})
		}
		space := s.mu.space
		s.mu.Unlock()
		s.exact.wake()
		var err error
		select {
		case <-space:
			continue
		case <-s.exact.ended:
			err = s.exact.failure()
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
		s.mu.closed = true
		s.mu.Unlock()
		why := s.Err()
		if why == "" {
			why = "the server has not confirmed them yet"
		}
		return fmt.Errorf("%d batches are not committed: %s: %w", left, why, err)
	}
}
