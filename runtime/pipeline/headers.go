package pipeline

import (
	"strings"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// What an output takes over from the headers of its event. An event may have
// many headers, an output may have many, and an event many outputs: whatever is
// done here takes time in proportion to the bytes that are published, never to
// the product of the three (invariant A4).

// traceHeaders always travel: the W3C trace context, also as HTTP spells it.
var traceHeaders = [...]string{event.HeaderTraceParent, event.HeaderTraceState, "Traceparent", "Tracestate"}

// sourceHeaders finds headers by name in one event after the other and looks
// for each name only once in each.
type sourceHeaders struct {
	src   *abi.Event
	found []foundHeader
}

type foundHeader struct {
	name  string
	value []byte
	ok    bool
}

// forget must be called before events are passed that lie where others lay.
func (s *sourceHeaders) forget() { s.src = nil }

func (s *sourceHeaders) find(src *abi.Event, name string) ([]byte, bool) {
	if s.src != src {
		s.src, s.found = src, s.found[:0]
	}
	for i := range s.found {
		if f := &s.found[i]; f.name == name {
			return f.value, f.ok
		}
	}
	v, ok := abi.FindHeader(src.Headers, name)
	s.found = append(s.found, foundHeader{name, v, ok})
	return v, ok
}

// headerKeys says whether a block of headers has a key.
type headerKeys struct {
	block []byte
	set   map[string]struct{} // views of block; nil for a short one
	spare map[string]struct{}
}

// fewHeaders is how many are looked through faster than hashed.
const fewHeaders = 8

func (h *headerKeys) of(o *abi.Output) {
	h.block = o.Headers
	if o.HeaderCount <= fewHeaders {
		return
	}
	if h.spare == nil {
		h.spare = map[string]struct{}{}
	}
	h.set = h.spare
	for block := o.Headers; ; {
		key, _, rest, ok := abi.NextHeader(block)
		if !ok {
			return
		}
		h.set[asString(key)] = struct{}{}
		block = rest
	}
}

func (h *headerKeys) has(key string) bool {
	if h.set == nil {
		_, ok := abi.FindHeader(h.block, key)
		return ok
	}
	_, ok := h.set[key]
	return ok
}

// done ends the use of the block: its bytes may be gone at the next call.
func (h *headerKeys) done() {
	h.block, h.set = nil, nil
	clear(h.spare)
}

// named returns, as a block, the headers with those names: the output's own
// before its event's.
func (s *scratch) named(names []string, src *abi.Event, o *abi.Output) ([]byte, uint32) {
	h, count := s.wanted[:0], uint32(0)
	for _, name := range names {
		v, ok := abi.FindHeader(o.Headers, name)
		if !ok {
			v, ok = s.trace.find(src, name)
		}
		if ok {
			h = abi.AppendHeader(h, name, asString(v))
			count++
		}
	}
	s.wanted = h
	return h, count
}

// merge returns the headers of src, but for those that o sets anew, and o's as
// one block. The block lives in next.keep; when that grows, earlier blocks stay
// in the old array.
func (s *scratch) merge(next *stage, src *abi.Event, o *abi.Output) ([]byte, uint32) {
	if o.HeaderCount == 0 {
		return src.Headers, src.HeaderCount
	}
	s.own.of(o)
	defer s.own.done()
	n, count := len(next.keep), uint32(o.HeaderCount)
	for block := src.Headers; ; {
		key, value, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		block = rest
		if !s.own.has(asString(key)) {
			next.keep = abi.AppendHeader(next.keep, asString(key), asString(value))
			count++
		}
	}
	next.keep = append(next.keep, o.Headers...)
	return next.keep[n:len(next.keep):len(next.keep)], count
}

// continueTrace adds the W3C trace context of src to o's own headers.
func (s *scratch) continueTrace(next *stage, src *abi.Event, o *abi.Output) ([]byte, uint32) {
	n := len(next.keep)
	h, added := s.appendTrace(next.keep, src, o, false)
	next.keep = h
	if added == 0 {
		return o.Headers, uint32(o.HeaderCount)
	}
	next.keep = append(next.keep, o.Headers...)
	return next.keep[n:len(next.keep):len(next.keep)], uint32(added) + uint32(o.HeaderCount)
}

// appendTrace appends what o does not set itself of the trace context of src;
// with replaced, which o does not set either, not its traceparent.
func (s *scratch) appendTrace(h []byte, src *abi.Event, o *abi.Output, replaced bool) ([]byte, int) {
	added := 0
	for _, key := range traceHeaders {
		v, ok := s.trace.find(src, key)
		if !ok || replaced && isTraceParent(key) {
			continue
		}
		if _, _, own := event.TraceHeader(o.Headers, strings.ToLower(key)); !own {
			h = abi.AppendHeader(h, key, asString(v))
			added++
		}
	}
	return h, added
}

// inherit appends the headers that an output takes over from its source: all
// of them with FlagKeepHeaders, the trace context otherwise. Headers that steer
// JetStream or that the runtime writes never travel on: a kept Nats-Msg-Id
// would make the broker discard outputs as duplicates. With replaced the
// event's traceparent stays behind.
func (s *scratch) inherit(h []byte, o *abi.Output, src *abi.Event, replaced bool) ([]byte, int) {
	if o.Flags&abi.FlagKeepHeaders == 0 {
		return s.appendTrace(h, src, o, replaced)
	}
	s.own.of(o)
	defer s.own.done()
	count := 0
	for block := src.Headers; ; {
		key, value, rest, ok := abi.NextHeader(block)
		if !ok {
			return h, count
		}
		block = rest
		k := asString(key)
		if reservedHeader(k) || s.own.has(k) {
			continue // the plugin's own value replaces it
		}
		if replaced && isTraceParent(k) {
			continue
		}
		h = abi.AppendHeader(h, k, asString(value))
		count++
	}
}

func isTraceParent(key string) bool { return strings.EqualFold(key, event.HeaderTraceParent) }

func reservedHeader(key string) bool {
	return (len(key) >= 5 && strings.EqualFold(key[:5], "nats-")) ||
		(len(key) >= 8 && strings.EqualFold(key[:8], "wasmill-"))
}
