package abi

import "unsafe"

// ResponseWriter builds a response. The zero value is ready after Reset. It
// keeps its buffers from call to call, so that after a few batches it allocates
// nothing. Not safe for concurrent use.
type ResponseWriter struct {
	buf      []byte // header and records
	outcomes []byte
	reasons  []byte
	records  uint32
	codes    uint32

	reason   string // the last one written, at reasonAt of reasons
	reasonAt uint32
}

// Reset starts a new response.
func (w *ResponseWriter) Reset() {
	if cap(w.buf) == 0 {
		w.buf = make([]byte, 0, 64<<10)
	}
	w.buf = w.buf[:ResponseHeaderSize]
	w.outcomes, w.reasons = w.outcomes[:0], w.reasons[:0]
	w.records, w.codes, w.reason = 0, 0, ""
}

// Mark returns the place to which Rollback cuts the records back.
func (w *ResponseWriter) Mark() (bytes int, records uint32) { return len(w.buf), w.records }

// Rollback removes every record written since Mark returned these values.
func (w *ResponseWriter) Rollback(bytes int, records uint32) {
	w.buf, w.records = w.buf[:bytes], records
}

// Pass appends the shortest record there is: the source event's payload and
// headers, both by reference, to output id with its default subject.
func (w *ResponseWriter) Pass(source uint32, id uint16) {
	n := len(w.buf)
	if cap(w.buf)-n < OutputHeaderSize {
		w.grow(OutputHeaderSize)
	}
	w.buf = w.buf[:n+OutputHeaderSize]
	h := (*[OutputHeaderSize]byte)(w.buf[n:])
	le.PutUint32(h[0:], OutputHeaderSize)
	le.PutUint32(h[4:], source)
	le.PutUint32(h[8:], FlagPayloadRef|FlagKeepHeaders)
	le.PutUint32(h[12:], uint32(id))
	le.PutUint64(h[16:], 0)
	le.PutUint64(h[24:], 0)
	w.records++
}

// grow makes room for n bytes.
func (w *ResponseWriter) grow(n int) {
	w.buf = append(w.buf, make([]byte, n)...)[:len(w.buf)]
}

// Output appends o. With FlagPayloadRef, o.Payload is not written.
func (w *ResponseWriter) Output(o *Output) {
	payload := o.Payload
	if o.Flags&FlagPayloadRef != 0 {
		payload = nil
	}
	used := OutputHeaderSize + len(o.Subject) + len(o.Key) + len(o.Headers) + len(payload)
	size := pad8(used)
	n := len(w.buf)
	if cap(w.buf)-n < size {
		w.grow(size)
	}
	w.buf = w.buf[:n+size]
	b := w.buf[n:]
	le.PutUint64(b[size-8:], 0) // the padding; the rest is written over
	h := (*[OutputHeaderSize]byte)(b)
	le.PutUint32(h[0:], uint32(size))
	le.PutUint32(h[4:], o.Source)
	le.PutUint32(h[8:], o.Flags)
	le.PutUint16(h[12:], o.ID)
	le.PutUint16(h[14:], o.HeaderCount)
	le.PutUint32(h[16:], uint32(len(o.Subject)))
	le.PutUint32(h[20:], uint32(len(o.Key)))
	le.PutUint32(h[24:], uint32(len(o.Headers)))
	le.PutUint32(h[28:], uint32(len(payload)))
	at := OutputHeaderSize
	at = put(b, at, o.Subject)
	at = put(b, at, o.Key)
	at = put(b, at, o.Headers)
	put(b, at, payload)
	w.records++
}

// Outcome records what becomes of the event at index. Outcomes must be written
// in the order of their events, at most one for each. A reason longer than
// 65,535 bytes is cut. Events in a row with one and the same reason share it.
func (w *ResponseWriter) Outcome(index uint32, code Code, delayMS uint32, reason string) {
	if len(reason) > 1<<16-1 {
		reason = reason[:1<<16-1]
	}
	if len(reason) != len(w.reason) || unsafe.StringData(reason) != unsafe.StringData(w.reason) {
		w.reason, w.reasonAt = reason, uint32(len(w.reasons))
		w.reasons = append(w.reasons, reason...)
	}
	var o [OutcomeSize]byte
	le.PutUint32(o[0:], index)
	o[4] = byte(code)
	le.PutUint16(o[6:], uint16(len(reason)))
	le.PutUint32(o[8:], delayMS)
	le.PutUint32(o[12:], w.reasonAt) // made absolute by Bytes
	w.outcomes = append(w.outcomes, o[:]...)
	w.codes++
}

// Bytes finishes the response and returns it; valid until the next Reset.
func (w *ResponseWriter) Bytes() []byte {
	base := uint32(len(w.buf) + len(w.outcomes))
	for i := 12; i < len(w.outcomes); i += OutcomeSize {
		le.PutUint32(w.outcomes[i:], le.Uint32(w.outcomes[i:])+base)
	}
	w.buf = append(w.buf, w.outcomes...)
	w.buf = append(w.buf, w.reasons...)
	b := w.buf
	copy(b, responseMagic)
	le.PutUint32(b[4:], ResponseHeaderSize)
	le.PutUint32(b[8:], w.codes)
	le.PutUint32(b[12:], w.records)
	le.PutUint32(b[16:], uint32(len(b)))
	le.PutUint32(b[20:], 0)
	return b
}

// Pointer packs a response for the return value of wasmill_process: the
// address of b in linear memory <<32 | its length.
func Pointer(b []byte) int64 {
	return int64(uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | uint64(len(b)))
}
