package abi

import "strconv"

// FrameError says which field of a frame is wrong and where. It is what every
// decoder of this package returns for malformed input.
type FrameError struct {
	What   string // what is wrong, as a phrase
	Offset int    // byte offset in the frame at which it was found
	Value  uint64 // the offending value
}

// Error reads "frame: <what> (<value>) at byte <offset>".
func (e *FrameError) Error() string {
	return "frame: " + e.What + " (" + strconv.FormatUint(e.Value, 10) + ") at byte " + strconv.Itoa(e.Offset)
}

func bad(what string, offset int, value uint64) error {
	return &FrameError{What: what, Offset: offset, Value: value}
}

// BatchHeader is the head of a batch: why the host calls, how many events
// follow, which batch this is, and the host's clock in nanoseconds since the
// Unix epoch (coarse; 0 when the plugin has no clock grant).
type BatchHeader struct {
	Kind  Kind
	Count uint32
	ID    uint64
	Now   int64
}

// Event is one message as it crosses the boundary and as the data path carries
// it. The byte slices are views: who reads one owns neither the bytes nor their
// lifetime. In a guest they are valid until the handler returns, in the host
// as long as the message they came from.
type Event struct {
	Flags       uint32 // none defined; not zero is an error
	Attempt     uint32 // 1 on the first attempt
	Seq         uint64 // sequence in the source topic
	Time        int64  // when the topic stored it, ns since the Unix epoch
	HeaderCount uint32
	Subject     []byte
	Key         []byte
	Headers     []byte // HeaderCount entries, see AppendHeader
	Payload     []byte
}

// EventSize returns the bytes of e's record in a batch, padding included.
func EventSize(e *Event) int {
	return pad8(EventHeaderSize + len(e.Subject) + len(e.Key) + len(e.Headers) + len(e.Payload))
}

// PutBatchHeader writes the head of a batch of total bytes (head included) into
// dst, which must hold BatchHeaderSize bytes.
func PutBatchHeader(dst []byte, h BatchHeader, total int) {
	_ = dst[BatchHeaderSize-1]
	copy(dst, batchMagic)
	le.PutUint16(dst[4:], BatchHeaderSize)
	le.PutUint16(dst[6:], uint16(h.Kind))
	le.PutUint32(dst[8:], h.Count)
	le.PutUint32(dst[12:], uint32(total))
	le.PutUint64(dst[16:], h.ID)
	le.PutUint64(dst[24:], uint64(h.Now))
}

// PutEvent writes e's record into dst, which must hold EventSize(e) bytes, and
// returns how many it wrote.
func PutEvent(dst []byte, e *Event) int {
	n := EventSize(e)
	dst = dst[:n]
	le.PutUint64(dst[n-8:], 0) // the padding; the rest is written over
	h := (*[EventHeaderSize]byte)(dst)
	le.PutUint32(h[0:], uint32(n))
	le.PutUint32(h[4:], e.Flags)
	le.PutUint64(h[8:], e.Seq)
	le.PutUint64(h[16:], uint64(e.Time))
	le.PutUint32(h[24:], e.Attempt)
	le.PutUint32(h[28:], uint32(len(e.Subject)))
	le.PutUint32(h[32:], uint32(len(e.Key)))
	le.PutUint32(h[36:], uint32(len(e.Headers)))
	le.PutUint32(h[40:], uint32(len(e.Payload)))
	le.PutUint32(h[44:], e.HeaderCount)
	at := EventHeaderSize
	at = put(dst, at, e.Subject)
	at = put(dst, at, e.Key)
	at = put(dst, at, e.Headers)
	put(dst, at, e.Payload)
	return n
}

// BatchReader walks the events of a batch. It holds views of the frame.
type BatchReader struct {
	Header BatchHeader
	frame  []byte
	pos    int
	left   uint32
}

// ReadBatch checks the head of frame and returns a reader of its events.
// Bytes after the frame's own total length are ignored.
func ReadBatch(frame []byte) (BatchReader, error) {
	var r BatchReader
	if len(frame) < BatchHeaderSize {
		return r, bad("batch is shorter than its header", 0, uint64(len(frame)))
	}
	if string(frame[:4]) != batchMagic {
		return r, bad("magic is not WMB1", 0, uint64(le.Uint32(frame)))
	}
	head, total := int(le.Uint16(frame[4:])), le.Uint32(frame[12:])
	if total > MaxFrame || int(total) > len(frame) || int(total) < BatchHeaderSize {
		return r, bad("total length is out of bounds", 12, uint64(total))
	}
	if head < BatchHeaderSize || head > int(total) {
		return r, bad("header length is out of bounds", 4, uint64(head))
	}
	r.Header = BatchHeader{
		Kind:  Kind(le.Uint16(frame[6:])),
		Count: le.Uint32(frame[8:]),
		ID:    le.Uint64(frame[16:]),
		Now:   int64(le.Uint64(frame[24:])),
	}
	if r.Header.Kind > KindDrain {
		return r, bad("kind is unknown", 6, uint64(r.Header.Kind))
	}
	if uint64(r.Header.Count)*EventHeaderSize > uint64(int(total)-head) {
		return r, bad("event count is out of bounds", 8, uint64(r.Header.Count))
	}
	r.frame, r.pos, r.left = frame[:total], head, r.Header.Count
	return r, nil
}

// Next reads the next event into e. It returns false after the last one; the
// error says why a record cannot be read, after which Next must not be called.
func (r *BatchReader) Next(e *Event) (bool, error) {
	if r.left == 0 {
		return false, nil
	}
	b := r.frame[r.pos:]
	if len(b) < EventHeaderSize {
		return false, bad("batch ends inside an event", r.pos, uint64(len(b)))
	}
	h := (*[EventHeaderSize]byte)(b) // constant offsets into an array need no checks
	size := int(le.Uint32(h[0:]))
	if size < EventHeaderSize || size > len(b) || size&7 != 0 {
		return false, bad("event length is out of bounds", r.pos, uint64(size))
	}
	if flags := le.Uint32(h[4:]); flags != 0 {
		return false, bad("event flags are unknown", r.pos+4, uint64(flags))
	}
	subject, key := uint64(le.Uint32(h[28:])), uint64(le.Uint32(h[32:]))
	headers, payload := uint64(le.Uint32(h[36:])), uint64(le.Uint32(h[40:]))
	key += subject
	headers += key
	payload += headers
	data := b[EventHeaderSize:size]
	if payload > uint64(len(data)) {
		return false, bad("event parts exceed its length", r.pos+28, payload)
	}
	e.Flags = 0
	e.Attempt = le.Uint32(h[24:])
	e.Seq = le.Uint64(h[8:])
	e.Time = int64(le.Uint64(h[16:]))
	e.HeaderCount = le.Uint32(h[44:])
	// Capacities are cut, so that an append by the reader cannot overwrite what follows.
	e.Subject = data[:subject:subject]
	e.Key = data[subject:key:key]
	e.Headers = data[key:headers:headers]
	e.Payload = data[headers:payload:payload]
	r.pos += size
	r.left--
	return true, nil
}

// put copies src to dst[at:] and returns the offset behind it. A copy of nothing
// would cost as much as one of something.
func put(dst []byte, at int, src []byte) int {
	if len(src) > 0 {
		at += copy(dst[at:], src)
	}
	return at
}

func pad8(n int) int { return (n + 7) &^ 7 }
