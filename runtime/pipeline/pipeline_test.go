package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEventsPassInOrderAndAreAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(numbers(1000)...)
		r := start(t, testConfig(), src, each(pass))
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbers(1000), r.log.payloads(0)); diff != "" {
			t.Errorf("outputs differ (-want +got):\n%s", diff)
		}
		if got := src.ackedSeq(); got != 1000 {
			t.Errorf("acknowledged up to %d, want 1000", got)
		}
		if h := r.log.all()[6].headers[HeaderSource]; h != "in/7/0" {
			t.Errorf("Wasmill-Source is %q", h)
		}
	})
}

func TestNothingIsAcknowledgedBeforeItsOutputsAreConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(numbers(10)...)
		r := start(t, testConfig(), src, each(pass), func(_ *Deps, l *sinkLog) { l.hold = true })
		synctest.Wait()
		if n := len(r.log.payloads(0)); n != 10 {
			t.Fatalf("%d outputs were added, want 10", n)
		}
		if got := src.ackedSeq(); got != 0 {
			t.Fatalf("acknowledged %d with nothing confirmed", got)
		}
		r.log.release()
		synctest.Wait()
		if got := src.ackedSeq(); got != 10 {
			t.Errorf("acknowledged %d after confirmation, want 10", got)
		}
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOneSlowPartitionHoldsTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Partitions = 4
		cfg.Key = mustKey(t, "subject:2")
		src := newSource()
		for i := range 40 {
			src.add(fmt.Sprint(i))
			src.events[i].Subject = fmt.Appendf(nil, "in.%d", i%8)
		}
		gate := make(chan struct{})
		r := start(t, cfg, src, func(_, part int) (Processor, error) {
			return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if string(e.Payload) == "0" {
					<-gate
				}
				return pass(e, w, i)
			}}, nil
		})
		synctest.Wait()
		if got := src.ackedSeq(); got != 0 {
			t.Errorf("acknowledged %d while event 1 is in a call", got)
		}
		close(gate)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if got := src.ackedSeq(); got != 40 {
			t.Errorf("acknowledged %d, want 40", got)
		}
		byKey := map[string][]string{}
		for _, o := range r.log.all() {
			byKey[o.subject] = append(byKey[o.subject], o.payload)
		}
		for i := range 8 {
			var want []string
			for n := i; n < 40; n += 8 {
				want = append(want, fmt.Sprint(n))
			}
			if got := byKey[fmt.Sprintf("in.%d", i)]; !slices.Equal(got, want) {
				t.Errorf("key %d: %v, want %v", i, got, want)
			}
		}
	})
}

func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string]int{}
		f := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			p := string(e.Payload)
			seen[p]++
			switch {
			case p == "3":
				w.Outcome(i, abi.CodeDrop, 0, "")
			case p == "4" && e.Attempt < 3:
				w.Outcome(i, abi.CodeRetry, 50, "not yet")
			case p == "6":
				w.Outcome(i, abi.CodeDeadLetter, 0, "bad\nevent")
			case p == "7":
				w.Outcome(i, abi.CodeRetry, 0, "never")
			case p == "8": // done without an output
			default:
				w.Pass(i, 0)
			}
			return nil
		}
		src := newSource(numbers(10)...)
		var answered atomic.Int64
		r := start(t, testConfig(), src, each(f), func(d *Deps, _ *sinkLog) {
			d.Listener.Stage = func(_, _, _ string, c event.Counts) { answered.Add(int64(c.In)) }
		})
		time.Sleep(5 * time.Second) // the bubble's clock
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"1", "2", "4", "5", "9", "10"}, r.log.payloads(0)); diff != "" {
			t.Errorf("the retried event must keep its place (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"6", "7"}, r.log.payloads(1)); diff != "" {
			t.Errorf("dead letters (-want +got):\n%s", diff)
		}
		for _, o := range r.log.all() {
			if o.topic != 1 {
				continue
			}
			want := map[string]string{
				HeaderPlugin: "plug", HeaderSourceTopic: "in", HeaderSourceSubject: "in.a", HeaderFault: abi.FaultHandlerError,
				HeaderSourceSeq: o.payload, HeaderCause: "bad | event", HeaderAttempts: "1",
			}
			if o.payload == "7" {
				want[HeaderCause], want[HeaderAttempts] = "never", "3"
			}
			if diff := cmp.Diff(want, o.headers); diff != "" || o.subject != "wasmill.dead.p.s" {
				t.Errorf("dead letter on %s (-want +got):\n%s", o.subject, diff)
			}
		}
		s := r.Stats()
		if s.Dropped != 2 || s.DeadLettered != 2 || s.Retried != 4 || s.Out != 6 || s.In != 10 || s.InFlight != 0 {
			t.Errorf("stats: %+v", s)
		}
		if n := answered.Load(); n != 10+2+2 {
			t.Errorf("the stage answered for %d events, want every attempt of 4 and 7", n)
		}
		if seen["4"] != 3 || seen["7"] != 3 || seen["5"] != 1 {
			t.Errorf("calls per event: %v", seen)
		}
	})
}

func TestAFaultIsBisectedToTheEventThatCausesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			if p := string(e.Payload); p == "5" || p == "6" {
				return &testFault{abi.FaultTrap, "unreachable"}
			}
			return pass(e, w, i)
		}
		src := newSource(numbers(20)...)
		r := start(t, testConfig(), src, each(f))
		time.Sleep(time.Second)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"5", "6"}, r.log.payloads(1)); diff != "" {
			t.Errorf("dead letters (-want +got):\n%s", diff)
		}
		want := slices.DeleteFunc(numbers(20), func(s string) bool { return s == "5" || s == "6" })
		if diff := cmp.Diff(want, r.log.payloads(0)); diff != "" {
			t.Errorf("outputs (-want +got):\n%s", diff)
		}
		for _, o := range r.log.all() {
			if o.topic == 1 && (o.headers[HeaderDetail] != "stack line 1 | stack line 2" || o.headers[HeaderFault] != "trap") {
				t.Errorf("dead letter headers: %v", o.headers)
			}
		}
	})
}

func TestOnFailure(t *testing.T) {
	refuse5 := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
		if string(e.Payload) == "5" {
			w.Outcome(i, abi.CodeRetry, 1, "no")
			return nil
		}
		return pass(e, w, i)
	}
	t.Run("drop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.OnFailure = "drop"
			src := newSource(numbers(6)...)
			r := start(t, cfg, src, each(refuse5))
			time.Sleep(time.Second)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if got := r.log.payloads(1); got != nil {
				t.Errorf("dead letters: %v", got)
			}
			if src.ackedSeq() != 6 || r.Stats().Dropped != 1 {
				t.Errorf("acked %d, stats %+v", src.ackedSeq(), r.Stats())
			}
		})
	})
	t.Run("halt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.OnFailure = "halt"
			cfg.Batch.MaxEvents = 2
			src := newSource(numbers(6)...)
			r := start(t, cfg, src, each(refuse5))
			err := <-r.done
			if !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "event 5") {
				t.Errorf("Run returned %v", err)
			}
			if got := src.ackedSeq(); got != 4 {
				t.Errorf("acknowledged %d, want 4: the halted event must come back", got)
			}
		})
	})
}

func TestStagesAreChained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Stages = []Stage{{"explode", "e"}, {"double", "d"}, {"filter", "f"}}
		mk := func(stage, _ int) (Processor, error) {
			return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				switch stage {
				case 0: // three for each, the second by reference
					emit(w, i, string(e.Payload)+"a")
					w.Pass(i, 0)
					emit(w, i, string(e.Payload)+"c")
				case 1:
					emit(w, i, string(e.Payload)+string(e.Payload))
				case 2:
					if strings.HasPrefix(string(e.Payload), "2") {
						w.Outcome(i, abi.CodeDeadLetter, 0, "two")
					} else {
						w.Pass(i, 0)
					}
				}
				return nil
			}}, nil
		}
		src := newSource("1", "2", "3")
		r := start(t, cfg, src, mk)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"1a1a", "11", "1c1c", "3a3a", "33", "3c3c"}, r.log.payloads(0)); diff != "" {
			t.Errorf("outputs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"2", "2", "2"}, r.log.payloads(1)); diff != "" {
			t.Errorf("a dead letter carries the original event (-want +got):\n%s", diff)
		}
		if h := r.log.all()[2].headers[HeaderSource]; h != "in/1/2" {
			t.Errorf("third output of event 1 says %q", h)
		}
	})
}

func TestOutputsAreChecked(t *testing.T) {
	for name, o := range map[string]abi.Output{
		"wildcard":             {Subject: []byte("out.*")},
		"full wildcard":        {Subject: []byte("out.>")},
		"system":               {Subject: []byte("$JS.API.STREAM.DELETE.x")},
		"another topic's":      {Subject: []byte("other.x")},
		"reserved":             {Subject: []byte("wasmill.dead.x")},
		"NUL":                  {Subject: []byte("out.\x00")},
		"5 kB":                 {Subject: []byte("out." + strings.Repeat("x", 5000))},
		"space":                {Subject: []byte("out.a b")},
		"reserved header":      {Headers: abi.AppendHeader(nil, "Nats-Rollup", "all"), HeaderCount: 1},
		"line break in a key":  {Key: []byte("a\r\nPUB x 0")},
		"larger than the sink": {Payload: make([]byte, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
					if string(e.Payload) == "2" {
						emit(w, i, "good half") // must not be published alone
						o.Source = i
						w.Output(&o)
						return nil
					}
					return pass(e, w, i)
				}
				src := newSource("1", "2", "3")
				r := start(t, testConfig(), src, each(f), func(_ *Deps, l *sinkLog) { l.limit = 50 })
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"1", "3"}, r.log.payloads(0)); diff != "" {
					t.Errorf("outputs (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{"2"}, r.log.payloads(1)); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
				if src.ackedSeq() != 3 {
					t.Errorf("acked %d", src.ackedSeq())
				}
			})
		})
	}
}

func TestAPipelineDoesNotFeedItself(t *testing.T) {
	for name, c := range map[string]struct {
		filter []string
		loop   bool
		want   int // outputs
	}{
		"whole topic":          {want: 0},
		"selected":             {filter: []string{"in.>"}, want: 0},
		"not selected":         {filter: []string{"in.a"}, want: 1},
		"allowed by loop=true": {loop: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig()
				cfg.Filter, cfg.Loop = c.filter, c.loop
				cfg.Outputs[0].Topic = "in"
				src := newSource("1")
				r := start(t, cfg, src, each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
					w.Output(&abi.Output{Source: i, Subject: []byte("in.b")})
					return nil
				}))
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Fatal(err)
				}
				if got := len(r.log.payloads(0)); got != c.want {
					t.Errorf("%d outputs, want %d", got, c.want)
				}
				if got := len(r.log.payloads(1)); got != 1-c.want {
					t.Errorf("%d dead letters, want %d", got, 1-c.want)
				}
			})
		})
	}
}

func TestADeadLetterDoesNotCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Topic = cfg.DeadLetters
		r := start(t, cfg, newSource("1"), each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
			w.Outcome(i, abi.CodeDeadLetter, 0, "still bad")
			return nil
		}))
		if err := <-r.done; !errors.Is(err, ErrHalted) || !strings.Contains(err.Error(), "still bad") {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestHeadersOfOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource("keep", "own", "none")
		for i := range src.events {
			h := abi.AppendHeader(nil, "traceparent", "00-aa-bb-01")
			h = abi.AppendHeader(h, "Nats-Msg-Id", "id1")
			h = abi.AppendHeader(h, "Color", "red")
			src.events[i].Headers, src.events[i].HeaderCount = h, 3
		}
		f := func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			o := abi.Output{Source: i, Payload: e.Payload}
			switch string(e.Payload) {
			case "keep":
				o.Flags = abi.FlagKeepHeaders
			case "own":
				o.Flags = abi.FlagKeepHeaders
				o.Headers, o.HeaderCount = abi.AppendHeader(nil, "Color", "blue"), 1
				o.Key = []byte("k1")
			}
			w.Output(&o)
			return nil
		}
		r := start(t, testConfig(), src, each(f))
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		var got []map[string]string
		for _, o := range r.log.all() {
			got = append(got, o.headers)
		}
		want := []map[string]string{
			{"traceparent": "00-aa-bb-01", "Color": "red", HeaderSource: "in/1/0"},
			{"traceparent": "00-aa-bb-01", "Color": "blue", HeaderKey: "k1", HeaderSource: "in/2/0"},
			{"traceparent": "00-aa-bb-01", HeaderSource: "in/3/0"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
	})
}

func TestInFlightNeverExceedsTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := NewBudget(5, 1<<20, 0).Share("p")
		src := newSource(numbers(50)...)
		r := start(t, testConfig(), src, each(pass), func(d *Deps, l *sinkLog) {
			d.Shares = []*Share{share}
			l.hold = true
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(r.log.payloads(0)); n != 5 {
			t.Errorf("%d outputs with a limit of 5 in flight and nothing confirmed", n)
		}
		if src.fetched != 5 {
			t.Errorf("fetched %d, want 5: at the limit the host stops fetching", src.fetched)
		}
		if s := r.Stats(); s.InFlight != 5 || s.Backpressure[event.ReasonPluginEvents] < 50 {
			t.Errorf("stats: %+v", s)
		}
		r.log.release()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbers(50), r.log.payloads(0)); diff != "" {
			t.Errorf("outputs (-want +got):\n%s", diff)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(numbers(300)...)
		r := start(t, testConfig(), src, each(pass), func(d *Deps, _ *sinkLog) {
			d.Shares = []*Share{NewBudget(1000, 1<<20, 100).Share("p")}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(r.log.payloads(0)); n < 100 || n > 115 {
			t.Errorf("%d outputs after a second at 100/s", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if r.Stats().Backpressure[event.ReasonRate] < 2 {
			t.Errorf("backpressure: %v", r.Stats().Backpressure)
		}
		if n := len(r.log.payloads(0)); n != 300 {
			t.Errorf("%d outputs in the end", n)
		}
	})
}

func TestPauseStopsFetchingAndResumeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(numbers(5)...)
		r := start(t, testConfig(), src, each(pass))
		synctest.Wait()
		r.Pause()
		synctest.Wait()
		src.add("6", "7")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(r.log.payloads(0)); n != 5 {
			t.Errorf("%d outputs while paused", n)
		}
		r.Resume()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(r.log.payloads(0)); n != 7 {
			t.Errorf("%d outputs after resume", n)
		}
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSwap(t *testing.T) {
	version := func(v string, discarded *int) func(int) (Processor, error) {
		return func(int) (Processor, error) {
			return &funcProc{
				event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error { emit(w, i, v+string(e.Payload)); return nil },
				final: func(w *abi.ResponseWriter) {
					w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("out.final"), Payload: []byte(v + "end")})
				},
				discarded: discarded,
			}, nil
		}
	}
	t.Run("between two batches, with the last outputs of the old", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := 0
			src := newSource("1", "2")
			r := start(t, testConfig(), src, func(_, p int) (Processor, error) { return version("a", &gone)(p) })
			synctest.Wait()
			if err := r.Swap(t.Context(), 0, version("b", nil)); err != nil {
				t.Fatal(err)
			}
			if gone != 1 {
				t.Errorf("the old instance was discarded %d times", gone)
			}
			src.add("3")
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a1", "a2", "aend", "b3", "bend"}, r.log.payloads(0)); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("a failing new instance changes nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newSource("1")
			r := start(t, testConfig(), src, func(_, p int) (Processor, error) { return version("a", nil)(p) })
			synctest.Wait()
			if err := r.Swap(t.Context(), 0, func(int) (Processor, error) { return nil, errors.New("boom") }); err == nil {
				t.Error("Swap succeeded")
			}
			src.add("2")
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a1", "a2", "aend"}, r.log.payloads(0)); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("during a retry the fix saves the event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.Retry = Retry{Attempts: 2, Backoff: time.Hour, MaxBackoff: time.Hour}
			src := newSource("1", "2")
			r := start(t, cfg, src, each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
				w.Outcome(i, abi.CodeRetry, 0, "broken")
				return nil
			}))
			synctest.Wait()
			if err := r.Swap(t.Context(), 0, version("b", nil)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			if diff := cmp.Diff([]string{"b1", "b2"}, r.log.payloads(0)); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestDrain(t *testing.T) {
	t.Run("does not wait for a retry, and does not lose the event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.Retry.Backoff, cfg.Retry.MaxBackoff = time.Hour, time.Hour
			cfg.Batch.MaxEvents = 1
			src := newSource("1", "2", "3")
			r := start(t, cfg, src, each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if string(e.Payload) == "2" {
					w.Outcome(i, abi.CodeRetry, 0, "later")
					return nil
				}
				return pass(e, w, i)
			}))
			synctest.Wait()
			begin := time.Now()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("the drain took %s", d)
			}
			if got := src.ackedSeq(); got != 1 {
				t.Errorf("acknowledged %d, want 1", got)
			}
		})
	})
	t.Run("gives up on a call that never returns", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			src := newSource("1")
			r := start(t, testConfig(), src, each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				<-gate
				return pass(e, w, i)
			}))
			synctest.Wait()
			if err := r.drain(); !errors.Is(err, ErrDrain) {
				t.Errorf("Run returned %v", err)
			}
			close(gate)
			synctest.Wait()
			if src.ackedSeq() != 0 {
				t.Error("an abandoned event was acknowledged")
			}
		})
	})
}

func TestAStageThatCannotBeOpenedFailsTheRun(t *testing.T) {
	discarded := 0
	cfg := testConfig()
	cfg.Stages = []Stage{{"a", "a"}, {"b", "b"}}
	r := start(t, cfg, newSource("1"), func(stage, _ int) (Processor, error) {
		if stage == 1 {
			return nil, errors.New("no module")
		}
		return &funcProc{event: pass, discarded: &discarded}, nil
	})
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), `stage "b": no module`) {
		t.Errorf("Run returned %v", err)
	}
	if discarded != 1 {
		t.Errorf("%d instances discarded, want 1", discarded)
	}
}

// Whatever a plugin does with each event, every event ends exactly once, its
// outputs keep the order of its key, and everything is acknowledged.
func TestEveryEventEndsOnceInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "events")
		fate := rapid.SliceOfN(rapid.IntRange(0, 6), n, n).Draw(rt, "fates")
		keys := rapid.SliceOfN(rapid.IntRange(0, 5), n, n).Draw(rt, "keys")
		cfg := testConfig()
		cfg.Partitions = rapid.IntRange(1, 4).Draw(rt, "partitions")
		cfg.Key, _ = event.ParseKey("subject:2")
		cfg.Batch.MaxEvents = rapid.IntRange(1, 32).Draw(rt, "batch")
		cfg.Room.Events = rapid.IntRange(1, 64).Draw(rt, "room")
		two := rapid.Bool().Draw(rt, "two stages")
		if two {
			cfg.Stages = append(cfg.Stages, Stage{"t", "plug"})
		}
		synctest.Test(t, func(t *testing.T) {
			src := newSource(numbers(n)...)
			src.chunk = cfg.Batch.MaxEvents
			for i := range src.events {
				src.events[i].Subject = fmt.Appendf(nil, "in.%d", keys[i])
			}
			var calls atomic.Int64
			r := start(t, cfg, src, func(stage, _ int) (Processor, error) {
				if stage == 1 {
					return &funcProc{event: pass}, nil
				}
				return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
					calls.Add(1)
					switch fate[e.Seq-1] {
					case 0:
						w.Outcome(i, abi.CodeDrop, 0, "")
					case 1:
						w.Outcome(i, abi.CodeDeadLetter, 0, "dl")
					case 2:
						if e.Attempt < 2 {
							w.Outcome(i, abi.CodeRetry, 0, "again")
							return nil
						}
						w.Pass(i, 0)
					case 3:
						return &testFault{abi.FaultTrap, "boom"}
					case 4:
						emit(w, i, string(e.Payload))
						emit(w, i, string(e.Payload))
					default:
						w.Pass(i, 0)
					}
					return nil
				}}, nil
			})
			time.Sleep(time.Hour)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if got := src.ackedSeq(); got != n {
				t.Fatalf("acknowledged %d of %d", got, n)
			}
			want, got := map[string][]string{}, map[string][]string{}
			dead := 0
			for i := range n {
				key := fmt.Sprintf("in.%d", keys[i])
				switch fate[i] {
				case 0:
				case 1, 3:
					dead++
				case 4:
					want[key] = append(want[key], fmt.Sprint(i+1), fmt.Sprint(i+1))
				default:
					want[key] = append(want[key], fmt.Sprint(i+1))
				}
			}
			for _, o := range r.log.all() {
				if o.topic == 0 {
					got[o.subject] = append(got[o.subject], o.payload)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("outputs by key (-want +got):\n%s", diff)
			}
			if d := len(r.log.payloads(1)); d != dead {
				t.Errorf("%d dead letters, want %d", d, dead)
			}
			if s := r.Stats(); s.InFlight != 0 || s.InFlightBytes != 0 {
				t.Errorf("still in flight: %+v", s)
			}
		})
	})
}

func mustKey(t *testing.T, s string) event.Key {
	t.Helper()
	k, err := event.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
