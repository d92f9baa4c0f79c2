package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// trapsOn is a plugin that traps on the events that bad chooses.
func trapsOn(bad func(payload string) bool) procs {
	return each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
		if bad(string(e.Payload)) {
			return &testFault{abi.FaultTrap, "trap"}
		}
		return pass(e, w, i)
	})
}

func every(string) bool { return true }

// wide is a configuration without patience and with room for long batches.
func wide() Config {
	cfg := testConfig()
	cfg.Batch.MaxEvents, cfg.Room.Events = 64, 4096
	cfg.Retry = Retry{Attempts: 1}
	return cfg
}

// A pipeline that fails on every event stops before it has emptied its topic
// into the dead letters. What it has begun is finished, and the next run goes on
// behind it.
func TestAPipelineThatFailsOnEveryEventIsSetAside(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"in its only stage":       func(*Config) {},
		"in its second stage":     func(c *Config) { c.Stages = []Stage{{Name: "first", Plugin: "first"}, {Name: "s", Plugin: "plug"}} },
		"dropping":                func(c *Config) { c.OnFailure = "drop" },
		"with keys":               func(c *Config) { c.Key, c.Partitions = mustKey(t, "subject:2"), 3 },
		"with one event a batch":  func(c *Config) { c.Batch.MaxEvents = 1 },
		"while others are queued": func(c *Config) { c.Room.Events = 20 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := wide()
				change(&cfg)
				const events = 200
				src, conduct := spread(events, events), NewConduct()
				bad := func(stage, part int) (Processor, error) {
					if stage < len(cfg.Stages)-1 {
						return each(pass)(stage, part)
					}
					return trapsOn(every)(stage, part)
				}
				lost := func(d *Deps, _ *sinkLog) { d.Conduct = conduct }
				r := start(t, cfg, src, bad, lost)
				err := <-r.done
				var q *QuarantineError
				if !errors.As(err, &q) || q.Stage != "s" || q.Plugin != "plug" || q.Recovered || !strings.Contains(q.Error(), "trap") {
					t.Fatalf("Run returned %v", err)
				}
				given := r.Stats().DeadLettered + r.Stats().Faults["dropped_on_failure"]
				if cfg.Partitions == 1 && given != quarantineEvents || given < quarantineEvents || given >= events/2 {
					t.Errorf("%d events were given up", given)
				}
				if cfg.Partitions == 1 && src.ackedSeq() != quarantineEvents {
					t.Errorf("acknowledged up to %d, want what was given up", src.ackedSeq())
				}
				if cfg.OnFailure == "dead-letter" {
					told := 0
					for _, o := range r.log.all() {
						if o.topic == 1 && o.headers[HeaderQuarantine] != "" {
							told++
						}
					}
					if told != 1 {
						t.Errorf("%d dead letters say why the pipeline was set aside, want the last", told)
					}
				}

				// After a rest half as many failures are enough.
				again := func(procs procs) (*rig, int) {
					left := newSource()
					left.events = src.events[src.ackedSeq():]
					return start(t, cfg, left, procs, lost), len(left.events)
				}
				conduct.Probe()
				r, _ = again(bad)
				if err := <-r.done; !errors.As(err, &q) {
					t.Fatalf("Run returned %v", err)
				}
				if given := r.Stats().DeadLettered + r.Stats().Faults["dropped_on_failure"]; cfg.Partitions == 1 && given != quarantineEvents-probeScore {
					t.Errorf("%d events were given up after the rest", given)
				}

				// A plugin that was mended finds all that is left.
				conduct.Clear()
				r, n := again(each(pass))
				time.Sleep(time.Minute)
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Error(err)
				}
				if got := len(r.log.payloads(0)); got != n || n <= 0 {
					t.Errorf("%d of %d events passed", got, n)
				}
			})
		})
	}
}

func TestWhatDoesNotSetAPipelineAside(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		plugin procs
	}{
		"every second event": {plugin: trapsOn(func(p string) bool { return p[len(p)-1]%2 == 1 })},
		"three in four":      {plugin: trapsOn(func(p string) bool { return p[len(p)-1]%4 != 0 })},
		"fifteen in a row":   {plugin: trapsOn(func(p string) bool { return len(p) == 2 && p >= "20" && p < "35" })},
		"errors of the handler": {plugin: each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
			w.Outcome(i, abi.CodeRetry, 0, "cannot parse")
			return nil
		})},
		"dead letters that the plugin wants": {plugin: each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
			w.Outcome(i, abi.CodeDeadLetter, 0, "not valid")
			return nil
		})},
		"one bad key in ten": {
			change: func(c *Config) { c.Key, c.Partitions = mustKey(t, "subject:2"), 4 },
			plugin: each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if string(e.Subject) == "in.7" {
					return &testFault{abi.FaultTrap, "trap"}
				}
				return pass(e, w, i)
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := wide()
				if test.change != nil {
					test.change(&cfg)
				}
				const events = 800
				src := spread(events, 10)
				r := start(t, cfg, src, test.plugin)
				time.Sleep(time.Hour)
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Error(err)
				}
				if src.ackedSeq() != events {
					t.Errorf("finished %d of %d", src.ackedSeq(), events)
				}
			})
		})
	}
}

// One bad key has four times the patience that the whole pipeline has.
func TestOneBadKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := wide()
		cfg.Key = mustKey(t, "subject:2")
		src := spread(200, 1)
		r := start(t, cfg, src, trapsOn(every))
		var q *QuarantineError
		if err := <-r.done; !errors.As(err, &q) {
			t.Fatalf("Run returned %v", err)
		}
		if got := src.ackedSeq(); got != quarantineSameKey {
			t.Errorf("given up %d, want %d", got, quarantineSameKey)
		}
	})
}

func TestOneSuccessDoesNotWipeOutFailures(t *testing.T) {
	c, st := NewConduct(), &stage{Stage: Stage{Name: "s", Plugin: "p"}}
	fail := func(n int) (q *QuarantineError) {
		for range n {
			q = c.fail(st, nil, false, failure{kind: abi.FaultTrap, cause: "trap"})
		}
		return q
	}
	if q := fail(15); q != nil {
		t.Errorf("set aside after 15: %v", q)
	}
	c.pass(1)
	if q := fail(4); q != nil {
		t.Errorf("set aside too soon: %v", q)
	}
	if fail(1) == nil {
		t.Error("a success in twenty events keeps it going")
	}
	c.Probe()
	c.pass(1000)
	if q := fail(16); q == nil || !q.Recovered {
		t.Errorf("got %+v, want it to say that most had succeeded", q)
	}
}

// A drain while an event waits for its retry finishes what was done before it.
func TestADrainAcknowledgesWhatIsBeforeAWaitingEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
		cfg.Retry = Retry{Attempts: 5, Backoff: time.Hour, MaxBackoff: time.Hour}
		src := newSource(numbers(8)...)
		r := start(t, cfg, src, func(stage, part int) (Processor, error) {
			return each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if stage == 1 && string(e.Payload) == "6" {
					w.Outcome(i, abi.CodeRetry, 0, "later")
					return nil
				}
				return pass(e, w, i)
			})(stage, part)
		})
		time.Sleep(time.Minute)
		if err := r.drain(); err != nil {
			t.Error(err)
		}
		if got := len(r.log.payloads(0)); got != 5 || src.ackedSeq() != 5 {
			t.Errorf("%d outputs, acknowledged up to %d; want 5: nothing twice after the restart", got, src.ackedSeq())
		}
	})
}

// An event whose outputs are published in part is finished before its pipeline
// is set aside.
func TestAPipelineIsNotSetAsideInTheMiddleOfAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := wide()
		cfg.Stages = []Stage{{Name: "split", Plugin: "split"}, {Name: "s", Plugin: "plug"}}
		src := newSource(numbers(40)...)
		r := start(t, cfg, src, func(stage, part int) (Processor, error) {
			if stage == 0 {
				return each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
					for _, half := range []string{"bad", "good"} {
						emit(w, i, fmt.Sprintf("%s-%s", e.Payload, half))
					}
					return nil
				})(stage, part)
			}
			return trapsOn(func(p string) bool { return strings.HasSuffix(p, "bad") })(stage, part)
		}, func(d *Deps, _ *sinkLog) {
			d.Conduct = NewConduct()
			for range quarantineEvents - 1 { // the first half of the first event is too much
				_ = d.Conduct.fail(&stage{}, nil, false, failure{})
			}
		})
		if err := <-r.done; !errors.As(err, new(*QuarantineError)) {
			t.Fatalf("Run returned %v", err)
		}
		if got := r.log.payloads(0); len(got) != 1 || got[0] != "1-good" || src.ackedSeq() != 1 {
			t.Errorf("published %q, acknowledged %d; want the other half of the event, and the event", got, src.ackedSeq())
		}
	})
}
