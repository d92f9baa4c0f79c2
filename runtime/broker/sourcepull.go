package broker

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// topUpLocked requests more events when what is requested and queued has
// fallen to half of the limit. Invariant A3: requested + queued stay within
// min(room, prefetch). With must, when there is nothing at all, it asks for one
// event whatever the room is, since Fetch waits for one.
//
// A request is bounded in bytes by what its events will probably need, so that
// several can be under way at once without one of them holding all the bytes.
func (s *Source) topUpLocked(room event.Room, must bool) {
	limit := event.Room{
		Events: min(room.Events, s.cfg.Prefetch.Events),
		Bytes:  min(room.Bytes, s.cfg.Prefetch.Bytes),
	}
	queued := len(s.mu.queue) - s.mu.head
	have := event.Room{Events: s.mu.asked.Events + queued, Bytes: s.mu.asked.Bytes + s.mu.bytes}
	none := have.Events == 0
	low := have.Events*2 <= limit.Events && have.Bytes*2 <= limit.Bytes
	if (!none || !must) && (!low || limit.Events <= 0 || limit.Bytes <= 0) {
		return
	}
	free := event.Room{Events: max(limit.Events-have.Events, 1), Bytes: max(limit.Bytes-have.Bytes, 1)}
	size := max(s.mu.size, 64)
	ask := event.Room{Events: min(free.Events, 2*free.Bytes/size+1)}
	ask.Bytes = min(free.Bytes, 2*ask.Events*size+16<<10)
	if s.mu.refused > 0 {
		// The next event is larger than the last request had bytes left.
		switch {
		case !none:
			return // what is under way may end otherwise, or make room
		case limit.Bytes > s.mu.refused:
			ask.Bytes = limit.Bytes
		default:
			ask = event.Room{Events: 1} // so that one event larger than the limit passes
		}
	}
	if s.mu.asked.Events == 0 {
		s.mu.heard = time.Now() // heartbeats start with a request
	}
	b := append(s.mu.request[:0], `{"batch":`...)
	b = strconv.AppendInt(b, int64(ask.Events), 10)
	if ask.Bytes > 0 {
		b = append(b, `,"max_bytes":`...)
		b = strconv.AppendInt(b, int64(ask.Bytes), 10)
	}
	b = append(b, `,"expires":`...)
	b = strconv.AppendInt(b, int64(s.cfg.timing.expires), 10)
	b = append(b, `,"idle_heartbeat":`...)
	b = strconv.AppendInt(b, int64(s.cfg.timing.heartbeat), 10)
	b = append(b, '}')
	s.mu.request = b
	if err := s.wire.publish(s.next, s.mu.inbox, b); err != nil {
		s.needResetLocked(err)
		return
	}
	s.mu.asked.Events += ask.Events
	s.mu.asked.Bytes += ask.Bytes
}

// statusLocked takes a message without an event: the server's report on pull
// requests.
func (s *Source) statusLocked(m *wireMsg) {
	code, text := headerStatus(m.header)
	var pendingMsgs, pendingBytes, lastConsumer uint64
	counted := false
	for line := range headerLines(m.header) {
		key, value, ok := cutHeader(line)
		if !ok {
			continue
		}
		switch string(key) {
		case "Nats-Pending-Messages":
			pendingMsgs, counted = parseUint(value)
		case "Nats-Pending-Bytes":
			pendingBytes, _ = parseUint(value)
		case "Nats-Last-Consumer":
			lastConsumer, _ = parseUint(value)
		}
	}
	switch {
	case code == 100: // heartbeat
		// It follows what was sent, but a replicated consumer may still hold
		// the last messages back: believe only the second one in a row.
		if lastConsumer > s.mu.consumer && s.mu.behind == s.mu.consumer+1 {
			s.needResetLocked(fmt.Errorf("the consumer has sent %d messages, %d came", lastConsumer, s.mu.consumer))
		}
		s.mu.behind = 0
		if lastConsumer > s.mu.consumer {
			s.mu.behind = s.mu.consumer + 1
		}
	case code == 400:
		s.mu.fatal = fmt.Errorf("pull from consumer %q: the server refuses the request: %s", s.name, text)
	case code == 503, !counted:
		// No responders, Consumer Deleted, Leadership Change: whatever was
		// requested is gone. The reset finds out what there still is.
		s.needResetLocked(fmt.Errorf("%d %s", code, text))
	default: // 404, 408, 409: one request has ended
		s.mu.asked.Events = max(s.mu.asked.Events-int(pendingMsgs), 0)
		s.mu.asked.Bytes = max(s.mu.asked.Bytes-int(pendingBytes), 0)
		if s.mu.asked.Events == 0 {
			s.mu.asked.Bytes = 0
		}
		if text == "Message Size Exceeds MaxBytes" {
			s.mu.refused = max(s.mu.refused, int(pendingBytes), 1)
		}
	}
}

// headerStatus returns the status code and text of "NATS/1.0 408 Request Timeout\r\n…".
func headerStatus(block []byte) (code int, text string) {
	line, _, _ := bytes.Cut(block, crlf)
	_, line, _ = bytes.Cut(line, []byte{' '})
	digits, rest, _ := bytes.Cut(line, []byte{' '})
	n, ok := parseUint(digits)
	if !ok || n > 999 {
		return 0, ""
	}
	return int(n), string(rest)
}

var crlf = []byte("\r\n") // read-only

// headerLines yields the lines of a NATS header block behind the first.
func headerLines(block []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := bytes.Index(block, crlf)
		for i >= 0 {
			block = block[i+2:]
			if i = bytes.Index(block, crlf); i <= 0 || !yield(block[:i]) {
				return
			}
		}
	}
}

// cutHeader splits "key: value" as nats.go does.
func cutHeader(line []byte) (key, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return nil, nil, false
	}
	key, value = line[:i], line[i+1:]
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	return key, value, true
}
