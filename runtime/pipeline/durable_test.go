package pipeline

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// An event is in flight until no crash brings it back: what a crash repeats is
// at most what may be in flight.
func TestAnEventIsInFlightUntilItsPositionIsDurable(t *testing.T) {
	const limit = 10
	for name, byBudget := range map[string]bool{"by the pipeline's room": false, "by the budget of a plugin": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSource(numbers(25)...)
				src.behind = true
				cfg := testConfig()
				if !byBudget {
					cfg.Room.Events = limit
				}
				share := NewBudget(limit, 1<<20, 0).Share("p")
				r := start(t, cfg, src, each(pass), func(d *Deps, _ *sinkLog) {
					if byBudget {
						d.Shares = []*Share{share}
					}
				})
				for want := limit; want < 25; want += limit {
					time.Sleep(time.Second)
					synctest.Wait()
					st := r.Stats()
					if n := len(r.log.payloads(0)); n != want || src.ackedSeq() != want || st.InFlight != limit {
						t.Fatalf("%d outputs, acknowledged up to %d, %d in flight; want %d, %d, %d", n, src.ackedSeq(), st.InFlight, want, want, limit)
					}
					if st.Backpressure[event.ReasonPosition] < 0.5 {
						t.Errorf("backpressure %v does not say that it waits for its position", st.Backpressure)
					}
					src.store()
				}
				time.Sleep(time.Second)
				src.store()
				if err := r.drain(); err != nil {
					t.Error(err)
				}
				if st := r.Stats(); st.AckedSeq != 25 || st.InFlight != 0 {
					t.Errorf("%+v", st)
				}
				if free := share.Free(); free.Events != limit {
					t.Errorf("%d events of the budget are free", free.Events)
				}
			})
		})
	}
}

// Acknowledgements are coalesced. The last of a run of finished events is
// acknowledged also when nothing else ever finishes: it keeps room that others
// may wait for.
func TestTheLastFinishedEventIsAcknowledgedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource("1", "2", "3")
		cfg := testConfig()
		cfg.Batch.MaxEvents = 1
		release := make(chan struct{})
		r := start(t, cfg, src, each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			if string(e.Payload) == "3" {
				<-release
			}
			w.Outcome(i, abi.CodeDrop, 0, "")
			return nil
		}))
		time.Sleep(time.Second)
		synctest.Wait()
		if src.ackedSeq() != 2 {
			t.Errorf("acknowledged up to %d while event 3 is at the plugin", src.ackedSeq())
		}
		close(release)
		if err := r.drain(); err != nil {
			t.Error(err)
		}
	})
}

// The clock may be set back while events are under way: those then carry times
// to come. Nothing waits for that time, and no latency is negative.
func TestAClockThatIsSetBackHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(numbers(20)...)
		for i := range src.events {
			src.events[i].Time += time.Hour.Nanoseconds()
		}
		began := time.Now()
		r := start(t, testConfig(), src, each(pass), func(d *Deps, _ *sinkLog) {
			d.Listener.Done = func(_ string, _, _ int, oldest time.Duration, _ event.TraceID) {
				if oldest != 0 {
					t.Errorf("an event from the future took %s", oldest)
				}
			}
		})
		synctest.Wait()
		time.Sleep(time.Second)
		if src.ackedSeq() != 20 {
			t.Errorf("%s later %d are acknowledged", time.Since(began), src.ackedSeq())
		}
		if err := r.drain(); err != nil {
			t.Error(err)
		}
	})
}
