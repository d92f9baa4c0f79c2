package pipeline

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"github.com/wasmill/wasmill/sdk/abi"
)

// When a pipeline is quarantined.
const (
	// quarantineEvents is the score, in events given up, at which a pipeline
	// without a key is set aside; with a key, if they had as many keys.
	quarantineEvents = 16
	// quarantineSameKey is the score at which one with a key is set aside whatever
	// the keys were: one bad key does not stop the others so soon.
	quarantineSameKey = 64
	// successDecay is what one event that succeeds leaves of the score: fewer than
	// a fifth of all events have to succeed for it to reach quarantineEvents.
	successDecay = 0.75
	// probeScore is the score after a rest: half as many failures send the
	// pipeline back.
	probeScore = quarantineEvents / 2
)

// Conduct is the record of a pipeline's events that were given up for a fault of
// a plugin, over all its partitions and runs. Its score counts them and decays
// with each event that succeeds, so that one success does not wipe out a long
// record of failures. Events that a plugin itself refuses, with an error of its
// handler or as dead letters, are no faults. Safe for concurrent use.
type Conduct struct {
	seed maphash.Seed
	bad  atomic.Bool                     // the score is not zero
	over atomic.Pointer[QuarantineError] // why the pipeline is set aside

	mu struct {
		sync.Mutex
		score         float64
		keys          map[uint64]struct{} // of the events in the score, at most quarantineEvents
		given, passed int                 // events since the last Probe or Clear
	}
}

// QuarantineError is what Run returns when a pipeline has been set aside. Every
// event that was begun is finished and acknowledged; the others stay in the
// topic.
type QuarantineError struct {
	Stage, Plugin string
	Reason        string
	// Recovered says that most events had succeeded since the last Probe.
	Recovered bool
}

// Error says why.
func (e *QuarantineError) Error() string { return e.Reason }

// errCut ends a batch early, when the pipeline is set aside or drained: what was
// begun is finished, the rest stays unacknowledged.
var errCut = errors.New("the batch ends early")

// NewConduct returns a clean record.
func NewConduct() *Conduct {
	c := &Conduct{seed: maphash.MakeSeed()}
	c.mu.keys = map[uint64]struct{}{}
	return c
}

// fail counts an event that was given up. key is nil when the pipeline has none.
// It returns the error that sets the pipeline aside, when this event does.
func (c *Conduct) fail(st *stage, key []byte, keyed bool, why failure) *QuarantineError {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.score++
	c.mu.given++
	if keyed && len(c.mu.keys) < quarantineEvents {
		c.mu.keys[maphash.Bytes(c.seed, key)] = struct{}{}
	}
	c.bad.Store(true)
	enough := c.mu.score >= quarantineEvents && (!keyed || len(c.mu.keys) >= quarantineEvents)
	if !enough && c.mu.score < quarantineSameKey || c.over.Load() != nil {
		return nil
	}
	e := &QuarantineError{
		Stage: st.Name, Plugin: st.Plugin, Recovered: c.mu.passed > c.mu.given,
		Reason: fmt.Sprintf("stage %q has failed on nearly every event; the last of %d: %s", st.Name, c.mu.given, describe(why)),
	}
	c.over.Store(e)
	return e
}

// describe is the kind and the cause of a failure, once each.
func describe(why failure) string {
	if len(why.cause) >= len(why.kind) && why.cause[:len(why.kind)] == why.kind {
		return why.cause // a fault of the host says its kind itself
	}
	return why.kind + ": " + why.cause
}

// pass counts n events that succeeded.
func (c *Conduct) pass(n int) {
	if n <= 0 || !c.bad.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.passed += n
	c.mu.score *= math.Pow(successDecay, float64(n))
	if c.mu.score < 1 {
		c.mu.score = 0
		clear(c.mu.keys)
		c.bad.Store(c.mu.passed < quarantineSameKey) // what follows needs no counting
	}
}

// aside is why the pipeline is set aside, or nil.
func (c *Conduct) aside() *QuarantineError { return c.over.Load() }

// Probe lets a pipeline that was set aside try again; half the failures of the
// first time set it aside once more.
func (c *Conduct) Probe() { c.reset(probeScore) }

// Clear forgets everything: the plugin is another one, or an operator wants it.
func (c *Conduct) Clear() { c.reset(0) }

func (c *Conduct) reset(score float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.score = min(c.mu.score, score)
	c.mu.given, c.mu.passed = 0, 0
	clear(c.mu.keys)
	c.bad.Store(true) // count passes from now on: they show that it has recovered
	c.over.Store(nil)
}

// misconduct says whether a failure of that kind is a fault of the plugin.
func misconduct(kind string) bool { return kind != abi.FaultHandlerError }

// begun returns how many of the events belong to events of the batch of which
// something has been published already, or to none: a pipeline that is set aside
// still finishes those, and leaves the others to the next run.
func (r *run) begun(origin []int) int {
	for i, at := range origin {
		if at > r.reached {
			return i
		}
	}
	return len(origin)
}

// cutAt turns errDraining into errCut if nothing has come of event at of the batch
// yet: then everything before it is complete.
func (r *run) cutAt(at int, err error) error {
	if errors.Is(err, errDraining) && at > r.reached {
		return errCut
	}
	return err
}

// reach notes that what happened to an event of the batch cannot be undone.
func (r *run) reach(at int) { r.reached = max(r.reached, at) }

// cut leaves the first n events in the batch. The others stay unacknowledged.
func (b *batch) cut(n int) {
	clear(b.events[n:])
	b.events, b.slots, b.made = b.events[:n], b.slots[:n], b.made[:n]
	if len(b.traces) > 0 {
		b.traces = b.traces[:n]
	}
	b.bytes = 0
	for i := range b.events {
		b.bytes += eventBytes(&b.events[i])
	}
}
