package event

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what one Watch takes from the data path.
const (
	tapRate    = 50       // samples a second
	tapBurst   = 10       // samples of one call
	tapWaiting = 256      // samples that nobody has fetched yet
	tapBytes   = 1 << 20  // bytes of them
	findWithin = 64 << 10 // bytes of a payload that are searched

	// ShownBytes is how much of a payload a Sample holds, and ShownOutputs how
	// many outputs of an event.
	ShownBytes   = 16 << 10
	ShownOutputs = 8
)

// Tap is where somebody can look at the events of one pipeline. As long as
// nobody does it costs the data path one atomic load a call; whoever does gets
// copies of a bounded part of them, and never holds a call up. The zero Tap is
// ready, a nil one is never watched.
type Tap struct {
	watches atomic.Pointer[[]*Watch]
	mu      sync.Mutex // orders changes of watches
}

// Watches are those who look now; nil when nobody does.
func (t *Tap) Watches() []*Watch {
	if t == nil {
		return nil
	}
	if w := t.watches.Load(); w != nil {
		return *w
	}
	return nil
}

// Watch begins to look at the events of a stage. With find, only at those that
// hold it in subject, key, headers or payload. Close ends it.
func (t *Tap) Watch(stage string, find []byte) *Watch {
	w := &Watch{tap: t, stage: stage, find: find}
	w.mu.tokens, w.mu.filled = tapBurst, time.Now()
	t.change(func(all []*Watch) []*Watch { return append(all, w) })
	return w
}

// change replaces the list: the data path reads it without a lock.
func (t *Tap) change(f func([]*Watch) []*Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := f(append([]*Watch(nil), t.Watches()...))
	if len(all) == 0 {
		t.watches.Store(nil)
		return
	}
	t.watches.Store(&all)
}

// Taps are the taps of all pipelines by name. Safe for concurrent use.
type Taps struct {
	mu   sync.Mutex
	taps map[string]*Tap
}

// NewTaps returns taps that nobody watches.
func NewTaps() *Taps { return &Taps{taps: map[string]*Tap{}} }

// Of returns the tap of a pipeline, over all its runs; nil without Taps.
func (t *Taps) Of(pipeline string) *Tap {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tap := t.taps[pipeline]
	if tap == nil {
		tap = &Tap{}
		t.taps[pipeline] = tap
	}
	return tap
}

// Watch is one who looks at a stage. What it is given and has not fetched is
// bounded; the rest is counted as skipped.
type Watch struct {
	tap   *Tap
	stage string
	find  []byte

	mu struct {
		sync.Mutex
		tokens  float64
		filled  time.Time
		waiting []*Sample
		bytes   int
		skipped uint64
	}
}

// Stage is the stage it looks at.
func (w *Watch) Stage() string { return w.stage }

// Close ends it; the data path may still put what it is about to.
func (w *Watch) Close() {
	w.tap.change(func(all []*Watch) []*Watch {
		out := all[:0]
		for _, o := range all {
			if o != w {
				out = append(out, o)
			}
		}
		return out
	})
}

// Fetch takes what there is, and how many events were not shown since the last
// Fetch.
func (w *Watch) Fetch() (samples []*Sample, skipped uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	samples, skipped = w.mu.waiting, w.mu.skipped
	w.mu.waiting, w.mu.bytes, w.mu.skipped = nil, 0, 0
	return samples, skipped
}

// Pick appends to dst the indices of the events of one call that are to be
// shown: of those that match, as many as the rate allows, spread over the call.
func (w *Watch) Pick(events []abi.Event, dst []int) []int {
	matching, from := len(events), len(dst)
	if len(w.find) > 0 {
		for i := range events {
			if w.holds(&events[i]) {
				dst = append(dst, i)
			}
		}
		matching = len(dst) - from
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.tokens = min(w.mu.tokens+max(now.Sub(w.mu.filled).Seconds(), 0)*tapRate, tapBurst)
	w.mu.filled = now
	n := min(matching, int(w.mu.tokens), tapWaiting-len(w.mu.waiting))
	if w.mu.bytes >= tapBytes {
		n = 0
	}
	w.mu.tokens -= float64(n)
	w.mu.skipped += uint64(matching - n)
	for i := range n {
		at := i * matching / n
		if len(w.find) > 0 {
			dst[from+i] = dst[from+at]
		} else {
			dst = append(dst, at)
		}
	}
	return dst[:from+n]
}

func (w *Watch) holds(e *abi.Event) bool {
	return bytes.Contains(e.Subject, w.find) || bytes.Contains(e.Key, w.find) || bytes.Contains(e.Headers, w.find) ||
		bytes.Contains(e.Payload[:min(len(e.Payload), findWithin)], w.find)
}

// Put hands over one sample that Pick asked for.
func (w *Watch) Put(s *Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.waiting = append(w.mu.waiting, s)
	w.mu.bytes += s.size()
}

// What became of an event at a stage, in a Sample.
const (
	OutcomeEmitted      = "emitted"
	OutcomeDropped      = "dropped"
	OutcomeRetried      = "retried"
	OutcomeDeadLettered = "dead-lettered"
	OutcomeFault        = "fault" // the call failed; what follows is up to retry and on_failure
)

// Sample is one event at one stage, before and after. It holds copies.
type Sample struct {
	Time      time.Time
	Partition int
	Attempt   int
	Before    Shown
	Outcome   string
	Reason    string // of the plugin, or the fault
	After     []Shown
	Outputs   int // how many there were; After has the first ones
}

// Shown is a copy of an event or an output, as far as it is shown.
type Shown struct {
	Seq     uint64 // of the topic; 0 for what no event has caused
	Stored  int64  // when the topic stored it, ns
	Subject string
	Key     string
	Headers []byte // abi header entries
	Payload []byte // at most ShownBytes
	Bytes   int    // of the whole payload
	Output  string // name of the pipeline's output; "" for an event, or on the way to the next stage
	Topic   string // where the output goes
	Refused string // why the output cannot be published
}

func (s *Sample) size() int {
	n := len(s.Reason) + s.Before.size()
	for i := range s.After {
		n += s.After[i].size()
	}
	return n
}

func (s *Shown) size() int {
	return len(s.Subject) + len(s.Key) + len(s.Headers) + len(s.Payload) + 64
}
