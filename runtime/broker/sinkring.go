package broker

import (
	"strconv"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

const (
	segmentSize  = 64 << 10 // bytes of one piece of the ring's memory
	segmentSpare = 8        // pieces kept for reuse
	natsHeader   = "NATS/1.0\r\n"
)

// ring holds encoded copies of the outputs that are not confirmed, by position.
// Its memory comes in segments that are filled in order and reused once every
// output in them is confirmed. It is guarded by its Sink's lock; the bytes of an
// entry may be read without, as long as the entry has not been handed out.
type ring struct {
	entries []entry // a power of two; position p is at p & (len-1)
	first   uint64  // oldest position held
	next    uint64  // position of the next output
	open    *segment
	spare   []*segment
}

// entry is one output: subject, NATS header block (may be empty) and payload lie
// one behind the other in data.
type entry struct {
	data    []byte
	seg     *segment
	subject int // bytes
	header  int
}

type segment struct {
	buf  []byte
	held int // entries in it
}

func newRing() ring { return ring{entries: make([]entry, 256), first: 1, next: 1} }

func (r *ring) len() int { return int(r.next - r.first) }

func (r *ring) at(pos uint64) *entry { return &r.entries[pos&uint64(len(r.entries)-1)] }

// push copies m to the end and returns its position. size is encodedSize(m).
func (r *ring) push(m *event.Output, size int) uint64 {
	if r.len() == len(r.entries) {
		r.grow()
	}
	seg := r.room(size)
	from := len(seg.buf)
	b := append(seg.buf, m.Subject...)
	if len(m.Headers) > 0 {
		b = append(b, natsHeader...)
		for block := m.Headers; len(block) > 0; {
			k, v, rest, ok := abi.NextHeader(block)
			if !ok {
				break
			}
			block = rest
			if instruction(k) {
				continue
			}
			b = append(b, k...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
		b = append(b, "\r\n"...)
	}
	header := len(b) - from - len(m.Subject)
	b = append(b, m.Payload...)
	seg.buf = b
	seg.held++
	pos := r.next
	r.next++
	*r.at(pos) = entry{data: b[from:len(b):len(b)], seg: seg, subject: len(m.Subject), header: header}
	return pos
}

// room returns a segment with that much free space.
func (r *ring) room(size int) *segment {
	if s := r.open; s != nil {
		if cap(s.buf)-len(s.buf) >= size {
			return s
		}
		r.open = nil
		r.retire(s)
	}
	if n := len(r.spare); n > 0 && size <= segmentSize {
		r.open = r.spare[n-1]
		r.spare = r.spare[:n-1]
		return r.open
	}
	r.open = &segment{buf: make([]byte, 0, max(segmentSize, size))}
	return r.open
}

// retire keeps a segment that nothing refers to any more.
func (r *ring) retire(s *segment) {
	if s.held > 0 || s == r.open {
		return
	}
	if cap(s.buf) == segmentSize && len(r.spare) < segmentSpare {
		s.buf = s.buf[:0]
		r.spare = append(r.spare, s)
	}
}

// pop frees the oldest output and returns its size.
func (r *ring) pop() int {
	e := r.at(r.first)
	size := len(e.data)
	e.seg.held--
	if e.seg.held == 0 {
		if e.seg == r.open {
			e.seg.buf = e.seg.buf[:0]
		}
		r.retire(e.seg)
	}
	*e = entry{}
	r.first++
	return size
}

func (r *ring) grow() {
	next := make([]entry, 2*len(r.entries))
	for p := r.first; p < r.next; p++ {
		next[p&uint64(len(next)-1)] = *r.at(p)
	}
	r.entries = next
}

// encodedSize is what m takes in a ring, and as header block and payload on the
// wire, or why it cannot travel. What breaks the protocol must not get near the
// connection, which all outputs of the sink share (invariant A6).
func encodedSize(m *event.Output) (size, header int, refused string) {
	if m.Subject == "" {
		return 0, 0, "the subject is empty"
	}
	for i := range len(m.Subject) {
		if c := m.Subject[i]; c <= ' ' || c == 0x7f {
			return 0, 0, "the subject has a space or a control character"
		}
	}
	if len(m.Headers) > 0 {
		header = len(natsHeader) + 2
		for block := m.Headers; len(block) > 0; {
			k, v, rest, ok := abi.NextHeader(block)
			if !ok {
				return 0, 0, "the headers are malformed"
			}
			if !headerSafe(k, true) || !headerSafe(v, false) {
				return 0, 0, "header " + strconv.QuoteToASCII(string(k)) + " has a character that NATS headers cannot carry"
			}
			block = rest
			if !instruction(k) {
				header += len(k) + len(v) + 4
			}
		}
		if header > maxHeader {
			return 0, 0, "the headers have " + strconv.Itoa(header) + " bytes, more than the " + strconv.Itoa(maxHeader) + " that JetStream stores"
		}
	}
	return len(m.Subject) + header + len(m.Payload), header, ""
}

// instruction reports whether a header tells the server what to do.
func instruction(key []byte) bool { return len(key) >= 5 && string(key[:5]) == "Nats-" }

// maxHeader is JetStream's limit for the header block of a stored message.
const maxHeader = 1<<16 - 1

func headerSafe(b []byte, key bool) bool {
	if key && len(b) == 0 {
		return false
	}
	for _, c := range b {
		if c == '\r' || c == '\n' || c == 0 || key && (c == ':' || c <= ' ') {
			return false
		}
	}
	return true
}
