package broker

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// Sink publishes to several topics over one connection, in order per topic, and
// tells what the server has stored. It keeps every output until it is
// confirmed, sends again what the server refused or may have lost, and never
// gives up: a full topic or a lost server blocks Add once the window is full.
//
// What is published may be stored twice only after the server or the connection
// was lost, and then the first of the two is in its place.
//
// Headers that start with "Nats-" are instructions to the server (deduplicate,
// expire, expect, purge), not data: an event that carries one would make its
// outputs vanish or block. They are left out.
//
// Add, Check and Flush are called by one goroutine; the other methods by any.
type Sink struct {
	wire      *wire
	js        jetstream.JetStream
	pipeline  string
	window    event.Room
	timing    sinkTiming
	listener  event.Listener
	confirmed func()
	inbox     []byte
	id        []byte // starts the ids of its batches
	flow      int    // messages between two acknowledgements, at the most
	names     []string
	positions []atomic.Uint64 // confirmed, by topic

	mu struct {
		sync.Mutex
		topics  []*ingest
		events  int // added and not confirmed
		bytes   int
		epoch   uint64 // of the connection
		batches uint64 // begun
		quiet   int    // bytes added since the write loop was last asked
		moved   bool   // some confirmed position moved in this run of answers
		space   chan struct{}
		timer   *time.Timer
		due     time.Time // when timer fires; zero = not armed
		closed  bool
	}
}

// kickBytes is how much gathers before the write loop is woken without a flush.
const kickBytes = 16 << 10

// Add queues a copy of m for the topic with that number and returns its
// position there, counted from 1. It blocks while the window is full. A message
// that the topic can never store is a *event.RefusedError, and nothing is
// queued. The last output added may wait for the next one, or for Flush.
func (s *Sink) Add(ctx context.Context, topic int, m *event.Output) (uint64, error) {
	g := s.mu.topics[topic] // the slice is constant
	size, err := s.refusal(ctx, g, m)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	if s.fullLocked(size) {
		if err := s.waitLocked(ctx, size); err != nil {
			s.mu.Unlock()
			return 0, err
		}
	}
	if s.mu.closed {
		s.mu.Unlock()
		return 0, ErrClosed
	}
	pos := g.ring.push(m, size)
	s.mu.events++
	s.mu.bytes += size
	s.mu.quiet += size + 64
	ask := s.mu.quiet >= kickBytes
	if ask {
		s.mu.quiet = 0
	}
	if s.mu.due.IsZero() {
		s.armLocked(s.timing.tick)
	}
	s.mu.Unlock()
	if ask {
		s.wire.want(s)
	}
	return pos, nil
}

// Check says why the topic with that number can never store m, as Add would, or
// is nil. It queues nothing and does not wait for the window. Like Add it is for
// one goroutine.
func (s *Sink) Check(ctx context.Context, topic int, m *event.Output) error {
	_, err := s.refusal(ctx, s.mu.topics[topic], m)
	return err
}

// refusal is what m takes in g's ring, or why g can never store it.
func (s *Sink) refusal(ctx context.Context, g *ingest, m *event.Output) (size int, err error) {
	return g.refusalNow(ctx, s.js, s.wire.nc.MaxPayload(), s.timing.limits, m)
}

func (s *Sink) fullLocked(size int) bool {
	return s.mu.events > 0 && (s.mu.events >= s.window.Events || s.mu.bytes+size > s.window.Bytes)
}

// waitLocked waits for space in the window and reports the time as blocked by
// the output. It unlocks meanwhile.
func (s *Sink) waitLocked(ctx context.Context, size int) error {
	report := time.NewTimer(time.Second)
	defer report.Stop()
	start := time.Now()
	blocked := func() {
		now := time.Now()
		s.listener.Blocked(s.pipeline, event.ReasonOutput, now.Sub(start))
		start = now
	}
	for s.fullLocked(size) && !s.mu.closed {
		s.flushLocked() // what is held back takes space, too
		if s.mu.space == nil {
			s.mu.space = make(chan struct{})
		}
		space := s.mu.space
		s.mu.Unlock()
		s.wire.want(s)
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
		case <-s.wire.quit:
			err = ErrClosed
		}
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Commit does nothing: every output counts by itself. There is no position to
// wait for.
func (s *Sink) Commit(context.Context, uint64) (uint64, error) { return 0, nil }

// Flush makes everything that was added so far be confirmed as soon as the
// server can. It does not wait.
func (s *Sink) Flush() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	ask := s.flushLocked()
	s.mu.Unlock()
	if ask {
		s.wire.want(s)
	}
	return nil
}

func (s *Sink) flushLocked() (ask bool) {
	for _, g := range s.mu.topics {
		if newest := g.ring.next - 1; g.flushTo < newest {
			g.flushTo = newest
			ask = true
		}
	}
	s.mu.quiet = 0
	return ask
}

// Confirmed is the highest position of that topic such that it and all before it
// are stored.
func (s *Sink) Confirmed(topic int) uint64 { return s.positions[topic].Load() }

// Err says why outputs are not being stored at the moment, or is "".
func (s *Sink) Err() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.mu.topics {
		if g.err != "" {
			return fmt.Sprintf("topic %s: %s", g.topic, g.err)
		}
	}
	if s.mu.events > 0 && !s.wire.isUp() {
		return errDisconnected.Error()
	}
	return ""
}

// Close flushes, waits until everything is confirmed or ctx ends, and ends the
// connection. What is not confirmed then is an error that says how much and why;
// it may or may not be stored. Idempotent.
func (s *Sink) Close(ctx context.Context) error {
	err := s.drain(ctx)
	s.mu.Lock()
	first := !s.mu.closed
	s.mu.closed = true
	s.mu.timer.Stop()
	s.signalLocked()
	s.mu.Unlock()
	s.wire.close()
	if !first {
		return nil
	}
	return err
}

// drain flushes and waits until nothing is unconfirmed.
func (s *Sink) drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		left := s.mu.events
		if left == 0 || s.mu.closed {
			s.mu.Unlock()
			return nil
		}
		s.flushLocked()
		if s.mu.space == nil {
			s.mu.space = make(chan struct{})
		}
		space := s.mu.space
		s.mu.Unlock()
		s.wire.want(s)
		err := ErrClosed
		select {
		case <-space:
			continue
		case <-s.wire.quit:
		case <-ctx.Done():
			err = ctx.Err()
		}
		why := s.Err()
		if why == "" {
			why = "the server has not confirmed them yet"
		}
		return fmt.Errorf("%d outputs are not confirmed: %s: %w", left, why, err)
	}
}

func (s *Sink) signalLocked() {
	if s.mu.space != nil {
		close(s.mu.space)
		s.mu.space = nil
	}
}

// fill implements feeder.
func (s *Sink) fill(buf []byte, limit int, epoch uint64) (_ []byte, more bool) {
	now := time.Now()
	for _, g := range s.mu.topics { // the slice is constant
		if len(buf) >= limit {
			return buf, true
		}
		s.mu.Lock()
		if s.mu.closed || s.mu.epoch != epoch {
			s.mu.Unlock()
			return buf, false
		}
		r, rest := g.runLocked(s, limit-len(buf), now)
		s.mu.Unlock()
		if buf = r.encode(buf); len(r.entries) > 0 {
			event.Failpoint(event.FailPublish)
		}
		more = more || rest
	}
	return buf, more
}

// connected implements wireClient: the answers to what went to an earlier
// connection will never come.
func (s *Sink) connected(epoch uint64) {
	s.mu.Lock()
	if s.mu.epoch != epoch {
		s.mu.epoch = epoch
		for _, g := range s.mu.topics {
			g.restartLocked()
		}
	}
	s.mu.Unlock()
	s.wire.want(s)
}

// begin, deliver and end implement wireSub.
func (s *Sink) begin() { s.mu.Lock() }

func (s *Sink) deliver(m *wireMsg) {
	if len(m.subject) <= len(s.inbox) || s.mu.closed {
		return
	}
	r, ok := parseFastReply(m.subject[len(s.inbox)+1:])
	if !ok || r.topic >= len(s.mu.topics) {
		return
	}
	if g := s.mu.topics[r.topic]; g.batch.open && bytes.Equal(g.batch.id, r.batch) {
		event.Failpoint(event.FailConfirmed)
		g.answerLocked(s, r.seq, m.header, m.payload)
	}
}

func (s *Sink) end() {
	now := time.Now()
	moved, ask := s.mu.moved, false
	s.mu.moved = false
	for i, g := range s.mu.topics {
		if moved {
			s.positions[i].Store(g.confirmed)
		}
		ask = ask || g.sendable(now)
		if now.Before(g.retryAt) {
			s.armLocked(g.retryAt.Sub(now))
		}
	}
	if moved {
		s.signalLocked()
	}
	s.mu.Unlock()
	if ask {
		s.wire.want(s)
	}
	if moved {
		s.confirmed()
	}
}

// armLocked makes tick run after d at the latest.
func (s *Sink) armLocked(d time.Duration) {
	if s.mu.closed {
		return
	}
	due := time.Now().Add(d)
	if s.mu.due.IsZero() || due.Before(s.mu.due) {
		s.mu.due = due
		s.mu.timer.Reset(d)
	}
}

// tick runs now and then as long as something is unconfirmed.
func (s *Sink) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.due = time.Time{}
	if s.mu.closed || s.mu.events == 0 {
		return
	}
	now := time.Now()
	ask := false
	wait := s.timing.tick
	for _, g := range s.mu.topics {
		g.tickLocked(s, now)
		ask = ask || g.sendable(now)
		if d := g.retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
		}
	}
	s.armLocked(wait)
	if ask {
		s.wire.want(s)
	}
}
