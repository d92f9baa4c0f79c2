package pipeline

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// A plugin's limits are shared by all pipelines that use it, and outlive every
// run of one: what a run that ended had in flight must be free again.
func TestARunThatEndsGivesBackWhatItHeld(t *testing.T) {
	whole := event.Room{Events: 5, Bytes: 1 << 10}
	never := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
		w.Outcome(i, abi.CodeRetry, 1, "never")
		return nil
	}
	for name, end := range map[string]func(*rig) error{
		"halted": func(r *rig) error { return <-r.done },
		"stopped while an event waits for its retry": func(r *rig) error {
			synctest.Wait()
			return r.drain()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				share := NewBudget(whole.Events, int64(whole.Bytes), 0).Share("p")
				cfg := testConfig()
				cfg.OnFailure, cfg.Batch.MaxEvents = "halt", 1
				r := start(t, cfg, newSource(numbers(20)...), each(never), func(d *Deps, _ *sinkLog) { d.Shares = []*Share{share} })
				if err := end(r); err != nil && !errors.Is(err, ErrHalted) {
					t.Error(err)
				}
				if free := share.Free(); free != whole {
					t.Errorf("after the run %+v is free, want all of %+v", free, whole)
				}
			})
		})
	}
}

// A plugin may emit outputs that no event caused. When the next stage fails on
// one, there is no event to give up.
func TestAFailureOnAnOutputWithoutAnEvent(t *testing.T) {
	for _, policy := range []string{"dead-letter", "drop", "halt"} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				cfg.OnFailure = policy
				cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
				r := start(t, cfg, newSource("1", "2"), func(stage, _ int) (Processor, error) {
					return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
						switch {
						case stage == 0:
							w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("out.x"), Payload: []byte("poison")})
						case string(e.Payload) == "poison":
							return &testFault{abi.FaultTrap, "trap"}
						}
						return pass(e, w, i)
					}}, nil
				})
				if policy == "halt" {
					err := <-r.done
					if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "trap") {
						t.Errorf("Run returned %v", err)
					}
					return
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Error(err)
				}
				if got := r.log.payloads(0); len(got) != 2 {
					t.Errorf("outputs %q, want those of both events", got)
				}
			})
		})
	}
}

// What a plugin emits when it is closed may meet a stage that wants to see it
// again later. A drain does not wait for that, and it is no failure either.
func TestALastOutputThatWantsARetryDoesNotSpoilTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
		src := newSource(numbers(3)...)
		r := start(t, cfg, src, func(stage, _ int) (Processor, error) {
			if stage == 0 {
				return &funcProc{event: pass, final: func(w *abi.ResponseWriter) {
					w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("out.x"), Payload: []byte("last")})
				}}, nil
			}
			return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if string(e.Payload) == "last" {
					w.Outcome(i, abi.CodeRetry, 0, "later")
					return nil
				}
				return pass(e, w, i)
			}}, nil
		})
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Error(err)
		}
		if got := src.ackedSeq(); got != 3 {
			t.Errorf("acknowledged %d, want 3", got)
		}
	})
}

// A panic that the SDK has caught fails its event alone, is told from an error
// that the handler returns, and counts as a fault each time.
func TestAPanicOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testConfig(), newSource("1", "2", "3"), each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			switch string(e.Payload) {
			case "1":
				w.Outcome(i, abi.CodeRetry, 0, abi.PanicReason+"boom; at main.f (main.go:12)")
			case "2":
				w.Outcome(i, abi.CodeRetry, 0, "an error")
			default:
				w.Pass(i, 0)
			}
			return nil
		}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		kinds := map[string]string{}
		for _, o := range r.log.all() {
			if o.topic == 1 {
				kinds[o.payload] = o.headers[HeaderFault]
			}
		}
		if kinds["1"] != abi.FaultPanic || kinds["2"] != abi.FaultHandlerError {
			t.Errorf("faults of the dead letters: %v", kinds)
		}
		if got := r.Stats().Faults; len(got) != 1 || got[abi.FaultPanic] != 3 {
			t.Errorf("counted faults: %v, want a panic for each of 3 attempts", got)
		}
	})
}

// A swap that fails because the last outputs of the old instance cannot be
// published ends the run; whoever waits for another swap is not left waiting.
func TestADeadLetterNamesTheModuleThatFailed(t *testing.T) {
	digests := func(r *rig) (got []string) {
		for _, o := range r.log.all() {
			if o.topic == 1 {
				got = append(got, o.payload+" "+o.headers[HeaderDigest])
			}
		}
		return got
	}
	b := func(int) (Processor, error) { return named{&funcProc{event: pass}, "b"}, nil }
	t.Run("also when it was swapped before the rest of its answer was carried out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.Retry = Retry{Attempts: 2, Backoff: time.Hour, MaxBackoff: time.Hour}
			r := start(t, cfg, newSource("1", "2", "3"), func(int, int) (Processor, error) {
				return named{&funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
					switch string(e.Payload) {
					case "1":
						w.Outcome(i, abi.CodeRetry, 0, "later")
					case "2":
						w.Outcome(i, abi.CodeDeadLetter, 0, "no")
					case "3":
						w.Output(&abi.Output{Source: i, Subject: []byte("elsewhere"), Payload: e.Payload})
					}
					return nil
				}}, "a"}, nil
			})
			synctest.Wait()
			if err := r.Swap(t.Context(), 0, b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Error(err)
			}
			if got, want := strings.Join(digests(r), ", "), "2 a, 3 a"; got != want {
				t.Errorf("dead letters: %s, want %s", got, want)
			}
		})
	})
	t.Run("and the new one when that failed on the last attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.Retry = Retry{Attempts: 2, Backoff: time.Hour, MaxBackoff: time.Hour}
			trap := func(digest string) func(int) (Processor, error) {
				return func(int) (Processor, error) {
					return named{&funcProc{event: func(*abi.Event, *abi.ResponseWriter, uint32) error { return &testFault{abi.FaultTrap, digest} }}, digest}, nil
				}
			}
			r := start(t, cfg, newSource("1", "2"), func(_, p int) (Processor, error) { return trap("a")(p) })
			synctest.Wait()
			if err := r.Swap(t.Context(), 0, trap("c")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Error(err)
			}
			if got, want := strings.Join(digests(r), ", "), "1 c, 2 c"; got != want {
				t.Errorf("dead letters: %s, want %s", got, want)
			}
			f := r.Stats().LastFault
			if f.Kind != abi.FaultTrap || f.Stage != "s" || f.Plugin != "plug" || f.Text != "c" || f.At.IsZero() {
				t.Errorf("the last fault is %+v", f)
			}
		})
	})
}

func TestAFailedSwapLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.OnFailure = "halt"
		cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
		inCall, goOn := make(chan struct{}), make(chan struct{})
		discarded := 0
		r := start(t, cfg, newSource("1"), func(stage, _ int) (Processor, error) {
			return &funcProc{
				event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
					switch {
					case stage == 1 && string(e.Payload) == "last":
						return &testFault{abi.FaultTrap, "trap"}
					case stage == 0:
						close(inCall)
						<-goOn
					}
					return pass(e, w, i)
				},
				final: func(w *abi.ResponseWriter) {
					if stage == 0 {
						w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("out.x"), Payload: []byte("last")})
					}
				},
			}, nil
		})
		<-inCall
		results := make(chan error, 2)
		for range 2 {
			go func() {
				results <- r.Swap(t.Context(), 0, func(int) (Processor, error) {
					return &funcProc{event: pass, discarded: &discarded}, nil
				})
			}()
			synctest.Wait()
		}
		close(goOn)
		for range 2 {
			t.Logf("Swap returned %v", <-results)
		}
		if err := <-r.done; !errors.Is(err, ErrHalted) {
			t.Errorf("Run returned %v", err)
		}
		if discarded != 2 {
			t.Errorf("%d new instances discarded, want both", discarded)
		}
	})
}
