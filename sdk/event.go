package sdk

import (
	"bytes"
	"iter"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Event is one message of the topic. The slices its methods return are
// read-only views, valid until the handler returns.
type Event struct{ raw abi.Event }

// Subject returns the subject the event was published under.
func (e *Event) Subject() []byte { return e.raw.Subject }

// SubjectToken returns the n-th token of the subject, counted from 1 as in
// {subject.N}; nil when the subject has fewer.
func (e *Event) SubjectToken(n int) []byte {
	rest := e.raw.Subject
	for ; n > 1; n-- {
		dot := bytes.IndexByte(rest, '.')
		if dot < 0 {
			return nil
		}
		rest = rest[dot+1:]
	}
	if n < 1 {
		return nil
	}
	if dot := bytes.IndexByte(rest, '.'); dot >= 0 {
		return rest[:dot:dot]
	}
	return rest
}

// Key returns the key by which the pipeline partitions; empty when it has none.
func (e *Event) Key() []byte { return e.raw.Key }

// Payload returns the content of the event.
func (e *Event) Payload() []byte { return e.raw.Payload }

// Find returns the value at a JSON Pointer in the payload, such as
// "/properties/mag". The Value is absent, and says so in all its methods, when
// the payload is not JSON or does not have it.
func (e *Event) Find(pointer string) Value {
	v, _ := jsonptr.Find(e.raw.Payload, pointer)
	return v
}

// Header returns the value of the first header of that name; nil when there is
// none. Names are compared byte by byte.
func (e *Event) Header(name string) []byte {
	v, _ := abi.FindHeader(e.raw.Headers, name)
	return v
}

// Headers iterates over names and values in their order. Names can repeat.
func (e *Event) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for block := e.raw.Headers; ; {
			name, value, rest, ok := abi.NextHeader(block)
			if !ok || !yield(name, value) {
				return
			}
			block = rest
		}
	}
}

// Seq returns the sequence number of the event in its topic.
func (e *Event) Seq() uint64 { return e.raw.Seq }

// Time returns when the topic stored the event, in UTC.
func (e *Event) Time() time.Time { return time.Unix(0, e.raw.Time).UTC() }

// Attempt returns 1 when the event is processed for the first time, and one
// more after each retry.
func (e *Event) Attempt() int { return int(e.raw.Attempt) }
