package broker

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wasmill/wasmill/runtime/event"
)

// repeats are the outputs that torn batches of a former run have left in the
// topics: their events are not committed and come again. So many outputs of such
// an event are dropped, the first ones, since the topics have them.
type repeats struct {
	high uint64 // every event up to it finished: nothing is left

	mu   sync.Mutex
	left map[repeat]int
}

type repeat struct {
	stream int
	cause  uint64
}

// drop reports whether an output is there already. r may be nil.
func (r *repeats) drop(stream int, cause uint64) bool {
	if r == nil || cause == 0 || cause > r.high {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := repeat{stream, cause}
	if r.left[k] == 0 {
		return false
	}
	r.left[k]--
	return true
}

// readTorn finds out what is left of torn batches. Nothing can be added to them:
// c, which names them, is stored behind them.
func (e *Exact) readTorn(ctx context.Context, c *checkpoint) error {
	r := &repeats{left: map[repeat]int{}}
	n := 0
	for _, p := range c.Torn {
		stream := slices.IndexFunc(e.streams, func(s exactStream) bool { return s.topic == p.Topic })
		err := e.readPiece(ctx, p, func(m *storedMessage) {
			cause := causeOf(m.headers, e.cfg.Topic)
			if stream < 0 || cause == 0 || isExactSubjects(m.subject) {
				return
			}
			r.left[repeat{stream, cause}]++
			r.high = max(r.high, cause)
			n++
		})
		if err != nil {
			return err
		}
	}
	if n == 0 {
		c.Torn = nil
		return nil
	}
	e.again = r
	e.log.Warn("a former run of an exactly-once pipeline ended when the server had stored only a part of a batch; these outputs are not stored again",
		"pipeline", e.cfg.Pipeline, "outputs", n)
	return nil
}

// causeOf is the sequence of the event of topic that has caused an output or a
// dead letter, 0 when none has.
func causeOf(header []byte, topic string) uint64 {
	seq := ""
	if from, rest, ok := strings.Cut(headerValue(header, event.HeaderSource), "/"); ok && from == topic {
		seq, _, _ = strings.Cut(rest, "/")
	}
	if headerValue(header, event.HeaderSourceTopic) == topic { // a dead letter has kept the event's own source
		seq = headerValue(header, event.HeaderSourceSeq)
	}
	n, _ := strconv.ParseUint(seq, 10, 64) // 0 says so
	return n
}
