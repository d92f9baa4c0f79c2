package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/sdk/abi"
)

// overload is a pipeline between two topics of a real server, with a plugin in
// Go, at a load that is too much for it.
type overload struct {
	*pipeline.Pipeline
	t      *testing.T
	broker *broker.Broker
	src    *broker.Source
	limit  int         // max_in_flight
	most   int         // in flight at the most, as looked at
	output atomic.Bool // the output was named as the reason for a wait
}

const overloadKeys = 8

// native is a plugin in Go.
type native struct {
	handle func(e *abi.Event, w *abi.ResponseWriter, i uint32) error
	w      abi.ResponseWriter
	frame  []byte
}

func (p *native) Process(_ context.Context, _ abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	p.w.Reset()
	for i := range events {
		if err := p.handle(&events[i], &p.w, uint32(i)); err != nil {
			return err
		}
	}
	p.frame = append(p.frame[:0], p.w.Bytes()...)
	return abi.DecodeResponse(p.frame, abi.ResponseLimits{Events: len(events), Outputs: 4}, res)
}

func (p *native) Close(_ context.Context, res *abi.Result) error { res.Reset(); return nil }
func (p *native) Discard()                                       {}

// poisoned is a fault of a plugin.
type poisoned struct{}

func (poisoned) Error() string       { return "poison" }
func (poisoned) FaultKind() string   { return abi.FaultHandlerError }
func (poisoned) FaultDetail() string { return "" }

func newOverload(t *testing.T, out broker.TopicConfig, handle func(e *abi.Event, w *abi.ResponseWriter, i uint32) error) *overload {
	t.Helper()
	o := &overload{t: t, limit: 256}
	b := broker.New(broker.Config{StoreDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0"}, broker.Options{Listener: event.Listener{
		Blocked: func(pipeline, reason string, _ time.Duration) {
			if pipeline == "p" && reason == event.ReasonOutput {
				o.output.Store(true)
			}
		},
	}})
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	out.Name, out.Subjects = "out", []string{"out.>"}
	for _, topic := range []broker.TopicConfig{
		{Name: "in", Subjects: []string{"in.>"}}, out, {Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}},
	} {
		if err := b.EnsureTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	src, err := b.OpenSource(t.Context(), broker.SourceConfig{Pipeline: "p", Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	o.broker, o.src = b, src
	key, err := event.ParseKey("subject:2")
	if err != nil {
		t.Fatal(err)
	}
	subject, err := event.ParseTemplate("out.{subject.2}")
	if err != nil {
		t.Fatal(err)
	}
	o.Pipeline, err = pipeline.New(pipeline.Config{
		Name: "p", Topic: "in", Key: key, Partitions: 2, OnFailure: "dead-letter", DeadLetters: "dead-letters",
		Stages:  []pipeline.Stage{{Name: "s", Plugin: "s"}},
		Outputs: []pipeline.Output{{Name: "default", Topic: "out", Subject: subject, Subjects: []string{"out.>"}}},
		Batch:   pipeline.Batch{MaxEvents: 64, MaxBytes: 1 << 20, MaxWait: time.Millisecond},
		Retry:   pipeline.Retry{Attempts: 2, Backoff: time.Millisecond, MaxBackoff: time.Millisecond},
		Room:    event.Room{Events: 4096, Bytes: 16 << 20},
	}, pipeline.Deps{
		Source: src,
		Sink: func(partition int, confirmed func()) (pipeline.Sink, error) {
			return b.OpenSink(t.Context(), broker.SinkConfig{
				Pipeline: "p", Partition: partition, Topics: []string{"out", "dead-letters"}, Window: event.Room{Events: 1024, Bytes: 4 << 20},
			}, confirmed)
		},
		Processor: func(int, int) (pipeline.Processor, error) { return &native{handle: handle}, nil },
		Shares:    []*pipeline.Share{pipeline.NewBudget(o.limit, 16<<20, 0).Share("p")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// flood publishes n events as fast as the topic takes them.
func (o *overload) flood(n int) {
	o.t.Helper()
	pub, err := o.broker.NewPublisher(o.t.Context(), "in")
	if err != nil {
		o.t.Fatal(err)
	}
	for i := range n {
		if _, err := pub.Add(o.t.Context(), &event.Output{Subject: fmt.Sprintf("in.k%d", i%overloadKeys), Payload: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
			o.t.Fatal(err)
		}
	}
	if err := pub.Close(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// until waits for a condition and looks at what is in flight meanwhile.
func (o *overload) until(what string, ok func(st pipeline.Stats) bool) {
	o.t.Helper()
	limit := time.Now().Add(2 * time.Minute)
	for {
		st := o.Stats()
		o.most = max(o.most, st.InFlight)
		if ok(st) {
			return
		}
		if time.Now().After(limit) {
			o.t.Fatalf("not within two minutes: %s: %+v; source %q", what, st, o.src.Err())
		}
		time.Sleep(time.Millisecond)
	}
}

// finished waits for n events and checks that each had one output, or a dead
// letter if it was poison, in the order of its key; that nothing was ever over
// the limit; and that the server had to deliver nothing twice.
func (o *overload) finished(n int, poison func(i int) bool) {
	o.t.Helper()
	o.until("all events finished", func(st pipeline.Stats) bool { return st.AckedSeq == uint64(n) && st.InFlight == 0 })
	nc, err := o.broker.Connect("the test")
	if err != nil {
		o.t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		o.t.Fatal(err)
	}
	next := make([]int, overloadKeys)
	for k := range next {
		next[k] = k
	}
	want := 0
	for seq := uint64(1); ; want++ {
		m, err := o.broker.Next(o.t.Context(), "out", seq, "")
		if err != nil {
			break
		}
		seq = m.Seq + 1
		i, err := strconv.Atoi(m.Payload)
		if err != nil {
			o.t.Fatal(err)
		}
		k := i % overloadKeys
		for poison(next[k]) {
			next[k] += overloadKeys
		}
		if i != next[k] || m.Subject != fmt.Sprintf("out.k%d", k) {
			o.t.Fatalf("key %d: event %d follows, want %d", k, i, next[k])
		}
		next[k] += overloadKeys
	}
	dead := 0
	for i := range n {
		if poison(i) {
			dead++
		}
	}
	letters, err := o.broker.Topic(o.t.Context(), "dead-letters")
	if err != nil {
		o.t.Fatal(err)
	}
	if want != n-dead || letters.Messages != uint64(dead) {
		o.t.Errorf("%d outputs and %d dead letters of %d events, %d of them poison", want, letters.Messages, n, dead)
	}
	cons, err := js.Consumer(o.t.Context(), "in", o.broker.ConsumerName("p"))
	if err != nil {
		o.t.Fatal(err)
	}
	info := cons.CachedInfo()
	if info.NumRedelivered != 0 || info.Delivered.Consumer != uint64(n) {
		o.t.Errorf("the server delivered %d times and has %d to deliver again, for %d events", info.Delivered.Consumer, info.NumRedelivered, n)
	}
	if o.most > o.limit {
		o.t.Errorf("%d events were in flight, the limit is %d", o.most, o.limit)
	}
	o.t.Logf("%d events, %d in flight at the most, waited for %v", n, o.most, o.Stats().Backpressure)
}

func none(int) bool { return false }

// Each load is more than something can bear. Nothing is lost, repeated or out of
// order, what is in flight stays within its limit, the reason is named, and the
// server's redelivery timer never comes into it.
func TestOverload(t *testing.T) {
	pass := func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error { w.Pass(i, 0); return nil }
	t.Run("a plugin that is a thousand times slower than what is published", func(t *testing.T) {
		t.Parallel()
		o := newOverload(t, broker.TopicConfig{}, func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			time.Sleep(time.Millisecond)
			return pass(e, w, i)
		})
		o.flood(2000)
		o.until("the plugin is named", func(st pipeline.Stats) bool { return st.Backpressure[event.ReasonPluginEvents] > 0 })
		o.finished(2000, none)
	})
	t.Run("an output that takes nothing for a while", func(t *testing.T) {
		t.Parallel()
		o := newOverload(t, broker.TopicConfig{MaxMessages: 100, RefuseWhenFull: true}, pass)
		o.flood(2000)
		o.until("it is full and in flight is what may be", func(st pipeline.Stats) bool { return st.Out >= 100 && st.InFlight >= o.limit })
		if err := o.broker.EnsureTopic(t.Context(), broker.TopicConfig{Name: "out", Subjects: []string{"out.>"}}); err != nil {
			t.Fatal(err)
		}
		o.finished(2000, none)
	})
	t.Run("a poison event in a thousand", func(t *testing.T) {
		t.Parallel()
		poison := func(i int) bool { return i%1000 == 500 }
		o := newOverload(t, broker.TopicConfig{}, func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
			if n, err := strconv.Atoi(string(e.Payload)); err != nil || poison(n) {
				return poisoned{}
			}
			return pass(e, w, i)
		})
		o.flood(10_000)
		o.finished(10_000, poison)
	})
	t.Run("a subscriber that vanishes", func(t *testing.T) {
		t.Parallel()
		o := newOverload(t, broker.TopicConfig{}, pass)
		nc, err := nats.Connect(o.broker.ClientURL(), nats.NoReconnect())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		seen := make(chan struct{}, 1)
		block := make(chan struct{})
		defer close(block)
		if _, err := nc.Subscribe("out.>", func(*nats.Msg) { // takes one and no more
			select {
			case seen <- struct{}{}:
			default:
			}
			<-block
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		o.flood(5000)
		<-seen
		nc.Close()
		o.finished(5000, none)
	})
}

func TestOverloadNamesTheOutput(t *testing.T) {
	t.Parallel()
	pass := func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
		w.Output(&abi.Output{Source: i, Payload: []byte(strings.Repeat("x", 100<<10))})
		return nil
	}
	o := newOverload(t, broker.TopicConfig{MaxMessages: 10, RefuseWhenFull: true}, pass)
	o.flood(256) // 25 MiB of outputs do not fit into the windows
	o.until("the output is named", func(pipeline.Stats) bool { return o.output.Load() })
	if err := o.broker.EnsureTopic(t.Context(), broker.TopicConfig{Name: "out", Subjects: []string{"out.>"}}); err != nil {
		t.Fatal(err)
	}
	o.until("all events finished", func(st pipeline.Stats) bool { return st.AckedSeq == 256 })
}
