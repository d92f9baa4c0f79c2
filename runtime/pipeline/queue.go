package pipeline

import (
	"sync"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// queue carries events from the dispatcher to one partition, in order. It has
// no bound of its own: the pipeline's Room bounds what is in flight.
type queue struct {
	mu struct {
		sync.Mutex
		events []abi.Event
		slots  []uint64
		head   int
		bytes  int
		want   int  // the partition waits for this many events; 0 = it does not wait
		dirty  bool // it waits, and has outputs to flush when nothing more comes
		closed bool
	}
	wake chan struct{} // capacity 1
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put appends one event; notify must follow the last of a run.
func (q *queue) put(e *abi.Event, slot uint64, size int) {
	q.mu.Lock()
	q.mu.events = append(q.mu.events, *e)
	q.mu.slots = append(q.mu.slots, slot)
	q.mu.bytes += size
	q.mu.Unlock()
}

// notify wakes the partition when it has what it waits for, or anything at all
// when nothing more is on its way.
func (q *queue) notify(more bool, b Batch) {
	q.mu.Lock()
	n := len(q.mu.events) - q.mu.head
	wake := q.mu.want > 0 && n > 0 && (n >= q.mu.want || q.mu.bytes >= b.MaxBytes || !more) ||
		q.mu.dirty && n == 0 && !more
	if wake {
		q.mu.want, q.mu.dirty = 0, false
	}
	q.mu.Unlock()
	if wake {
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close lets take return what is left and then report the end.
func (q *queue) close() {
	q.mu.Lock()
	q.mu.closed = true
	q.mu.Unlock()
	q.signal()
}

// take moves up to a batch of events into b. more says whether the dispatcher
// expects further events at once: then take waits up to MaxWait for a full
// batch, otherwise it takes what is there. It returns false with nothing in b
// when the queue is empty: ended says whether for good. Otherwise the caller
// has other duties: a swap waits, or, with dirty set, outputs have been
// waiting for a flush for MaxWait.
func (q *queue) take(limit Batch, more func() bool, dirty bool, timer *time.Timer, b *batch) (got, ended bool) {
	waited := false
	for {
		q.mu.Lock()
		n := len(q.mu.events) - q.mu.head
		full := n >= limit.MaxEvents || q.mu.bytes >= limit.MaxBytes
		if n > 0 && (full || waited || q.mu.closed || limit.MaxWait <= 0 || !more()) {
			q.moveLocked(limit, b)
			q.mu.want = 0
			q.mu.Unlock()
			return true, false
		}
		if n == 0 && q.mu.closed {
			q.mu.Unlock()
			return false, true
		}
		if n == 0 {
			q.mu.want, q.mu.dirty = 1, dirty
			q.mu.Unlock()
			if dirty && more() {
				timer.Reset(max(limit.MaxWait, time.Millisecond))
				select {
				case <-q.wake:
					timer.Stop()
				case <-timer.C:
				}
			} else if !dirty {
				<-q.wake
			}
			if q.empty() {
				return false, false
			}
			continue
		}
		q.mu.want = limit.MaxEvents
		q.mu.Unlock()
		timer.Reset(limit.MaxWait)
		select {
		case <-q.wake:
			timer.Stop()
		case <-timer.C:
			waited = true
		}
	}
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.events) == q.mu.head && !q.mu.closed
}

func (q *queue) moveLocked(limit Batch, b *batch) {
	bytes := 0
	i := q.mu.head
	for ; i < len(q.mu.events) && len(b.events) < limit.MaxEvents; i++ {
		size := eventBytes(&q.mu.events[i])
		if bytes+size > limit.MaxBytes && len(b.events) > 0 {
			break
		}
		bytes += size
		b.events = append(b.events, q.mu.events[i])
		b.slots = append(b.slots, q.mu.slots[i])
	}
	b.bytes = bytes
	q.mu.bytes -= bytes
	clear(q.mu.events[q.mu.head:i]) // lets the messages go
	q.mu.head = i
	switch {
	case q.mu.head == len(q.mu.events):
		q.mu.events, q.mu.slots, q.mu.head = q.mu.events[:0], q.mu.slots[:0], 0
	case q.mu.head > len(q.mu.events)/2:
		n := copy(q.mu.events, q.mu.events[q.mu.head:])
		clear(q.mu.events[n:])
		copy(q.mu.slots, q.mu.slots[q.mu.head:])
		q.mu.events, q.mu.slots, q.mu.head = q.mu.events[:n], q.mu.slots[:n], 0
	}
}

func eventBytes(e *abi.Event) int { return len(e.Subject) + len(e.Headers) + len(e.Payload) }
