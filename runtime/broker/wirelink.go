package broker

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	linkFirst   = 16 << 10  // bytes of the first read buffer; they double as traffic fills them
	linkChunk   = 128 << 10 // bytes of a read buffer under load
	linkMinRead = 4 << 10   // below this much free space a new buffer is taken
	linkMaxLine = 1 << 20   // a longer protocol line is not the NATS protocol
	sidPrefix   = 'w'       // starts the subscription ids of a wire; nats.go's are numbers
)

// link is one network connection under a wire: nats.go reads from it and
// writes to it as if it were the net.Conn, and never sees the frames of the
// wire's own subscriptions, which go to them straight from the read buffer.
// Frames are views into that buffer; a buffer is never written twice, so they
// stay valid as long as somebody holds them.
//
// Read runs in nats.go's reading goroutine (while it connects, in the
// connecting one) and is not concurrent with itself. Write may be called by
// nats.go and the wire's writer at once: both hand over whole protocol
// operations only.
type link struct {
	net.Conn
	wire *wire

	epoch   uint64 // set once, by linkUp
	writeMu sync.Mutex
	down    atomic.Bool

	// Owned by the reading goroutine.
	buf   []byte // read so far, of which buf[at:] is not parsed
	at    int
	lent  bool   // a frame of buf was handed out
	pass  []byte // what nats.go has yet to read
	skip  int    // bytes of a frame for nats.go that are still to come
	need  int    // a whole frame at buf[at:] has so many bytes
	size  int    // of the next buffer
	raw   bool   // not the NATS protocol: everything is nats.go's
	ready bool   // the server has accepted CONNECT
}

func newLink(conn net.Conn, w *wire) *link { return &link{Conn: conn, wire: w, size: linkFirst} }

// Read implements net.Conn for nats.go.
func (l *link) Read(p []byte) (int, error) {
	for {
		if len(l.pass) > 0 {
			n := copy(p, l.pass)
			l.pass = l.pass[n:]
			if len(l.pass) == 0 {
				l.pass = nil
			}
			return n, nil
		}
		l.makeRoom()
		n, err := l.Conn.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		l.parse()
		if err != nil && len(l.pass) == 0 {
			l.lost(err)
			return 0, err
		}
	}
}

// lost tells the wire once that nothing comes from here any more. A read that
// only ran into nats.go's deadline for the handshake counts too: nats.go gives
// the connection up then.
func (l *link) lost(error) {
	if !l.down.Swap(true) {
		l.wire.linkDown(l)
	}
}

// Close implements net.Conn.
func (l *link) Close() error {
	err := l.Conn.Close()
	l.lost(net.ErrClosed)
	return err
}

// Write implements net.Conn. It writes p whole or fails.
func (l *link) Write(p []byte) (int, error) {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	return l.Conn.Write(p)
}

// writeWithin writes p whole, or fails after d.
func (l *link) writeWithin(p []byte, d time.Duration) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	_ = l.SetWriteDeadline(time.Now().Add(d)) // fails on a closed connection, as Write will
	_, err := l.Conn.Write(p)
	_ = l.SetWriteDeadline(time.Time{})
	return err
}

// makeRoom makes space to read into behind what is not parsed yet.
func (l *link) makeRoom() {
	rest := len(l.buf) - l.at
	if rest == 0 && !l.lent && cap(l.buf) > 0 {
		l.buf, l.at = l.buf[:0], 0
		return
	}
	want := max(l.need-rest, linkMinRead)
	if cap(l.buf)-len(l.buf) >= want {
		return
	}
	// A frame that began in the old buffer moves to the new one.
	next := make([]byte, rest, max(l.size, rest+want))
	l.size = min(2*l.size, linkChunk)
	copy(next, l.buf[l.at:])
	l.buf, l.at, l.lent = next, 0, false
}

// parse takes every whole frame from buf[at:].
func (l *link) parse() {
	var open wireSub // the subscription between whose begin and end we are
	defer func() {
		if open != nil {
			open.end()
		}
	}()
	if len(l.buf)-l.at < l.need {
		return // known to be incomplete
	}
	l.need = 0
	subs := *l.wire.subs.Load()
	for l.at < len(l.buf) {
		b := l.buf[l.at:]
		if l.raw {
			l.forward(len(b))
			return
		}
		if l.skip > 0 {
			n := min(l.skip, len(b))
			l.skip -= n
			l.forward(n)
			continue
		}
		eol := bytes.IndexByte(b, '\n')
		if eol < 0 {
			l.raw = len(b) > linkMaxLine
			l.need = len(b) + 1
			return
		}
		line := b[:eol+1]
		switch b[0] {
		case 'M', 'm', 'H', 'h':
			f, ok := parseMsgLine(line)
			if !ok {
				l.forward(len(line)) // not a message after all: nats.go reports what it is
				continue
			}
			whole := len(line) + f.total + 2
			if !f.own {
				l.skip = whole
				continue
			}
			if len(b) < whole {
				l.need = whole
				return
			}
			l.at += whole
			sub := subs[f.sid]
			if sub == nil {
				continue // unsubscribed while on its way
			}
			if sub != open {
				if open != nil {
					open.end()
				}
				open = sub
				open.begin()
			}
			l.lent = true
			body := b[len(line) : len(line)+f.total : len(line)+f.total]
			open.deliver(&wireMsg{subject: f.subject, reply: f.reply, header: body[:f.header:f.header], payload: body[f.header:]})
		case 'P', 'p':
			if len(line) > 2 && (line[1] == 'O' || line[1] == 'o') && !l.ready {
				// The answer to the PING behind CONNECT.
				l.ready = true
				l.forward(len(line))
				if open != nil {
					open.end()
					open = nil
				}
				l.wire.linkUp(l)
				continue
			}
			l.forward(len(line))
		default:
			l.forward(len(line))
		}
	}
}

func (l *link) forward(n int) {
	l.pass = append(l.pass, l.buf[l.at:l.at+n]...)
	l.at += n
}

// msgLine is a parsed MSG or HMSG line.
type msgLine struct {
	subject, reply []byte
	sid            uint64
	own            bool // the sid is a wire's
	header, total  int
}

// parseMsgLine parses "MSG subject sid [reply] total" and
// "HMSG subject sid [reply] header total", each with CRLF.
func parseMsgLine(line []byte) (f msgLine, ok bool) {
	args := line
	if n := len(args); n >= 2 && args[n-2] == '\r' {
		args = args[:n-2]
	} else {
		args = args[:n-1]
	}
	headers := args[0] == 'H' || args[0] == 'h'
	if headers {
		if len(args) < 5 {
			return f, false
		}
		args = args[5:]
	} else {
		if len(args) < 4 {
			return f, false
		}
		args = args[4:]
	}
	i := bytes.IndexByte(args, ' ')
	if i <= 0 {
		return f, false
	}
	f.subject, args = args[:i:i], args[i+1:]
	i = bytes.IndexByte(args, ' ')
	if i <= 0 {
		return f, false
	}
	sid := args[:i]
	args = args[i+1:]
	if sid[0] == sidPrefix {
		f.own = true
		if f.sid, ok = parseUint(sid[1:]); !ok {
			return f, false
		}
	}
	i = bytes.LastIndexByte(args, ' ')
	total, ok := parseUint(args[i+1:])
	if !ok || total > 1<<31-64 {
		return f, false
	}
	f.total = int(total)
	if i < 0 {
		return f, !headers
	}
	args = args[:i]
	if headers {
		i = bytes.LastIndexByte(args, ' ')
		header, ok := parseUint(args[i+1:])
		if !ok || header > total {
			return f, false
		}
		f.header = int(header)
		if i < 0 {
			return f, true
		}
		args = args[:i]
	}
	f.reply = args[:len(args):len(args)]
	return f, true
}

// parseUint parses decimal digits and nothing else.
func parseUint(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		c -= '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, true
}
