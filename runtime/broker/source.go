package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// closeStore bounds how long a source that closes waits for its position.
const closeStore = 5 * time.Second

// SourceConfig says what a pipeline reads.
type SourceConfig struct {
	Pipeline string
	Topic    string
	Filter   []string // subjects; none = all of the topic
	// Start is where a pipeline begins that has never run: "" or "all", "new",
	// or an RFC 3339 time. Later starts go on where the last one ended.
	Start string
	// Prefetch bounds what is requested from the server ahead of Fetch; zero
	// fields have defaults. It never exceeds the room given to Fetch.
	Prefetch event.Room
	// Replaced, if not nil, is called once when another process has claimed the
	// pipeline's position (ErrReplaced): nothing may be published any more. It
	// must not block.
	Replaced func()

	// begin, if set, is told the claimed position and returns the sequence up to
	// which events are not to be read.
	begin  func(ctx context.Context, claimed positionRecord) (uint64, error)
	timing sourceTiming
}

// sourceTiming holds intervals that tests shorten.
type sourceTiming struct {
	expires   time.Duration // life of a pull request
	heartbeat time.Duration // how often the server reports while it has nothing to send
	api       time.Duration // one request to the JetStream API
	retry     time.Duration // between two attempts to reach the consumer
}

func (c SourceConfig) withDefaults() SourceConfig {
	if c.Prefetch.Events <= 0 {
		c.Prefetch.Events = 4096
	}
	if c.Prefetch.Bytes <= 0 {
		c.Prefetch.Bytes = 8 << 20
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.timing.expires, time.Minute)
	def(&c.timing.heartbeat, 2*time.Second)
	def(&c.timing.api, 5*time.Second)
	def(&c.timing.retry, 250*time.Millisecond)
	return c
}

// Source reads a topic for one pipeline through its durable consumer, in
// sequence order, without loss, and each event once as long as it lives.
//
//	read goroutine: message → parse → queue
//	Fetch:          recover when need be → take from queue → top up pull requests
//
// The server sends only what was asked for: requested + queued never exceeds
// the room given to the last Fetch, nor the prefetch. Everything that could
// have lost a message on the way (a reconnect, a gap in the consumer's
// sequence, missing heartbeats, a new leader) leads to one recovery: reset the
// consumer to behind the last acknowledged event and drop what was handed out
// already. Nothing waits for the server's redelivery timer.
//
// Fetch is called by one goroutine, Ack by any, in order.
type Source struct {
	wire    *wire
	js      jetstream.JetStream
	cfg     SourceConfig
	name    string // of the consumer
	next    string // subject of pull requests
	pos     *position
	created time.Time // of the topic's stream
	log     *slog.Logger
	acked   atomic.Uint64
	notify  chan struct{} // wakes Fetch
	// silence ends the wait for a sign of the consumer. Owned by Fetch.
	silence *time.Timer

	mu struct {
		sync.Mutex
		queue []event.Event // received and not fetched, queue[head:]
		lags  []uint64      // by element of queue: events behind it when it was sent
		head  int
		bytes int // of queue[head:]

		asked      event.Room // requested and not received
		inbox      string     // where the messages of this generation go
		request    []byte     // buffer
		size       int        // average size of a message
		refused    int        // bytes that were too few for the next event, 0 = none refused
		behind     uint64     // consumer + 1 when the last heartbeat told of messages not received
		heard      time.Time  // last sign of the consumer
		last       uint64     // stream sequence of the last event queued
		consumer   uint64     // consumer sequence of the last message received
		generation uint64     // counts recoveries; older subscriptions are ignored
		sid        uint64
		reset      error // why the consumer must be reset before anything is requested
		fatal      error
		ackHead    []byte // constant part of the reply subjects
		headers    []byte // arena of converted headers
		closed     bool

		// Events up to handed were delivered before the last recovery; their
		// tokens are from then. See Ack.
		handed uint64
		again  []redelivery
		owed   uint64 // acknowledged, but not yet delivered again

		record redelivery   // of the runtime, behind the event seq and no event since
		quiet  bool         // records came since the last event that Fetch returned
		lag    uint64       // and this many events are behind them
		unsent []redelivery // acknowledged, but the position is not stored yet
		moved  func()       // see OnDurable
	}
}

// redelivery is the current token of an event that was handed out with an older one.
type redelivery struct {
	seq   uint64
	token string
}

var errNeverReset = errors.New("the source starts")

// sourceSub is the subscription of one generation.
type sourceSub struct {
	s          *Source
	generation uint64
	woken      bool
	now        time.Time
}

func (u *sourceSub) begin() {
	u.now = time.Now()
	u.s.mu.Lock()
}

func (u *sourceSub) deliver(m *wireMsg) {
	s := u.s
	if u.generation != s.mu.generation || s.mu.reset != nil || s.mu.closed {
		return
	}
	s.mu.heard = u.now
	if len(m.reply) == 0 {
		s.statusLocked(m)
		u.woken = true
		return
	}
	s.messageLocked(m)
	u.woken = true
}

func (u *sourceSub) end() {
	s := u.s
	var token string
	if s.mu.owed > 0 {
		token = s.owedLocked()
	}
	s.mu.Unlock()
	if token != "" {
		_ = s.sendAck(token)
	}
	if u.woken {
		u.woken = false
		s.wake()
	}
}

func (s *Source) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// messageLocked takes one event.
func (s *Source) messageLocked(m *wireMsg) {
	var d delivery
	var err error
	head := s.mu.ackHead
	if n := len(head); n > 0 && bytes.HasPrefix(m.reply, head) {
		d, err = parseAckTail(m.reply[n:])
	} else {
		var n int
		if d, n, err = parseAckReply(m.reply); err == nil {
			s.mu.ackHead = append([]byte(nil), m.reply[:n]...)
		}
	}
	if err != nil {
		s.needResetLocked(fmt.Errorf("%w: %q", err, m.reply))
		return
	}
	size := len(m.subject) + len(m.reply) + len(m.header) + len(m.payload) // as the server counts
	s.mu.size += (size - s.mu.size) / 16
	s.mu.asked.Events = max(s.mu.asked.Events-1, 0)
	s.mu.asked.Bytes = max(s.mu.asked.Bytes-size, 0)
	s.mu.refused, s.mu.behind = 0, 0
	if d.consumerSeq != s.mu.consumer+1 {
		s.needResetLocked(fmt.Errorf("message %d of the consumer follows message %d", d.consumerSeq, s.mu.consumer))
		return
	}
	s.mu.consumer = d.consumerSeq
	if d.streamSeq <= s.mu.last {
		if d.streamSeq <= s.mu.handed {
			s.mu.again = append(s.mu.again, redelivery{d.streamSeq, string(m.reply)})
		}
		return // room is free again
	}
	if isExactSubjects(asString(m.subject)) {
		s.recordLocked(d, m.reply)
		return
	}
	s.mu.last = d.streamSeq
	s.mu.queue = append(s.mu.queue, event.Event{})
	e := &s.mu.queue[len(s.mu.queue)-1]
	e.Attempt = 1
	e.Seq = d.streamSeq
	e.Time = d.time
	e.Subject = m.subject
	e.Payload = m.payload
	e.Ack = asString(m.reply)
	if len(m.header) > 0 {
		s.headersLocked(e, m.header)
	}
	s.mu.lags = append(s.mu.lags, d.pending)
	s.mu.bytes += e.Size()
}

// recordLocked passes over a record that the runtime keeps in the topic (see
// Exact): it is no event, and does not count as one that waits.
func (s *Source) recordLocked(d delivery, reply []byte) {
	s.mu.record = redelivery{s.mu.last, string(reply)}
	if n := len(s.mu.lags); n > s.mu.head {
		s.mu.lags[n-1] = d.pending
		return
	}
	s.mu.quiet, s.mu.lag = true, d.pending
}

// headersLocked converts a NATS header block into abi header entries, in the
// order of the block.
func (s *Source) headersLocked(e *event.Event, block []byte) {
	const chunk = 32 << 10
	if cap(s.mu.headers)-len(s.mu.headers) < 3*len(block) {
		// An entry is at most 9/4 as long as its line.
		s.mu.headers = make([]byte, 0, max(chunk, 3*len(block)))
	}
	from := len(s.mu.headers)
	out, n := appendNATSHeaders(s.mu.headers, block)
	s.mu.headers = out
	e.HeaderCount = uint32(n)
	e.Headers = out[from:len(out):len(out)]
}

// Fetch blocks until there is at least one event, appends what is at hand to
// dst, never more than room, and returns it with the number of events that the
// topic still holds for the pipeline behind the last one. It returns without an
// event when only that number has changed. At least one event is
// returned even if it alone is larger than room.Bytes. The slices of an event
// are views, to be read only, valid as long as they are held.
//
// An error is permanent (the consumer or the topic was deleted, the source was
// closed) or ctx's; a cancelled Fetch loses nothing.
func (s *Source) Fetch(ctx context.Context, dst []event.Event, room event.Room) ([]event.Event, uint64, error) {
	for {
		s.mu.Lock()
		if err := s.errLocked(); err != nil {
			s.mu.Unlock()
			return dst, 0, err
		}
		if s.mu.head < len(s.mu.queue) {
			var lag uint64
			dst, lag = s.takeLocked(dst, room)
			s.mu.Unlock()
			return dst, lag, nil
		}
		if s.mu.quiet {
			s.mu.quiet = false
			lag := s.mu.lag
			s.mu.Unlock()
			return dst, lag, nil
		}
		if why := s.mu.reset; why != nil {
			s.mu.Unlock()
			if err := s.recover(ctx, why); err != nil {
				return dst, 0, err
			}
			continue
		}
		s.topUpLocked(room, true)
		silent := s.cfg.timing.heartbeat*2 + s.cfg.timing.heartbeat/2 - time.Since(s.mu.heard)
		if silent <= 0 {
			s.needResetLocked(errors.New("no heartbeat from the consumer"))
			s.mu.Unlock()
			continue
		}
		s.mu.Unlock()
		if err := s.await(ctx, silent); err != nil {
			return dst, 0, err
		}
	}
}

// await blocks until something came, or for d.
func (s *Source) await(ctx context.Context, d time.Duration) error {
	s.silence.Reset(d)
	defer s.silence.Stop()
	select {
	case <-s.notify:
	case <-s.silence.C:
	case <-s.wire.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (s *Source) errLocked() error {
	if s.mu.closed {
		return ErrClosed
	}
	return s.mu.fatal
}

// takeLocked moves queued events to dst and tops the requests up for what then
// is left of room.
func (s *Source) takeLocked(dst []event.Event, room event.Room) ([]event.Event, uint64) {
	n, bytes := 0, 0
	for _, e := range s.mu.queue[s.mu.head:] {
		size := e.Size()
		if n > 0 && (n >= room.Events || bytes+size > room.Bytes) {
			break
		}
		n++
		bytes += size
	}
	from := s.mu.head
	s.mu.head += n
	s.mu.bytes -= bytes
	dst = append(dst, s.mu.queue[from:s.mu.head]...)
	lag := s.mu.lags[s.mu.head-1]
	clear(s.mu.queue[from:s.mu.head]) // lets go of the buffers
	if s.mu.head == len(s.mu.queue) {
		s.mu.queue, s.mu.lags, s.mu.head = s.mu.queue[:0], s.mu.lags[:0], 0
	} else if s.mu.head > 4096 && s.mu.head > len(s.mu.queue)/2 {
		k := copy(s.mu.queue, s.mu.queue[s.mu.head:])
		clear(s.mu.queue[k:])
		copy(s.mu.lags, s.mu.lags[s.mu.head:])
		s.mu.queue, s.mu.lags, s.mu.head = s.mu.queue[:k], s.mu.lags[:k], 0
	}
	if s.mu.reset == nil {
		s.topUpLocked(event.Room{Events: room.Events - n, Bytes: room.Bytes - bytes}, false)
	}
	return dst, lag
}

// Err says why nothing can be fetched at the moment, or is "".
func (s *Source) Err() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.fatal != nil:
		return s.mu.fatal.Error()
	case !s.wire.isUp():
		return errDisconnected.Error()
	case s.mu.reset != nil:
		return s.mu.reset.Error()
	}
	return ""
}

// PositionErr says why the position is not being stored at the moment, or is "".
func (s *Source) PositionErr() string { return s.pos.trouble() }

// Close ends the source and its connection, after the position of what was
// acknowledged is stored, for closeStore at the most. The consumer stays. A Fetch
// that blocks returns. Idempotent.
func (s *Source) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeStore)
	defer cancel()
	s.pos.close(ctx)
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.wake()
	s.wire.close()
	return nil
}

// needResetLocked makes the next Fetch recover.
func (s *Source) needResetLocked(why error) {
	if s.mu.reset == nil {
		s.mu.reset = why
	}
}

// connected implements wireClient.
func (s *Source) connected(uint64) {
	s.mu.Lock()
	s.needResetLocked(errors.New("the connection is new"))
	s.mu.Unlock()
	s.wake()
}

// appendNATSHeaders appends the lines of a NATS header block ("NATS/1.0\r\n"
// first) to dst as abi header entries and returns how many.
func appendNATSHeaders(dst, block []byte) ([]byte, int) {
	n := 0
	for line := range headerLines(block) {
		key, value, ok := cutHeader(line)
		if !ok {
			continue // nats.go would refuse the block: keep what is sound
		}
		dst = abi.AppendHeader(dst, asString(key), asString(value))
		n++
	}
	return dst, n
}

// asString and asBytes look at the same bytes under the other type. The bytes
// must not change as long as either is in use.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
