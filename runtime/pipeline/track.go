package pipeline

import "sync"

// tracker remembers the events in flight in the order they were fetched, finds
// the contiguous prefix that is finished, and the part of it that a crash does
// not undo. Invariant A1: only the finished prefix is acknowledged, because one
// acknowledgement covers everything before it. Invariant A3: an event is in
// flight until its position is durable, so that a crash repeats no more than
// what may be in flight.
//
//	freed ≤ first ≤ next
//	[freed, first) finished, [first, next) not finished or behind such a one
//
// Slots number the events of one run from 0. The ring grows to the largest
// number of events ever in flight, which the pipeline's Room bounds.
type tracker struct {
	mu struct {
		sync.Mutex
		ring  []track // len is a power of two; slot s lives at s & (len-1)
		freed uint64  // lowest slot whose position is not durable
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
	size int
	done bool
}

// add gives the next slot to an event.
func (t *tracker) add(seq uint64, ack string, size int) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.next-t.mu.freed == uint64(len(t.mu.ring)) {
		t.growLocked()
	}
	s := t.mu.next
	t.mu.ring[s&uint64(len(t.mu.ring)-1)] = track{ack: ack, seq: seq, size: size}
	t.mu.next++
	return s
}

func (t *tracker) growLocked() {
	ring := make([]track, max(1024, 2*len(t.mu.ring)))
	for s := t.mu.freed; s < t.mu.next; s++ {
		ring[s&uint64(len(ring)-1)] = t.mu.ring[s&uint64(len(t.mu.ring)-1)]
	}
	t.mu.ring = ring
}

// finish marks slots and reports how many events of the prefix have not been
// taken for acknowledgement and how many events are not finished or behind one
// that is not.
func (t *tracker) finish(slots []uint64) (unacked, unfinished int) {
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
		e.ack = "" // lets go of it
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

// free lets go of the finished events up to seq and returns how many there were
// and their bytes.
func (t *tracker) free(seq uint64) (events, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mask := uint64(len(t.mu.ring) - 1)
	for t.mu.freed < t.mu.first && t.mu.ring[t.mu.freed&mask].seq <= seq {
		events++
		bytes += t.mu.ring[t.mu.freed&mask].size
		t.mu.freed++
	}
	return events, bytes
}

// finished is how many events are finished and not free.
func (t *tracker) finished() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.mu.first - t.mu.freed)
}
