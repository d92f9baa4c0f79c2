package engine

import (
	"math/bits"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Rates are taken over the last whole slots, so that a change shows within two
// seconds; backpressure over twice as many, because a wait is reported once a
// second.
const (
	slotTime     = 500 * time.Millisecond
	rateSlots    = 4
	blockedSlots = 8
	// quantileTime is how long a histogram takes in durations; the one before it
	// counts as well.
	quantileTime = 5 * time.Second
)

// window adds up what happens by time; it holds the slot at hand and those
// before it.
type window struct {
	slots [blockedSlots + 1]float64
	head  int64 // number of the newest slot
}

func (w *window) add(slot int64, v float64) {
	w.forward(slot)
	w.slots[slot%int64(len(w.slots))] += v
}

// forward makes slot the newest; those that were skipped are empty.
func (w *window) forward(slot int64) {
	for n := 0; w.head < slot; n++ {
		if n == len(w.slots) {
			w.head = slot
			return
		}
		w.head++
		w.slots[w.head%int64(len(w.slots))] = 0
	}
}

// perSecond is the mean over the last n whole slots.
func (w *window) perSecond(slot int64, n int) float64 {
	w.forward(slot)
	sum := 0.0
	for i := int64(1); i <= int64(n); i++ {
		if at := slot - i; at >= 0 {
			sum += w.slots[at%int64(len(w.slots))]
		}
	}
	return sum / (float64(n) * slotTime.Seconds())
}

// A histogram has eight buckets to the octave of nanoseconds, so that a
// quantile is right to six percent, up to half an hour.
const (
	octaves   = 41
	perOctave = 8
)

type histogram struct {
	counts [octaves * perOctave]uint32
	total  uint64
}

// quantiles is a histogram of the last quantileTime to twice that.
type quantiles struct {
	now, before histogram
	turn        int64 // number of the period of now
}

func (q *quantiles) add(period int64, d time.Duration) {
	q.forward(period)
	q.now.counts[bucketOf(d)]++
	q.now.total++
}

func (q *quantiles) forward(period int64) {
	switch period {
	case q.turn:
		return
	case q.turn + 1:
		q.before = q.now
	default:
		q.before = histogram{}
	}
	q.now, q.turn = histogram{}, period
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, perOctave))
	e := bits.Len64(v) - 1 // 3 at the least
	return min((e-3)*perOctave+int(v>>(e-3))&(perOctave-1), octaves*perOctave-1)
}

// middleOf is the middle of a bucket, in seconds.
func middleOf(bucket int) float64 {
	e, m := bucket/perOctave, bucket%perOctave
	return (float64(perOctave+m) + 0.5) * float64(uint64(1)<<e) / 1e9
}

func (q *quantiles) read(period int64) status.Quantiles {
	q.forward(period)
	total := q.now.total + q.before.total
	out := status.Quantiles{Count: total}
	if total == 0 {
		return out
	}
	half, most := (total+1)/2, total-total/100
	seen := uint64(0)
	for i := range q.now.counts {
		n := uint64(q.now.counts[i]) + uint64(q.before.counts[i])
		if seen < half && seen+n >= half {
			out.P50 = middleOf(i)
		}
		if seen += n; seen >= most {
			out.P99 = middleOf(i)
			break
		}
	}
	return out
}

// meter measures what one pipeline does lately, by stage. It hears of it from
// the listener, once a batch, over all runs of the pipeline.
type meter struct {
	start time.Time

	mu struct {
		sync.Mutex
		stages   []*stageMeter
		in, done window
		out      window
		dropped  window
		retried  window
		dead     window
		endToEnd quantiles
		blocked  map[string]*window
	}
}

type stageMeter struct {
	name, plugin                string
	total                       event.Counts
	faults                      map[string]uint64
	in, out, calls, called, run window // called: events in calls; run: seconds in calls
	call                        quantiles
}

// newMeter returns the meter of a pipeline with those stages. What before, nil
// or the meter of the same pipeline before a change, has counted goes on.
func newMeter(names, plugins []string, before *meter) *meter {
	m := &meter{start: time.Now()}
	m.mu.blocked = map[string]*window{}
	for i, name := range names {
		m.mu.stages = append(m.mu.stages, &stageMeter{name: name, plugin: plugins[i], faults: map[string]uint64{}})
	}
	if before == nil {
		return m
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	for _, st := range m.mu.stages {
		for _, old := range before.mu.stages {
			if old.name == st.name && old.plugin == st.plugin {
				st.total = old.total
				for kind, n := range old.faults {
					st.faults[kind] = n
				}
			}
		}
	}
	return m
}

// now returns the numbers of the slot and of the period at hand, from 1.
func (m *meter) now() (slot, period int64) {
	d := time.Since(m.start)
	return 1 + int64(d/slotTime), 1 + int64(d/quantileTime)
}

func (m *meter) stageLocked(name string) *stageMeter {
	for _, st := range m.mu.stages {
		if st.name == name {
			return st
		}
	}
	return &stageMeter{faults: map[string]uint64{}} // of a stage that is no more
}

func (m *meter) listener() event.Listener {
	return event.Listener{
		Fetched: func(_ string, n, _ int, _ uint64) {
			slot, _ := m.now()
			m.mu.Lock()
			m.mu.in.add(slot, float64(n))
			m.mu.Unlock()
		},
		Called: func(_, stage, _ string, n int, d time.Duration, _ error, _ event.TraceID) {
			slot, period := m.now()
			m.mu.Lock()
			st := m.stageLocked(stage)
			st.calls.add(slot, 1)
			st.called.add(slot, float64(n))
			st.run.add(slot, d.Seconds())
			st.call.add(period, d)
			m.mu.Unlock()
		},
		Stage: func(_, stage, _ string, c event.Counts) {
			slot, _ := m.now()
			m.mu.Lock()
			st := m.stageLocked(stage)
			st.total.In += c.In
			st.total.Out += c.Out
			st.total.Dropped += c.Dropped
			st.total.Retried += c.Retried
			st.total.DeadLettered += c.DeadLettered
			st.in.add(slot, float64(c.In))
			st.out.add(slot, float64(c.Out))
			m.mu.dropped.add(slot, float64(c.Dropped))
			m.mu.retried.add(slot, float64(c.Retried))
			m.mu.dead.add(slot, float64(c.DeadLettered))
			m.mu.Unlock()
		},
		Published: func(_, topic string, n, _ int) {
			if topic == plan.DeadLetters { // they have a rate of their own
				return
			}
			slot, _ := m.now()
			m.mu.Lock()
			m.mu.out.add(slot, float64(n))
			m.mu.Unlock()
		},
		Done: func(_ string, n, _ int, oldest time.Duration, _ event.TraceID) {
			slot, period := m.now()
			m.mu.Lock()
			m.mu.done.add(slot, float64(n))
			m.mu.endToEnd.add(period, oldest)
			m.mu.Unlock()
		},
		Blocked: func(_, reason string, d time.Duration) {
			slot, _ := m.now()
			m.mu.Lock()
			w := m.mu.blocked[reason]
			if w == nil {
				w = &window{}
				m.mu.blocked[reason] = w
			}
			w.add(slot, d.Seconds())
			m.mu.Unlock()
		},
		Fault: func(_, stage, _, kind string, _ error) {
			m.mu.Lock()
			m.stageLocked(stage).faults[kind]++
			m.mu.Unlock()
		},
	}
}

// describe adds to p what happened lately.
func (m *meter) describe(p *status.Pipeline) {
	slot, period := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	rate := func(w *window) float64 { return w.perSecond(slot, rateSlots) }
	p.Rates = status.Rates{
		In: rate(&m.mu.in), Done: rate(&m.mu.done), Out: rate(&m.mu.out),
		Dropped: rate(&m.mu.dropped), Retried: rate(&m.mu.retried), DeadLettered: rate(&m.mu.dead),
	}
	p.EndToEnd = m.mu.endToEnd.read(period)
	p.Blocked = map[string]float64{}
	for reason, w := range m.mu.blocked {
		if part := min(w.perSecond(slot, blockedSlots), 1); part > 0 {
			p.Blocked[reason] = part
		}
	}
	p.StageStats = make([]status.Stage, 0, len(m.mu.stages))
	for _, st := range m.mu.stages {
		s := status.Stage{
			Name: st.name, Plugin: st.plugin,
			In: uint64(st.total.In), Out: uint64(st.total.Out), Dropped: uint64(st.total.Dropped),
			Retried: uint64(st.total.Retried), DeadLettered: uint64(st.total.DeadLettered),
			RateIn: rate(&st.in), RateOut: rate(&st.out), Busy: rate(&st.run), Call: st.call.read(period),
			Faults: add(st.faults, nil),
		}
		if calls := rate(&st.calls); calls > 0 {
			s.Batch = rate(&st.called) / calls
		}
		p.StageStats = append(p.StageStats, s)
	}
}
