package pipeline

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// Stats is what a pipeline did since New.
type Stats struct {
	In, Out, Dropped, Retried, DeadLettered uint64
	Faults                                  map[string]uint64  // by kind
	Backpressure                            map[string]float64 // seconds by reason
	InFlight, InFlightBytes                 int
	Lag                                     uint64 // events of the topic not yet finished
	AckedSeq                                uint64
	Paused                                  bool
	Idle                                    bool   // paused, nothing is being fetched, and the position of all that was is stored
	Throttled                               string // which plugin is held back, and why; "" = none
	LastFault                               Fault  // zero: none
}

// Fault is one failure of a plugin.
type Fault struct {
	Kind, Stage, Plugin string
	Text                string
	At                  time.Time
}

// counters is the mutable side of Stats.
type counters struct {
	in, out, dropped, retried, dead atomic.Uint64
	events, bytes                   atomic.Int64
	lag, acked                      atomic.Uint64

	mu struct {
		sync.Mutex
		faults  map[string]uint64
		blocked map[string]float64
		last    Fault
	}
}

func (c *counters) init() {
	c.mu.faults, c.mu.blocked = map[string]uint64{}, map[string]float64{}
}

func (c *counters) enter(n, bytes int, lag uint64) {
	c.in.Add(uint64(n))
	c.events.Add(int64(n))
	c.bytes.Add(int64(bytes))
	c.lag.Store(lag)
}

func (c *counters) leave(n, bytes int) {
	c.events.Add(-int64(n))
	c.bytes.Add(-int64(bytes))
}

func (c *counters) inFlight() (events, bytes int) {
	return int(c.events.Load()), int(c.bytes.Load())
}

func (c *counters) count(n event.Counts) {
	c.dropped.Add(uint64(n.Dropped))
	c.retried.Add(uint64(n.Retried))
	c.dead.Add(uint64(n.DeadLettered))
}

func (c *counters) fault(st *stage, kind string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.faults[kind]++
	c.mu.last = Fault{Kind: kind, Stage: st.Name, Plugin: st.Plugin, Text: err.Error(), At: time.Now()}
}

// giveUp counts an event that was dropped for a failure that has been counted.
func (c *counters) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.faults["dropped_on_failure"]++
}

func (c *counters) block(reason string, d time.Duration) {
	c.mu.Lock()
	c.mu.blocked[reason] += d.Seconds()
	c.mu.Unlock()
}

// Stats returns the counters now. It never waits for the data path.
func (p *Pipeline) Stats() Stats {
	c := &p.stats
	events, bytes := c.inFlight()
	s := Stats{
		In: c.in.Load(), Out: c.out.Load(), Dropped: c.dropped.Load(), Retried: c.retried.Load(),
		DeadLettered: c.dead.Load(), InFlight: events, InFlightBytes: bytes,
		Lag: c.lag.Load() + uint64(max(events, 0)), AckedSeq: c.acked.Load(),
	}
	c.mu.Lock()
	s.LastFault = c.mu.last
	s.Faults, s.Backpressure = maps.Clone(c.mu.faults), maps.Clone(c.mu.blocked)
	c.mu.Unlock()
	p.mu.Lock()
	s.Paused = p.mu.paused != nil
	parked := s.Paused && p.mu.parked
	p.mu.Unlock()
	if parked { // what it has fetched last is counted by now
		events, _ := c.inFlight()
		s.Idle = events == 0
	}
	for _, st := range p.cfg.Stages {
		if why := p.deps.Throttle.account(p.cfg.Name, st.Plugin).explain(st.Plugin); why != "" {
			s.Throttled = why
			break
		}
	}
	return s
}
