package engine

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// What a pipeline does lately is right to a few percent, follows a change within
// two seconds, and is nothing when it does nothing.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter([]string{"a", "b"}, []string{"p", "q"}, nil)
		hear := m.listener()
		read := func() status.Pipeline {
			var p status.Pipeline
			m.describe(&p)
			return p
		}
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > want*0.07 {
				t.Errorf("%s is %g, want about %g", what, got, want)
			}
		}
		work := func(n int, perSecond int) {
			for range n {
				for i := range 10 {
					hear.Fetched("x", perSecond/10, 100, 0)
					d := time.Millisecond
					if i == 0 {
						d = 50 * time.Millisecond // one in ten
					}
					hear.Called("x", "a", "p", perSecond/10, d, nil, event.TraceID{})
					hear.Stage("x", "a", "p", event.Counts{In: perSecond / 10, Out: perSecond / 20, Dropped: perSecond / 20})
					hear.Published("x", "out", perSecond/20, 10)
					hear.Published("x", "dead-letters", 1, 10)
					hear.Done("x", perSecond/10, 10, 20*time.Millisecond, event.TraceID{})
					hear.Blocked("x", event.ReasonRate, 25*time.Millisecond)
					time.Sleep(100 * time.Millisecond)
				}
			}
		}
		work(12, 1000)
		p := read()
		near("in", p.Rates.In, 1000)
		near("done", p.Rates.Done, 1000)
		near("out", p.Rates.Out, 500)
		near("dropped", p.Rates.Dropped, 500)
		near("blocked", p.Blocked[event.ReasonRate], 0.25)
		near("end to end p50", p.EndToEnd.P50, 0.020)
		a := p.StageStats[0]
		near("rate in", a.RateIn, 1000)
		near("batch", a.Batch, 100)
		near("p50", a.Call.P50, 0.001)
		near("p99", a.Call.P99, 0.050)
		near("busy", a.Busy, 0.059)
		if a.In != 12_000 || a.Dropped != 6_000 || p.StageStats[1].In != 0 || p.StageStats[1].Plugin != "q" {
			t.Errorf("stages are %+v", p.StageStats)
		}

		work(2, 5000)
		if got := read().Rates.In; got < 2000 {
			t.Errorf("two seconds after the change the rate is still %g", got)
		}

		// Counts outlive a change of the configuration.
		hear.Fault("x", "a", "p", "trap", nil)
		next := newMeter([]string{"a", "b"}, []string{"p", "other"}, m)
		var changed status.Pipeline
		next.describe(&changed)
		if changed.StageStats[0].In == 0 || changed.StageStats[0].Faults["trap"] != 1 || changed.StageStats[1].In != 0 {
			t.Errorf("after a change the stages are %+v", changed.StageStats)
		}

		time.Sleep(11 * time.Second)
		p = read()
		if p.Rates != (status.Rates{}) || p.EndToEnd != (status.Quantiles{}) || len(p.Blocked) != 0 || p.StageStats[0].Call.Count != 0 {
			t.Errorf("idle, but %+v", p)
		}
	})
}

func TestBuckets(t *testing.T) {
	for d := time.Duration(8); d < time.Hour; d = d*9/8 + 1 {
		got := middleOf(bucketOf(d))
		if want := d.Seconds(); d < 30*time.Minute && math.Abs(got-want) > want*0.07 {
			t.Errorf("%s is read as %gs", d, got)
		}
	}
	if bucketOf(-1) != 0 || bucketOf(math.MaxInt64) != octaves*perOctave-1 {
		t.Error("what is out of range is not kept in it")
	}
}

func TestTopicRates(t *testing.T) {
	var tr trend
	now := time.Now()
	at := func(d time.Duration, seq uint64) *float64 {
		topics := []status.Topic{{Name: "t", LastSeq: seq}}
		tr.rate(topics, now.Add(d))
		return topics[0].Rate
	}
	if at(0, 100) != nil {
		t.Error("one look is no rate")
	}
	at(time.Second, 200)
	if r := at(2*time.Second, 400); r == nil || *r != 200 {
		t.Errorf("got %v", r)
	}
	if r := at(2100*time.Millisecond, 500); r == nil || math.Abs(*r-272.7) > 1 {
		t.Errorf("between two looks: %v", r)
	}
	if r := at(3*time.Second, 1); r != nil {
		t.Errorf("a topic made anew has rate %v", *r)
	}
	if r := at(4*time.Second, 2); r == nil || *r != 1 {
		t.Errorf("it has one again: %v", r)
	}
	if r := at(2*time.Minute, 1000); r != nil {
		t.Errorf("after a long pause: %v", *r)
	}
}
