package pipeline

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// fakeTracer traces the events whose traceparent is sampled, and, with all set,
// every other. IDs of spans count from 1.
type fakeTracer struct {
	all bool

	mu    sync.Mutex
	spans uint64
	ended []*event.Trace
}

func (f *fakeTracer) Begin(pipeline, topic string, events []abi.Event, dst []*event.Trace) []*event.Trace {
	for range events {
		dst = append(dst, nil)
	}
	traced := 0
	for i := range events {
		_, came, _ := event.TraceHeader(events[i].Headers, event.HeaderTraceParent)
		parent, ok := event.ParseTraceParent(came)
		if !ok && !f.all || ok && parent.Flags&event.FlagSampled == 0 {
			continue
		}
		r := &event.Trace{Context: parent, Parent: parent, Came: came, Pipeline: pipeline, Topic: topic, Seq: events[i].Seq, Start: time.Now()}
		if !ok {
			r.Context = event.SpanContext{Trace: event.TraceID{0: 0xee, 15: byte(events[i].Seq)}, Flags: event.FlagSampled}
		}
		r.Context.Span = f.NewSpan()
		dst[i] = r
		traced++
	}
	if traced == 0 {
		return dst[:len(dst)-len(events)]
	}
	return dst
}

func (f *fakeTracer) Join(pipeline, topic string, of []*event.Trace) *event.Trace {
	j := &event.Trace{Context: event.SpanContext{Trace: event.TraceID{0: 0xff}, Span: f.NewSpan(), Flags: 1}, Pipeline: pipeline, Topic: topic}
	for _, t := range of {
		if t != nil {
			j.Links = append(j.Links, t.Context)
		}
	}
	return j
}

func (f *fakeTracer) End(t *event.Trace) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, t)
}

func (f *fakeTracer) NewSpan() (s event.SpanID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans++
	binary.BigEndian.PutUint64(s[:], f.spans)
	return s
}

func (f *fakeTracer) deps(d *Deps, _ *sinkLog) { d.Tracer = f }

const (
	traceA = "0af7651916cd43dd8448eb211c80319c"
	traceB = "1bf7651916cd43dd8448eb211c80319c"
	spanX  = "b7ad6b7169203331"
)

func parent(trace, flags string) string { return "00-" + trace + "-" + spanX + "-" + flags }

// with gives the events of a source headers, "" for none.
func (s *fakeSource) with(name string, values ...string) *fakeSource {
	for i, v := range values {
		if v != "" {
			s.events[i].Headers = abi.AppendHeader(s.events[i].Headers, name, v)
			s.events[i].HeaderCount++
		}
	}
	return s
}

func twoStages() Config {
	cfg := testConfig()
	cfg.Stages = []Stage{{Name: "a", Plugin: "plug-a"}, {Name: "b", Plugin: "plug-b"}}
	return cfg
}

func TestAnOutputContinuesTheTraceOfItsEvent(t *testing.T) {
	for _, keep := range []uint32{0, abi.FlagKeepHeaders} {
		synctest.Test(t, func(t *testing.T) {
			src := newSource("sampled", "not sampled", "none", "as HTTP has it").
				with("traceparent", parent(traceA, "01"), parent(traceB, "00"), "", "").
				with("Traceparent", "", "", "", parent(traceB, "01")).with("tracestate", "v=1")
			f := &fakeTracer{}
			r := start(t, twoStages(), src, each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				w.Output(&abi.Output{Source: i, Payload: e.Payload, Flags: keep})
				return nil
			}), f.deps)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			got := map[string]map[string]string{}
			for _, o := range r.log.all() {
				delete(o.headers, HeaderSource)
				got[o.payload] = o.headers
			}
			span := func(i int) string { return f.ended[i].Outputs[0].Parent }
			want := map[string]map[string]string{
				"sampled":        {"traceparent": span(0), "tracestate": "v=1"},
				"not sampled":    {"traceparent": parent(traceB, "00")}, // as it came
				"none":           {},
				"as HTTP has it": {"Traceparent": span(1)},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers of outputs (-want +got):\n%s", diff)
			}
			if s := span(0); !strings.Contains(s, traceA) || strings.Contains(s, spanX) {
				t.Errorf("the output bears %s: want the trace of the event and the span of what published it", s)
			}
			if len(f.ended) != 2 {
				t.Fatalf("%d records, want 2", len(f.ended))
			}
			rec := f.ended[0]
			if len(rec.Calls) != 2 || rec.Calls[0].Stage != "a" || rec.Calls[1].Stage != "b" || rec.Calls[0].Batch != 4 {
				t.Errorf("calls: %+v", rec.Calls)
			}
			if c := rec.Calls[0]; c.Events != 1 || c.Outputs != 1 || c.Outcome != event.OutcomeEmitted || c.Attempt != 1 || c.Fault != "" {
				t.Errorf("the call of the first stage: %+v", c)
			}
			if o := rec.Outputs[0]; o.Topic != "out" || o.Messages != 1 || o.Bytes == 0 {
				t.Errorf("output: %+v", o)
			}
			if rec.Finish.IsZero() || rec.Fault != "" {
				t.Errorf("the end: %+v", rec)
			}
		})
	}
}

func TestAPluginMaySetATraceContextOfItsOwn(t *testing.T) {
	own := parent(traceB, "01")
	for name, setter := range map[string]string{"in the last stage": "b", "in an earlier one": "a"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeTracer{}
				r := start(t, twoStages(), newSource("1").with("traceparent", parent(traceA, "01")), func(stage, _ int) (Processor, error) {
					return &funcProc{event: func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
						o := abi.Output{Source: i, Flags: abi.FlagPayloadRef}
						if twoStages().Stages[stage].Name == setter {
							o.Headers, o.HeaderCount = abi.AppendHeader(nil, "traceparent", own), 1
						}
						w.Output(&o)
						return nil
					}}, nil
				}, f.deps)
				synctest.Wait()
				if err := r.drain(); err != nil {
					t.Fatal(err)
				}
				if got := r.log.all()[0].headers["traceparent"]; got != own {
					t.Errorf("the output bears %q, want the plugin's %q", got, own)
				}
			})
		})
	}
}

func TestRetriesAndDeadLettersAreInTheTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		f := &fakeTracer{all: true}
		r := start(t, cfg, newSource("good", "bad", "asks"), each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			switch string(e.Payload) {
			case "bad":
				return &testFault{abi.FaultTrap, "unreachable"}
			case "asks":
				w.Outcome(i, abi.CodeDeadLetter, 0, "not for me")
				return nil
			}
			return pass(e, w, i)
		}), f.deps)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		byPayload := map[uint64]*event.Trace{}
		for _, rec := range f.ended {
			byPayload[rec.Seq] = rec
		}
		bad := byPayload[2]
		if bad == nil || bad.Fault != abi.FaultTrap || bad.Cause != "unreachable" {
			t.Fatalf("the record of the bad event: %+v", bad)
		}
		var notes []string
		for _, n := range bad.Notes {
			notes = append(notes, n.Name)
		}
		if diff := cmp.Diff([]string{noteRetry, noteRetry, noteDeadLetter}, notes); diff != "" {
			t.Errorf("moments (-want +got):\n%s", diff)
		}
		attempts := 0
		for _, c := range bad.Calls {
			if c.Batch == 1 && c.Outcome == event.OutcomeFault && c.Fault == abi.FaultTrap {
				attempts = max(attempts, c.Attempt)
			}
		}
		if attempts != 3 {
			t.Errorf("%d attempts are in the record, want 3: %+v", attempts, bad.Calls)
		}
		if good := byPayload[1]; good.Fault != "" || len(good.Outputs) != 1 {
			t.Errorf("the good event of the batch that failed: %+v", good)
		}
		asks := byPayload[3]
		if c := asks.Calls[len(asks.Calls)-1]; c.Outcome != event.OutcomeDeadLettered || c.Cause != "not for me" || c.Fault != abi.FaultHandlerError {
			t.Errorf("the call that ended in a dead letter: %+v", c)
		}
		for _, o := range r.log.all() {
			if o.topic != 1 {
				continue
			}
			rec := byPayload[o.cause]
			if got := o.headers["traceparent"]; got != rec.Outputs[0].Parent || rec.Outputs[0].Topic != "dead-letters" {
				t.Errorf("the dead letter of event %d bears %q; its record: %+v", o.cause, got, rec.Outputs)
			}
		}
	})
}

func TestWhatSeveralEventsHaveCausedTogetherHasLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTracer{}
		n := 0
		src := newSource("1", "2", "3").with("traceparent", parent(traceA, "01"), "", parent(traceB, "01"))
		r := start(t, twoStages(), src, func(stage, _ int) (Processor, error) {
			if stage == 1 {
				return &funcProc{event: pass}, nil
			}
			return &funcProc{event: func(_ *abi.Event, w *abi.ResponseWriter, _ uint32) error {
				if n++; n == 3 {
					w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("out.sum"), Payload: []byte("sum")})
				}
				return nil
			}}, nil
		}, f.deps)
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if len(f.ended) != 3 {
			t.Fatalf("%d records, want two of events and a joint one", len(f.ended))
		}
		j := f.ended[2]
		if len(j.Links) != 2 || len(j.Calls) != 1 || j.Calls[0].Stage != "b" || len(j.Outputs) != 1 {
			t.Errorf("the joint record: %+v", j)
		}
		if got := r.log.all()[0].headers["traceparent"]; got != j.Outputs[0].Parent {
			t.Errorf("the output bears %q, want %q", got, j.Outputs[0].Parent)
		}
	})
}

// Every record comes to an end, whatever becomes of the run.
func TestEveryRecordEnds(t *testing.T) {
	t.Run("when the pipeline halts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.OnFailure, cfg.Retry.Attempts, cfg.Batch.MaxEvents = "halt", 1, 2
			f := &fakeTracer{all: true}
			r := start(t, cfg, newSource(numbers(4)...), each(func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				if string(e.Payload) == "3" {
					return &testFault{abi.FaultTrap, "no"}
				}
				return pass(e, w, i)
			}), f.deps, func(_ *Deps, l *sinkLog) { l.hold = true })
			if err := <-r.done; err == nil {
				t.Fatal("it did not halt")
			}
			if len(f.ended) != 4 {
				t.Errorf("%d records ended, want 4", len(f.ended))
			}
			for _, rec := range f.ended {
				if rec.Finish.IsZero() || rec.Fault == "" {
					t.Errorf("event %d: %+v", rec.Seq, rec)
				}
			}
		})
	})
	t.Run("when a drain ends the wait for a retry", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := testConfig()
			cfg.Retry = Retry{Attempts: 3, Backoff: time.Hour, MaxBackoff: time.Hour}
			f := &fakeTracer{all: true}
			r := start(t, cfg, newSource("1", "2"), each(func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
				w.Outcome(i, abi.CodeRetry, 0, "later")
				return nil
			}), f.deps)
			synctest.Wait()
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			if len(f.ended) != 2 {
				t.Fatalf("%d records ended, want 2", len(f.ended))
			}
			for _, rec := range f.ended {
				if last := rec.Notes[len(rec.Notes)-1]; last.Name != noteLeft || rec.Fault != "" {
					t.Errorf("event %d: %+v", rec.Seq, rec)
				}
			}
		})
	})
}

// The traces reach those who measure: one of a call, one of what is finished.
func TestTheListenerIsToldOfATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTracer{}
		var called, done event.TraceID
		src := newSource("1", "2").with("traceparent", "", parent(traceA, "01"))
		r := start(t, testConfig(), src, each(pass), f.deps, func(d *Deps, _ *sinkLog) {
			d.Listener = event.Listener{
				Called: func(_, _, _ string, _ int, _ time.Duration, _ error, id event.TraceID) { called = id },
				Done:   func(_ string, _, _ int, _ time.Duration, id event.TraceID) { done = id },
			}
		})
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if called.String() != traceA || done.String() != traceA {
			t.Errorf("told of %q and %q, want %s", called, done, traceA)
		}
	})
}
