package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Who watches a stage sees each event before it and what became of it, whatever
// that is; the others see nothing, and the outputs are the same.
func TestWatchingAStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := &event.Tap{}
		first, last, other := tap.Watch("a", nil), tap.Watch("b", nil), tap.Watch("nobody", nil)
		cfg := testConfig()
		cfg.Batch.MaxEvents, cfg.Retry.Attempts = 1, 2
		cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
		src := newSource("drop", "dead", "retry", "trap", strings.Repeat("x", 2*event.ShownBytes))
		tried := 0
		r := start(t, cfg, src, func(stage, _ int) (Processor, error) {
			return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if stage == 1 {
					w.Output(&abi.Output{Source: i, Subject: []byte("out.one"), Payload: []byte("new")})
					return nil
				}
				switch string(e.Payload) {
				case "drop":
					w.Outcome(i, abi.CodeDrop, 0, "not wanted")
				case "dead":
					w.Outcome(i, abi.CodeDeadLetter, 0, "bad value")
				case "retry":
					if tried++; tried == 1 {
						w.Outcome(i, abi.CodeRetry, 1, "later")
						return nil
					}
					return pass(e, w, i)
				case "trap":
					return &testFault{abi.FaultTrap, "it trapped"}
				default:
					return pass(e, w, i)
				}
				return nil
			}}, nil
		}, func(d *Deps, _ *sinkLog) { d.Tap = tap })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		var got []string
		samples, skipped := first.Fetch()
		for _, s := range samples {
			got = append(got, fmt.Sprintf("%d/%d %s %s %d", s.Before.Seq, s.Attempt, s.Outcome, s.Reason, s.Outputs))
		}
		want := "1/1 dropped not wanted 0\n2/1 dead-lettered bad value 0\n3/1 retried later 0\n3/2 emitted  1\n" +
			"4/1 fault trap: it trapped 0\n4/2 fault trap: it trapped 0\n5/1 emitted  1"
		if strings.Join(got, "\n") != want || skipped != 0 {
			t.Errorf("the first stage shows, with %d skipped:\n%s", skipped, strings.Join(got, "\n"))
		}
		long := samples[len(samples)-1]
		if len(long.Before.Payload) != event.ShownBytes || long.Before.Bytes != 2*event.ShownBytes ||
			len(long.After[0].Payload) != event.ShownBytes || long.After[0].Topic != "" {
			t.Errorf("a long payload is shown as %d of %d bytes", len(long.Before.Payload), long.Before.Bytes)
		}
		samples, _ = last.Fetch()
		if len(samples) != 2 {
			t.Fatalf("the last stage shows %d events", len(samples))
		}
		if after := samples[0].After[0]; string(after.Payload) != "new" || after.Subject != "out.one" || after.Output != cfg.Outputs[0].Name || after.Topic != cfg.Outputs[0].Topic {
			t.Errorf("an output of the last stage is %+v", after)
		}
		if samples, skipped := other.Fetch(); len(samples) > 0 || skipped > 0 {
			t.Error("a stage that is not there shows something")
		}
		if got := r.log.payloads(0); len(got) != 2 || got[0] != "new" {
			t.Errorf("outputs %q", got)
		}
	})
}

// BenchmarkTap is what a call of 512 events pays for looking whether somebody
// watches, and for being watched.
func BenchmarkTap(b *testing.B) {
	events := make([]abi.Event, 512)
	for i := range events {
		events[i] = abi.Event{Seq: uint64(i), Subject: []byte("a.b"), Payload: make([]byte, 256)}
	}
	r := &run{partition: &partition{stages: []*stage{{Stage: Stage{Name: "s"}}}}, batch: &batch{}}
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			tap := &event.Tap{}
			if watched {
				tap.Watch("s", nil)
			}
			for b.Loop() {
				if watches := tap.Watches(); watches != nil {
					r.observe(watches, 0, events, 1, nil)
				}
			}
		})
	}
}
