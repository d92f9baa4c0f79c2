package pipeline

import "sync"

// tracker remembers the events in flight in the order they were fetched and
// finds the contiguous prefix that is finished. Invariant A1: only that prefix
// is acknowledged, because one acknowledgement covers everything before it.
//
// Slots number the events of one run from 0. The ring grows to the largest
// number of events ever in flight, which the pipeline's Room bounds.
type tracker struct {
	mu struct {
		sync.Mutex
		ring  []track // len is a power of two; slot s lives at s & (len-1)
		first uint64  // lowest slot not yet finished
		next  uint64  // slot of the next event
		ack   string  // token of the highest finished prefix not yet taken
		seq   uint64  // its sequence
		since int     // events in that prefix since the last take
	}
}

type track struct {
	ack  string
	seq  uint64
	done bool
}

// add gives the next slot to an event.
func (t *tracker) add(seq uint64, ack string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.next-t.mu.first == uint64(len(t.mu.ring)) {
		t.growLocked()
	}
	s := t.mu.next
	t.mu.ring[s&uint64(len(t.mu.ring)-1)] = track{ack: ack, seq: seq}
	t.mu.next++
	return s
}

func (t *tracker) growLocked() {
	ring := make([]track, max(1024, 2*len(t.mu.ring)))
	for s := t.mu.first; s < t.mu.next; s++ {
		ring[s&uint64(len(ring)-1)] = t.mu.ring[s&uint64(len(t.mu.ring)-1)]
	}
	t.mu.ring = ring
}

// finish marks slots and reports how many events of the prefix have not been
// taken for acknowledgement and how many events are still in flight.
func (t *tracker) finish(slots []uint64) (unacked, inFlight int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mask := uint64(len(t.mu.ring) - 1)
	for _, s := range slots {
		t.mu.ring[s&mask].done = true
	}
	for t.mu.first < t.mu.next {
		e := &t.mu.ring[t.mu.first&mask]
		if !e.done {
			break
		}
		t.mu.ack, t.mu.seq = e.ack, e.seq
		*e = track{}
		t.mu.first++
		t.mu.since++
	}
	return t.mu.since, int(t.mu.next - t.mu.first)
}

// take returns the token that acknowledges the finished prefix; "" when there
// is nothing new.
func (t *tracker) take() (ack string, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ack, seq = t.mu.ack, t.mu.seq
	t.mu.ack, t.mu.since = "", 0
	return ack, seq
}
