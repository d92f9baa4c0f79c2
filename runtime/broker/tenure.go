package broker

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tenure is the time for which this process may act for a pipeline that other
// processes may take over: the data path's side of a Lease. Invariant A10: no
// byte of a source or a sink goes to an external server when it is over.
//
// A process that was stopped, or whose machine slept, wakes up in the middle of
// whatever it did and knows nothing of it. So the tenure is checked against a
// clock that goes on meanwhile, directly before each write(2), below nats.go and
// TLS, and also between the pieces of a write that the socket takes bit by bit.
// And what a socket still holds of an owner that is cut off from the server must
// not be delivered when the network is back: end resets the connections, which
// drops it.
type tenure struct {
	until atomic.Int64  // on the clock of uptime; 0 = over for good
	gone  chan struct{} // closed by end

	mu struct {
		sync.Mutex
		ended bool
		conns map[*guardedConn]struct{}
	}
}

var errTenureOver = errors.New("another process may run the pipeline now")

func newTenure() *tenure {
	t := &tenure{gone: make(chan struct{})}
	t.mu.conns = make(map[*guardedConn]struct{})
	return t
}

// extend makes the tenure last until at, on the clock of uptime.
func (t *tenure) extend(at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.ended {
		t.until.Store(int64(at))
	}
}

// over reports whether nothing may be written now.
func (t *tenure) over() bool { return int64(uptime()) >= t.until.Load() }

// end ends the tenure for good and resets its connections. Idempotent.
func (t *tenure) end() {
	t.mu.Lock()
	if !t.mu.ended {
		close(t.gone)
	}
	t.mu.ended = true
	t.until.Store(0)
	conns := t.mu.conns
	t.mu.conns = nil
	t.mu.Unlock()
	for c := range conns {
		_ = c.tcp.SetLinger(0) // fails on a closed connection, which is as good
		_ = c.tcp.Close()
	}
}

// guard makes conn write only during the tenure. A nil tenure guards nothing.
func (t *tenure) guard(conn net.Conn) (net.Conn, error) {
	if t == nil {
		return conn, nil
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.New("a connection that is not TCP cannot be fenced")
	}
	c := &guardedConn{Conn: conn, tcp: tcp, tenure: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.ended {
		return nil, errTenureOver
	}
	t.mu.conns[c] = struct{}{}
	return c, nil
}

// guardedConn is a connection to an external server that is used during one
// tenure only.
type guardedConn struct {
	net.Conn
	tcp    *net.TCPConn
	tenure *tenure
}

// Close implements net.Conn.
func (c *guardedConn) Close() error {
	c.tenure.mu.Lock()
	delete(c.tenure.mu.conns, c)
	c.tenure.mu.Unlock()
	return c.Conn.Close()
}
