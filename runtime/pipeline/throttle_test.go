package pipeline

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// burner is a plugin whose calls take time, and counts it.
type burner struct {
	calls, at, most atomic.Int64 // calls so far, running now, running at once at the most
	burnt           atomic.Int64 // ns
}

// procs makes the instances. call says what the n-th call does after how long.
func (b *burner) procs(call func(n int64, e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error)) procs {
	return each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
		if n := b.at.Add(1); n > b.most.Load() {
			b.most.Store(n)
		}
		defer b.at.Add(-1)
		d, err := call(b.calls.Add(1), e, w, i)
		time.Sleep(d)
		b.burnt.Add(int64(d))
		return err
	})
}

func (b *burner) total() time.Duration { return time.Duration(b.burnt.Load()) }

// single is a configuration with one event a call, which is tried until it
// succeeds.
func single() Config {
	cfg := testConfig()
	cfg.Batch.MaxEvents = 1
	cfg.Retry = Retry{Attempts: 1 << 30, Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond}
	cfg.Room = event.Room{Events: 1 << 20, Bytes: 1 << 30} // or it looks for room every 10 ms
	return cfg
}

func trapAfter(d time.Duration) (time.Duration, error) { return d, &testFault{abi.FaultTrap, "trap"} }

// Invariant A4: a plugin that wastes its time keeps a tenth of a processor.
func TestAPluginThatWastesItsTimeIsHeldBack(t *testing.T) {
	const minutes = 10
	most := freeFaults + minutes*time.Minute/10 + 2*time.Second
	for name, test := range map[string]struct {
		call   func(n int64, w *abi.ResponseWriter, i uint32) (time.Duration, error)
		wasted float64 // part of what it burns
	}{
		"always to its deadline": {func(int64, *abi.ResponseWriter, uint32) (time.Duration, error) {
			return 100 * time.Millisecond, &testFault{abi.FaultDeadline, "stopped"}
		}, 1},
		"nearly to its deadline, then a trap": {func(int64, *abi.ResponseWriter, uint32) (time.Duration, error) {
			return trapAfter(900 * time.Millisecond)
		}, 1},
		"with a quick success between": {func(n int64, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
			if n%2 == 0 {
				w.Pass(i, 0)
				return time.Microsecond, nil
			}
			return trapAfter(900 * time.Millisecond)
		}, 1},
		"only to say later": {func(_ int64, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
			w.Outcome(i, abi.CodeRetry, 0, "later")
			return 900 * time.Millisecond, nil
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &burner{}
				r := start(t, single(), newSource(numbers(10000)...), b.procs(func(n int64, _ *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
					return test.call(n, w, i)
				}))
				time.Sleep(minutes * time.Minute)
				synctest.Wait()
				if d := b.total(); d > most || d < most/2 {
					t.Errorf("it had %s of the processor in %d minutes, want at most %s", d, minutes, most)
				}
				s := r.Stats()
				if s.Backpressure[event.ReasonThrottled] < minutes*60*0.8 || !strings.Contains(s.Throttled, `plugin "plug"`) {
					t.Errorf("the time and reason are not told: %v, %q", s.Backpressure, s.Throttled)
				}
				if err := r.drain(); err != nil {
					t.Error(err)
				}
			})
		})
	}
	t.Run("in all partitions together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := single()
			cfg.Partitions = 16
			cfg.Key = mustKey(t, "subject:2")
			b := &burner{}
			r := start(t, cfg, spread(10000, 100), b.procs(func(int64, *abi.Event, *abi.ResponseWriter, uint32) (time.Duration, error) {
				return trapAfter(100 * time.Millisecond)
			}))
			time.Sleep(time.Minute) // in debt by now
			b.most.Store(0)
			time.Sleep(minutes * time.Minute)
			synctest.Wait()
			if d := b.total(); d > most+10*time.Second {
				t.Errorf("it had %s of the processor in %d minutes", d, minutes)
			}
			if n := b.most.Load(); n != 1 {
				t.Errorf("%d partitions were at it at once, want one after the other", n)
			}
			if err := r.drain(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("in many pipelines together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const pipelines = 20
			b, throttle := &burner{}, NewThrottle()
			rigs := make([]*rig, pipelines)
			for i := range rigs {
				cfg := single()
				cfg.Name = fmt.Sprint("p", i)
				rigs[i] = start(t, cfg, newSource(numbers(10000)...), b.procs(func(int64, *abi.Event, *abi.ResponseWriter, uint32) (time.Duration, error) {
					return trapAfter(100 * time.Millisecond)
				}), func(d *Deps, _ *sinkLog) { d.Throttle = throttle })
			}
			time.Sleep(5 * time.Minute) // all in debt by now
			before := b.total()
			time.Sleep(minutes * time.Minute)
			synctest.Wait()
			most := time.Duration(float64(minutes*time.Minute)*faultShareAll*float64(runtime.GOMAXPROCS(0))) + pipelines*time.Second
			if d := b.total() - before; d > most {
				t.Errorf("%d bad pipelines had %s in %d minutes, want %s at the most", pipelines, d, minutes, most)
			}
			for _, r := range rigs {
				if err := r.drain(); err != nil {
					t.Error(err)
				}
			}
		})
	})
}

func TestAPluginThatWorksIsNotHeldBack(t *testing.T) {
	for name, call := range map[string]func(e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error){
		"slow": func(e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
			return 900 * time.Millisecond, pass(e, w, i)
		},
		"with one event in a thousand that it cannot process": func(e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
			if strings.HasSuffix(string(e.Payload), "000") {
				return trapAfter(3 * time.Millisecond)
			}
			return 10 * time.Microsecond, pass(e, w, i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &burner{}
				src, cfg := newSource(numbers(20000)...), single()
				cfg.Retry.Attempts = 1
				r := start(t, cfg, src, b.procs(func(_ int64, e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
					return call(e, w, i)
				}), func(d *Deps, _ *sinkLog) { d.DrainTimeout = 24 * time.Hour })
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := r.Stats(); s.Backpressure[event.ReasonThrottled] != 0 || s.Throttled != "" {
					t.Errorf("held back for %v: %s", s.Backpressure, s.Throttled)
				}
				if b.total() < 59*time.Second && src.ackedSeq() != 20000 {
					t.Errorf("%d events in a minute, %s of work", src.ackedSeq(), b.total())
				}
				if err := r.drain(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// slowStart is a plugin whose instances take long to start after a fault.
type slowStart struct {
	funcProc
	faulted bool
	started time.Duration
}

func (p *slowStart) Started() time.Duration { return p.started }

func TestTheStartOfAFreshInstanceIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spent := time.Duration(0)
		r := start(t, single(), newSource(numbers(10000)...), func(int, int) (Processor, error) {
			p := &slowStart{}
			p.event = func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				p.started = 0
				if p.faulted {
					p.faulted, p.started = false, 500*time.Millisecond
					time.Sleep(p.started)
					spent += p.started
					return pass(e, w, i)
				}
				p.faulted = true
				return &testFault{abi.FaultTrap, "trap"}
			}
			return p, nil
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Error(err)
		}
		if spent > freeFaults+61*time.Second {
			t.Errorf("%s of ten minutes went into fresh instances", spent)
		}
	})
}

func TestAnotherPluginHasNoDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &burner{}
		src := newSource(numbers(1000)...)
		r := start(t, single(), src, b.procs(func(int64, *abi.Event, *abi.ResponseWriter, uint32) (time.Duration, error) {
			return trapAfter(time.Minute)
		}))
		time.Sleep(2 * time.Minute)
		if r.Stats().Throttled == "" {
			t.Error("it is not held back")
		}
		if err := r.Swap(t.Context(), 0, func(p int) (Processor, error) { return each(pass)(0, p) }); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := src.ackedSeq(); got != 1000 {
			t.Errorf("the fixed plugin has finished %d of 1000", got)
		}
		if err := r.drain(); err != nil {
			t.Error(err)
		}
	})
}

// A plugin that is held back keeps nobody waiting who wants to stop.
func TestADrainDoesNotWaitForADebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &burner{}
		r := start(t, single(), newSource(numbers(1000)...), b.procs(func(int64, *abi.Event, *abi.ResponseWriter, uint32) (time.Duration, error) {
			return trapAfter(time.Minute)
		}))
		time.Sleep(2 * time.Minute)
		begin := time.Now()
		if err := r.drain(); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("the drain took %s", d)
		}
	})
}

func TestAPipelineRunsNoMoreCallsThanThereAreProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := single()
		cfg.Partitions = 4 * runtime.GOMAXPROCS(0)
		cfg.Key = mustKey(t, "subject:2")
		b := &burner{}
		src := spread(500, 100)
		r := start(t, cfg, src, b.procs(func(_ int64, e *abi.Event, w *abi.ResponseWriter, i uint32) (time.Duration, error) {
			return time.Second, pass(e, w, i)
		}))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Error(err)
		}
		if n := int(b.most.Load()); n != runtime.GOMAXPROCS(0) || src.ackedSeq() != 500 {
			t.Errorf("%d calls at once on %d processors; %d events done", n, runtime.GOMAXPROCS(0), src.ackedSeq())
		}
	})
}

// spread is a source of n events with that many keys, in turn.
func spread(n, keys int) *fakeSource {
	src := newSource(numbers(n)...)
	for i := range src.events {
		src.events[i].Subject = fmt.Appendf(nil, "in.%d", i%keys)
	}
	return src
}
