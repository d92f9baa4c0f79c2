package broker

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// wire is a NATS connection whose bulk traffic bypasses nats.go. nats.go dials,
// authenticates, keeps the connection alive and reconnects; it serves requests
// to the JetStream API on the same connection (nc). What a source or a sink
// exchanges with the server goes through subscriptions and a writer of the
// wire's own, because per message nats.go costs four allocations, two or three
// locks and a goroutine switch on the way in and a header map on the way out.
//
//	in:  link.Read → parse → wireSub.begin, deliver…, end   (nats.go's read goroutine)
//	out: want(feeder), control → write loop → fill → link.Write
//
// Lock order: a client's own lock before mu. Nothing is called under mu.
type wire struct {
	nc     *nats.Conn
	tenure *tenure                            // nil = no other process may take over
	subs   atomic.Pointer[map[uint64]wireSub] // copied on write, under mu

	mu struct {
		sync.Mutex
		link    *link  // nil while there is no connection
		epoch   uint64 // connections so far
		clients []wireClient
		lines   map[uint64]string // SUB line of each subscription
		lastSID uint64
		control []byte   // operations to write before anything a feeder has
		dirty   []feeder // feeders with something to write
		changed chan struct{}
		closed  bool
	}
	kick chan struct{} // wakes the write loop
	quit chan struct{}
	done chan struct{} // the write loop has ended
}

// wireSub receives the messages of one subscription, in runs: begin, deliver
// for each message, end. The calls come from the reading goroutine, which must
// not be kept: no blocking, no request on the same connection.
type wireSub interface {
	begin()
	deliver(m *wireMsg)
	end()
}

// wireMsg is one message. The slices are read-only views that stay valid.
type wireMsg struct {
	subject, reply, header, payload []byte
}

// wireClient is told that a new connection has replaced a lost one (or the
// first is there), and its number. It is called before anything is written to
// that connection and must not block.
type wireClient interface{ connected(epoch uint64) }

// feeder has messages to publish.
type feeder interface {
	// fill appends protocol operations to buf until it holds limit bytes, and
	// reports whether there are more. They go to the connection with that
	// number; when the feeder has heard of a later one, it must give nothing.
	// Called by the write loop only.
	fill(buf []byte, limit int, epoch uint64) (_ []byte, more bool)
}

var errDisconnected = errors.New("not connected to the NATS server")

const (
	// writeChunk is how much goes to the connection at once.
	writeChunk = 48 << 10
	// writeTimeout bounds one write: a server that does not read for so long is gone.
	writeTimeout = time.Minute
	// closeTimeout bounds each step of saying goodbye.
	closeTimeout = time.Second
)

// newWire returns a wire to be handed to nats.Connect through its option.
// start must follow, or close.
func newWire() *wire {
	w := &wire{kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	w.subs.Store(&map[uint64]wireSub{})
	w.mu.lines = make(map[uint64]string)
	w.mu.changed = make(chan struct{})
	go w.writeLoop()
	return w
}

// start gives the wire the connection that was made with its option.
func (w *wire) start(nc *nats.Conn) { w.nc = nc }

// close writes what publish has queued, makes sure that the server has read it
// (for a second at the most), ends the connection and waits for the write loop.
// Idempotent.
func (w *wire) close() {
	w.shut()
	if w.nc != nil {
		limit := time.NewTimer(closeTimeout)
		select {
		case <-w.done:
			if w.isUp() {
				// A closed socket may drop what the server has not read.
				_ = w.nc.FlushTimeout(closeTimeout)
			}
		case <-limit.C:
		}
		limit.Stop()
		w.nc.Close() // also fails a write that blocks
	}
	<-w.done
}

// shut ends everything that waits for the wire. quit is closed then.
func (w *wire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mu.closed {
		w.mu.closed = true
		close(w.quit)
		close(w.mu.changed)
	}
}

// join makes c hear of new connections. c.connected is called at once when
// there is a connection.
func (w *wire) join(c wireClient) {
	w.mu.Lock()
	w.mu.clients = append(w.mu.clients, c)
	up, epoch := w.mu.link != nil, w.mu.epoch
	w.mu.Unlock()
	if up {
		c.connected(epoch)
	}
}

// subscribe adds a subscription, which outlives reconnects, and returns its id.
// It takes effect before any operation handed over later.
func (w *wire) subscribe(subject string, s wireSub) uint64 {
	w.mu.Lock()
	w.mu.lastSID++
	sid := w.mu.lastSID
	next := make(map[uint64]wireSub, len(*w.subs.Load())+1)
	for k, v := range *w.subs.Load() {
		next[k] = v
	}
	next[sid] = s
	w.subs.Store(&next)
	line := "SUB " + subject + " " + string(sidPrefix) + strconv.FormatUint(sid, 10) + "\r\n"
	w.mu.lines[sid] = line
	if w.mu.link != nil {
		w.mu.control = append(w.mu.control, line...)
	}
	w.mu.Unlock()
	w.wake()
	return sid
}

// unsubscribe removes a subscription. What is on its way is dropped.
func (w *wire) unsubscribe(sid uint64) {
	w.mu.Lock()
	next := make(map[uint64]wireSub, len(*w.subs.Load()))
	for k, v := range *w.subs.Load() {
		if k != sid {
			next[k] = v
		}
	}
	w.subs.Store(&next)
	delete(w.mu.lines, sid)
	if w.mu.link != nil {
		w.mu.control = append(w.mu.control, "UNSUB "...)
		w.mu.control = append(w.mu.control, sidPrefix)
		w.mu.control = strconv.AppendUint(w.mu.control, sid, 10)
		w.mu.control = append(w.mu.control, "\r\n"...)
	}
	w.mu.Unlock()
	w.wake()
}

// publish queues one small message, to be written before what feeders have. It
// fails while there is no connection; success is no promise of delivery.
func (w *wire) publish(subject, reply string, payload []byte) error {
	w.mu.Lock()
	if w.mu.link == nil {
		closed := w.mu.closed
		w.mu.Unlock()
		if closed {
			return ErrClosed
		}
		return errDisconnected
	}
	b := append(w.mu.control, "PUB "...)
	b = append(b, subject...)
	b = append(b, ' ')
	if reply != "" {
		b = append(b, reply...)
		b = append(b, ' ')
	}
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, "\r\n"...)
	b = append(b, payload...)
	w.mu.control = append(b, "\r\n"...)
	w.mu.Unlock()
	w.wake()
	return nil
}

// want asks the write loop to call f.fill soon.
func (w *wire) want(f feeder) {
	w.mu.Lock()
	for _, d := range w.mu.dirty {
		if d == f {
			w.mu.Unlock()
			return
		}
	}
	w.mu.dirty = append(w.mu.dirty, f)
	w.mu.Unlock()
	w.wake()
}

func (w *wire) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// isUp reports whether there is a connection now.
func (w *wire) isUp() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.link != nil
}

// waitUp blocks until there is a connection.
func (w *wire) waitUp(ctx context.Context) error {
	for {
		w.mu.Lock()
		up, closed, changed := w.mu.link != nil, w.mu.closed, w.mu.changed
		w.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case up:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// linkUp is called by l's reading goroutine when the server has accepted it.
func (w *wire) linkUp(l *link) {
	w.mu.Lock()
	w.mu.epoch++
	l.epoch = w.mu.epoch
	clients := w.mu.clients
	w.mu.Unlock()
	for _, c := range clients {
		c.connected(l.epoch)
	}
	w.mu.Lock()
	if !l.down.Load() {
		w.mu.link = l
		w.mu.control = w.mu.control[:0]
		for _, line := range w.mu.lines {
			w.mu.control = append(w.mu.control, line...)
		}
		w.changedLocked()
	}
	w.mu.Unlock()
	w.wake()
}

// linkDown is called once for each link.
func (w *wire) linkDown(l *link) {
	w.mu.Lock()
	if w.mu.link == l {
		w.mu.link = nil
		w.mu.control = w.mu.control[:0]
		w.changedLocked()
	}
	w.mu.Unlock()
}

func (w *wire) changedLocked() {
	if !w.mu.closed {
		close(w.mu.changed)
		w.mu.changed = make(chan struct{})
	}
}

// writeLoop is the only goroutine that writes what is not nats.go's. While one
// write is under way the next gathers, so that the busier the connection, the
// larger the writes.
func (w *wire) writeLoop() {
	defer close(w.done)
	buf := make([]byte, 0, writeChunk+8<<10)
	for {
		ending := false
		select {
		case <-w.kick:
		case <-w.quit:
			ending = true
		}
		for {
			var l *link
			if buf, l = w.gather(buf[:0]); len(buf) == 0 {
				break
			}
			// A failed write leaves the stream of operations torn: closing makes
			// nats.go reconnect, and everybody starts afresh.
			if err := l.writeWithin(buf, writeTimeout); err != nil {
				_ = l.Close()
			}
			if cap(buf) > 4*writeChunk {
				buf = make([]byte, 0, writeChunk+8<<10) // one large message made it grow
			}
		}
		if ending {
			return
		}
	}
}

// gather collects what there is to write and the link to write it to. Feeders
// are asked in turn.
func (w *wire) gather(buf []byte) ([]byte, *link) {
	w.mu.Lock()
	l := w.mu.link
	if l == nil {
		w.mu.Unlock()
		return buf, nil
	}
	buf = append(buf, w.mu.control...)
	w.mu.control = w.mu.control[:0]
	n := len(w.mu.dirty)
	w.mu.Unlock()
	for ; n > 0 && len(buf) < writeChunk; n-- {
		w.mu.Lock()
		f := w.mu.dirty[0]
		w.mu.dirty = w.mu.dirty[:copy(w.mu.dirty, w.mu.dirty[1:])]
		w.mu.Unlock()
		var more bool
		if buf, more = f.fill(buf, writeChunk, l.epoch); more {
			w.want(f)
		}
	}
	return buf, l
}
