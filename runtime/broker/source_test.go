package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

var wide = event.Room{Events: 4096, Bytes: 16 << 20}

// quick makes every recovery of a source fast.
var quick = sourceTiming{expires: 2 * time.Second, heartbeat: 100 * time.Millisecond, retry: 5 * time.Millisecond}

// fill publishes "0", "1", … to the topic.
func (r *rig) fill(tb testing.TB, topic string, from, to int) {
	tb.Helper()
	s := r.sink(tb, SinkConfig{Topics: []string{topic}}, nil)
	for i := from; i < to; i++ {
		if _, err := s.Add(context.Background(), 0, output(fmt.Sprintf("%s.%d", topic, i%3), fmt.Sprint(i))); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// take fetches until it has n events.
func take(t *testing.T, s *Source, n int, room event.Room) []event.Event {
	t.Helper()
	ctx := testContext(t)
	var all, buf []event.Event
	for len(all) < n {
		var err error
		if buf, _, err = s.Fetch(ctx, buf[:0], room); err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		if len(buf) == 0 {
			t.Fatal("Fetch returned nothing")
		}
		all = append(all, buf...)
	}
	return all
}

func payloads(events []event.Event) []string {
	var p []string
	for i := range events {
		p = append(p, string(events[i].Payload))
	}
	return p
}

func (r *rig) consumer(tb testing.TB, topic string) *jetstream.ConsumerInfo {
	tb.Helper()
	c, err := r.js.Consumer(context.Background(), topic, "wasmill-p")
	if err != nil {
		tb.Fatal(err)
	}
	return c.CachedInfo()
}

func TestSource(t *testing.T) {
	t.Run("delivers every event in order and whole", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		out := r.sink(t, SinkConfig{Topics: []string{"in"}}, nil)
		const n = 5000
		for i := range n {
			m := output(fmt.Sprintf("in.%d", i), fmt.Sprint(i))
			switch i % 5 {
			case 1:
				m = output("in.h", fmt.Sprint(i), "a", "1", "B-c", "two words", "a", "2")
			case 2:
				m.Payload = nil
			case 3:
				m.Payload = append(m.Payload, make([]byte, 200_000*(i%500/499))...)
			}
			add(t, out, 0, m)
		}
		if err := out.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		s := r.source(t, SourceConfig{Topic: "in"})
		ctx := testContext(t)
		var all []event.Event
		for len(all) < n {
			events, lag, err := s.Fetch(ctx, nil, wide)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, events...)
			if lag != uint64(n-len(all)) {
				t.Fatalf("lag %d behind event %d", lag, len(all))
			}
		}
		for i := range all {
			e := &all[i]
			subject, payload := fmt.Sprintf("in.%d", i), fmt.Sprint(i)
			switch i % 5 {
			case 1:
				subject = "in.h"
				if e.HeaderCount != 3 || abi.CheckHeaders(e.Headers, 3) != nil {
					t.Fatalf("event %d has headers %q", i, e.Headers)
				}
				k, v, rest, _ := abi.NextHeader(e.Headers)
				if string(k)+string(v) != "a1" {
					t.Fatalf("first header %q %q", k, v)
				}
				if k, v, _, _ = abi.NextHeader(rest); string(k)+string(v) != "B-ctwo words" {
					t.Fatalf("second header %q %q", k, v)
				}
			case 2:
				payload = ""
			}
			if string(e.Subject) != subject || strings.TrimRight(string(e.Payload), "\x00") != payload || e.Seq != uint64(i+1) || e.Attempt != 1 {
				t.Fatalf("event %d: %q %.20q, sequence %d", i, e.Subject, e.Payload, e.Seq)
			}
			if i%5 != 1 && (e.HeaderCount != 0 || len(e.Headers) != 0) {
				t.Fatalf("event %d has headers %q", i, e.Headers)
			}
			if at := time.Unix(0, e.Time); at.After(before) || at.Before(before.Add(-time.Minute)) {
				t.Fatalf("event %d is from %s", i, at)
			}
		}
	})
	t.Run("delivers at once what comes while it waits", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in"})
		got := make(chan []event.Event)
		go func() {
			for range 3 {
				events, lag, err := s.Fetch(context.Background(), nil, wide)
				if err != nil || lag != 0 {
					t.Error(lag, err)
				}
				got <- events
			}
		}()
		for i := range 3 {
			if _, err := r.js.Publish(t.Context(), "in.a", []byte(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
			if e := <-got; len(e) != 1 || string(e[0].Payload) != strconv.Itoa(i) {
				t.Fatal(payloads(e))
			}
		}
	})
	t.Run("asks for no more than there is room", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 5000)
		s := r.source(t, SourceConfig{Topic: "in", Prefetch: event.Room{Events: 300}})
		events := take(t, s, 1, event.Room{Events: 100, Bytes: 1 << 20})
		if len(events) > 100 {
			t.Fatalf("%d events for a room of 100", len(events))
		}
		if n := r.consumer(t, "in").NumAckPending; n > 100 {
			t.Errorf("the server sent %d events for a room of 100", n)
		}
		for total := len(events); total < 5000; {
			more := take(t, s, 1, wide)
			total += len(more)
			if n := r.consumer(t, "in").NumAckPending; n > total+300 {
				t.Fatalf("%d fetched, %d sent, with a prefetch of 300", total, n)
			}
			events = append(events, more...)
		}
		sameOrder(t, payloads(events), numbers(5000))
	})
	t.Run("lets an event pass that is larger than the room", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		out := r.sink(t, SinkConfig{Topics: []string{"in"}}, nil)
		for i := range 60 {
			size := 100
			if i%3 == 0 {
				size = 20_000
			}
			add(t, out, 0, output("in.a", fmt.Sprint(i)+strings.Repeat(" ", size)))
		}
		if err := out.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		s := r.source(t, SourceConfig{Topic: "in"})
		var all []string
		for len(all) < 60 {
			events := take(t, s, 1, event.Room{Events: 100, Bytes: 1000})
			size := 0
			for i := range events {
				size += events[i].Size()
				all = append(all, strings.TrimSpace(string(events[i].Payload)))
			}
			if size > 1000 && len(events) > 1 {
				t.Fatalf("%d events of %d bytes for a room of 1000", len(events), size)
			}
		}
		sameOrder(t, all, numbers(60))
	})
	t.Run("delivers only what the filter matches", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 300)
		s := r.source(t, SourceConfig{Topic: "in", Filter: []string{"in.0", "in.2"}})
		events := take(t, s, 200, wide)
		for i := range events {
			if n, _ := strconv.Atoi(string(events[i].Payload)); n%3 == 1 || len(events) != 200 {
				t.Fatal(n, len(events))
			}
		}
		if err := s.Ack(events[199].Ack); err != nil {
			t.Fatal(err)
		}
		r.awaitFloor(t, "in", events[199].Seq)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r.fill(t, "in", 300, 600)
		s = r.source(t, SourceConfig{Topic: "in", Filter: []string{"in.1"}})
		if events := take(t, s, 100, wide); string(events[0].Payload) != "301" {
			t.Errorf("another filter starts with %q", events[0].Payload)
		}
	})
	t.Run("a fetch that is cancelled loses nothing", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in"})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if _, _, err := s.Fetch(ctx, nil, wide); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		r.fill(t, "in", 0, 10)
		sameOrder(t, payloads(take(t, s, 10, wide)), numbers(10))
	})
	t.Run("stays silent for long without harm", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in", timing: sourceTiming{expires: 400 * time.Millisecond, heartbeat: 200 * time.Millisecond}})
		generation := s.mu.generation
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if _, _, err := s.Fetch(ctx, nil, wide); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if s.mu.generation != generation {
			t.Error("it took silence for a failure")
		}
		r.fill(t, "in", 0, 10)
		sameOrder(t, payloads(take(t, s, 10, wide)), numbers(10))
	})
}

func TestSourceStart(t *testing.T) {
	start := func(t *testing.T, r *rig, start string) uint64 {
		t.Helper()
		s := r.source(t, SourceConfig{Topic: "in", Start: start, timing: quick})
		defer func() { _ = s.Close() }()
		r.fill(t, "in", 900, 901) // so that there is something in any case
		return take(t, s, 1, wide)[0].Seq
	}
	prepare := func(t *testing.T) *rig {
		t.Helper()
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 100)
		return r
	}
	t.Run("all", func(t *testing.T) {
		if seq := start(t, prepare(t), "all"); seq != 1 {
			t.Error(seq)
		}
	})
	t.Run("new", func(t *testing.T) {
		if seq := start(t, prepare(t), "new"); seq != 101 {
			t.Error(seq)
		}
	})
	t.Run("a time", func(t *testing.T) {
		r := prepare(t)
		stream, err := r.js.Stream(t.Context(), "in")
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		r.fill(t, "in", 100, 110)
		if seq := start(t, r, m.Time.Add(1).Format(time.RFC3339Nano)); seq != 101 {
			t.Error(seq)
		}
	})
	t.Run("a time to come", func(t *testing.T) {
		if seq := start(t, prepare(t), time.Now().Add(time.Hour).Format(time.RFC3339)); seq != 101 {
			t.Error(seq)
		}
	})
	t.Run("anything else is an error", func(t *testing.T) {
		r := prepare(t)
		_, err := openSource(testContext(t), r.wire(t, false), SourceConfig{Pipeline: "p", Topic: "in", Start: "yesterday"})
		if err == nil || !strings.Contains(err.Error(), `start "yesterday": neither all, new, seq:N nor an RFC 3339 time`) {
			t.Error(err)
		}
	})
	t.Run("counts only once", func(t *testing.T) {
		r := prepare(t)
		if seq := start(t, r, "all"); seq != 1 {
			t.Error(seq)
		}
		if seq := start(t, r, "new"); seq != 1 {
			t.Errorf("a second start is at %d", seq)
		}
	})
	t.Run("is healed after a crash in the middle of the first start", func(t *testing.T) {
		r := prepare(t)
		s := &Source{wire: r.wire(t, false), js: r.js, name: "wasmill-p", cfg: SourceConfig{Pipeline: "p", Topic: "in", Start: "new"}.withDefaults()}
		if _, err := s.createConsumer(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.fill(t, "in", 100, 110)
		if seq := start(t, r, "new"); seq != 101 {
			t.Error(seq)
		}
	})
	t.Run("goes on behind what was acknowledged, without waiting", func(t *testing.T) {
		r := prepare(t)
		s := r.source(t, SourceConfig{Topic: "in"})
		events := take(t, s, 100, wide)
		if err := s.Ack(events[41].Ack); err != nil {
			t.Fatal(err)
		}
		if s.AckedSeq() != 42 {
			t.Error(s.AckedSeq())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = r.source(t, SourceConfig{Topic: "in"})
		if s.AckedSeq() != 42 {
			t.Errorf("a new source stands at %d", s.AckedSeq())
		}
		sameOrder(t, payloads(take(t, s, 58, wide)), numbers(100)[42:])
	})
	t.Run("keeps a pause", func(t *testing.T) {
		r := prepare(t)
		if err := r.source(t, SourceConfig{Topic: "in"}).Close(); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(time.Hour)
		if _, err := r.js.PauseConsumer(t.Context(), "in", "wasmill-p", until); err != nil {
			t.Fatal(err)
		}
		r.source(t, SourceConfig{Topic: "in", Filter: []string{"in.1"}})
		if c := r.consumer(t, "in"); c.Config.PauseUntil == nil || !c.Config.PauseUntil.Equal(until) {
			t.Error(c.Config.PauseUntil)
		}
	})
	t.Run("refuses a consumer that is something else", func(t *testing.T) {
		r := prepare(t)
		if _, err := r.js.CreateConsumer(t.Context(), "in", jetstream.ConsumerConfig{Durable: "wasmill-p", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		_, err := openSource(testContext(t), r.wire(t, false), SourceConfig{Pipeline: "p", Topic: "in"})
		if err == nil || !strings.Contains(err.Error(), "not one of Wasmill's") {
			t.Error(err)
		}
	})
	t.Run("refuses a topic that does not exist", func(t *testing.T) {
		r := newRig(t, nil)
		_, err := openSource(testContext(t), r.wire(t, false), SourceConfig{Pipeline: "p", Topic: "in"})
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("can be reset", func(t *testing.T) {
		r := prepare(t)
		if _, err := resetSource(t.Context(), r.js, r.nc, "p", "in", "all"); !errors.Is(err, ErrNotFound) {
			t.Errorf("before the first run: %v", err)
		}
		s := r.source(t, SourceConfig{Topic: "in"})
		events := take(t, s, 100, wide)
		if err := s.Ack(events[99].Ack); err != nil {
			t.Fatal(err)
		}
		r.awaitFloor(t, "in", 100)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for to, want := range map[string]uint64{"seq:17": 17, "all": 1} {
			if seq, err := resetSource(t.Context(), r.js, r.nc, "p", "in", to); err != nil || seq != want {
				t.Fatal(to, seq, err)
			}
			if seq := start(t, r, "all"); seq != want {
				t.Errorf("%s: starts at %d", to, seq)
			}
		}
		if seq, err := resetSource(t.Context(), r.js, r.nc, "p", "in", "new"); err != nil || seq != 103 {
			t.Error(seq, err)
		}
		if _, err := resetSource(t.Context(), r.js, r.nc, "p", "in", "seq:0"); err == nil {
			t.Error("sequence 0")
		}
	})
}

// awaitFloor waits until the server knows that everything up to seq is acknowledged.
func (r *rig) awaitFloor(t *testing.T, topic string, seq uint64) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for r.consumer(t, topic).AckFloor.Stream != seq {
		if time.Now().After(limit) {
			t.Fatalf("the server's ack floor is %+v, want %d", r.consumer(t, topic).AckFloor, seq)
		}
	}
}

// lossySub loses messages of a source: every nth, at the most limit in all.
type lossySub struct {
	wireSub
	n, every int
	limit    int
}

func (l *lossySub) deliver(m *wireMsg) {
	if l.n++; l.limit > 0 && len(m.reply) > 0 && l.n%l.every == 0 {
		l.limit--
		return
	}
	l.wireSub.deliver(m)
}

func TestSourceSurvives(t *testing.T) {
	const n = 20_000
	// ackedRun takes n events, acknowledges every hundredth and calls at between.
	ackedRun := func(t *testing.T, r *rig, s *Source, at func(got int)) {
		t.Helper()
		ctx := testContext(t)
		var all []string
		var buf []event.Event
		var pending []event.Event
		for len(all) < n {
			var err error
			if buf, _, err = s.Fetch(ctx, buf[:0], event.Room{Events: 500, Bytes: 1 << 20}); err != nil {
				t.Fatalf("after %d events: %v", len(all), err)
			}
			all = append(all, payloads(buf)...)
			pending = append(pending, buf...)
			at(len(all))
			for len(pending) > 700 { // an acknowledgement lags behind, as in a pipeline
				if err := s.Ack(pending[99].Ack); err != nil {
					t.Fatal(err)
				}
				pending = pending[100:]
			}
		}
		sameOrder(t, all, numbers(n))
		if err := s.Ack(pending[len(pending)-1].Ack); err != nil {
			t.Fatal(err)
		}
		if s.AckedSeq() != n {
			t.Error(s.AckedSeq())
		}
		// What was handed out before a recovery comes again before the server
		// can be told; Fetch drives that.
		fetching, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, _, err := s.Fetch(fetching, nil, wide); !errors.Is(err, context.Canceled) {
				t.Errorf("something came behind the end: %v", err)
			}
		}()
		r.awaitFloor(t, "in", n)
		stop()
		<-ended
	}
	prepare := func(t *testing.T) (*rig, *Source) {
		t.Helper()
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, n)
		return r, r.source(t, SourceConfig{Topic: "in", timing: quick})
	}
	t.Run("lost messages", func(t *testing.T) {
		r, s := prepare(t)
		next := 2000
		ackedRun(t, r, s, func(got int) {
			if got < next {
				return
			}
			next += 3000
			// Loses some of what is on its way now.
			subs := *s.wire.subs.Load()
			for _, sub := range subs {
				hookSub(s.wire, &lossySub{wireSub: sub, every: 7, limit: 3})
			}
		})
		if s.mu.generation < 3 {
			t.Errorf("only %d recoveries", s.mu.generation)
		}
	})
	t.Run("the last message lost, and nothing behind it", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in", timing: quick})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _, _ = s.Fetch(ctx, nil, wide) // requests
		for _, sub := range *s.wire.subs.Load() {
			hookSub(s.wire, &lossySub{wireSub: sub, every: 1, limit: 1})
		}
		r.fill(t, "in", 0, 1)
		sameOrder(t, payloads(take(t, s, 1, wide)), numbers(1))
	})
	t.Run("lost connections", func(t *testing.T) {
		r, s := prepare(t)
		next := 2000
		ackedRun(t, r, s, func(got int) {
			if got >= next {
				next += 3000
				breakLink(t, s.wire)
			}
		})
	})
	t.Run("a restart of the server", func(t *testing.T) {
		r, s := prepare(t)
		next := 5000
		ackedRun(t, r, s, func(got int) {
			if got >= next {
				next += n
				r.stop()
				r.start(t)
			}
		})
	})
	t.Run("a consumer that forgot its requests", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in", timing: quick})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _, _ = s.Fetch(ctx, nil, wide) // requests
		for _, sub := range *s.wire.subs.Load() {
			hookSub(s.wire, &deafSub{wireSub: sub, deaf: 1 << 30})
		}
		r.fill(t, "in", 0, 10)
		sameOrder(t, payloads(take(t, s, 10, wide)), numbers(10))
	})
	t.Run("but not its consumer being deleted", func(t *testing.T) {
		r, s := prepare(t)
		take(t, s, 10, event.Room{Events: 10, Bytes: 1 << 20})
		if err := r.js.DeleteConsumer(t.Context(), "in", "wasmill-p"); err != nil {
			t.Fatal(err)
		}
		err := fetchUntilError(t, s)
		if !strings.Contains(err.Error(), `consumer "wasmill-p" of topic "in" is gone`) {
			t.Error(err)
		}
		if _, _, again := s.Fetch(t.Context(), nil, wide); again == nil || again.Error() != err.Error() {
			t.Error("a second fetch: ", again)
		}
		if err := s.Ack("$JS.ACK.in.wasmill-p.1.1.1.1.1"); err == nil {
			t.Error("an acknowledgement is accepted")
		}
	})
	t.Run("nor its topic being deleted", func(t *testing.T) {
		r, s := prepare(t)
		take(t, s, 10, event.Room{Events: 10, Bytes: 1 << 20})
		if err := r.js.DeleteStream(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		if err := fetchUntilError(t, s); !strings.Contains(err.Error(), "is gone") {
			t.Error(err)
		}
	})
}

func fetchUntilError(t *testing.T, s *Source) error {
	t.Helper()
	ctx := testContext(t)
	for {
		if _, _, err := s.Fetch(ctx, nil, wide); err != nil {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			return err
		}
	}
}

func TestSourceClose(t *testing.T) {
	t.Run("ends a Fetch that waits for events", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in"})
		ended := make(chan error, 1)
		go func() {
			_, _, err := s.Fetch(context.Background(), nil, wide)
			ended <- err
		}()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("ends a Fetch that waits for the server", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in", timing: quick})
		r.stop()
		ended := make(chan error, 1)
		go func() {
			_, _, err := s.Fetch(context.Background(), nil, wide)
			ended <- err
		}()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	t.Run("and says which token is wrong", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		s := r.source(t, SourceConfig{Topic: "in"})
		if err := s.Ack("nonsense"); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
			t.Error(err)
		}
	})
}

// TestLoopSurvives is a pipeline in small: events go from one topic to another
// while the server is killed under them, and are acknowledged when confirmed.
func TestLoopSurvives(t *testing.T) {
	r := newRig(t, func(o *server.Options) { o.SyncInterval = time.Hour })
	r.stream(t, "in", nil)
	r.stream(t, "out", nil)
	const n = 30_000
	r.fill(t, "in", 0, n)
	src := r.source(t, SourceConfig{Topic: "in", timing: quick})
	p := make(progress, 1)
	snk := r.sink(t, SinkConfig{Topics: []string{"out"}}, p.moved)
	ctx := testContext(t)
	var pending []event.Event
	restart := 8_000
	for got := 0; got < n; {
		events, lag, err := src.Fetch(ctx, nil, event.Room{Events: 1000, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			add(t, snk, 0, output("out.a", string(events[i].Payload)))
		}
		pending = append(pending, events...)
		got += len(events)
		if lag == 0 {
			if err := snk.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		done := int(snk.Confirmed(0)) - (got - len(pending))
		if done > 0 {
			if err := src.Ack(pending[done-1].Ack); err != nil {
				t.Fatal(err)
			}
			pending = pending[done:]
		}
		if got >= restart {
			restart += 8_000
			r.stop()
			r.start(t)
		}
	}
	awaitConfirmed(t, snk, p, 0, n)
	if err := src.Ack(pending[len(pending)-1].Ack); err != nil {
		t.Fatal(err)
	}
	got := r.payloads(t, "out")
	t.Logf("%d stored twice", len(got)-n)
	sameOrder(t, firsts(got), numbers(n))
}

// TestBrokerDataPath opens the data path through a Broker, without a listener.
func TestBrokerDataPath(t *testing.T) {
	b := open(t, Config{})
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	ensure(t, b, TopicConfig{Name: "out", Subjects: []string{"out.>"}})
	src, err := b.OpenSource(testContext(t), SourceConfig{Pipeline: "p", Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	p := make(progress, 1)
	snk, err := b.OpenSink(testContext(t), SinkConfig{Pipeline: "p", Topics: []string{"out"}}, p.moved)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(testContext(t), "in", *output("in.a", "hello", "k", "v")); err != nil {
		t.Fatal(err)
	}
	e := take(t, src, 1, wide)[0]
	pos := add(t, snk, 0, &event.Output{Subject: "out.a", Payload: e.Payload, Headers: e.Headers, HeaderCount: int(e.HeaderCount)})
	if err := snk.Flush(); err != nil {
		t.Fatal(err)
	}
	awaitConfirmed(t, snk, p, 0, pos)
	if err := src.Ack(e.Ack); err != nil {
		t.Fatal(err)
	}
	m, err := b.Get(testContext(t), "out", 1)
	if err != nil || m.Payload != "hello" || m.Headers["k"][0] != "v" {
		t.Fatal(m, err)
	}
	t.Run("ends with the broker", func(t *testing.T) {
		ended := make(chan error, 2)
		go func() {
			_, _, err := src.Fetch(context.Background(), nil, wide)
			ended <- err
		}()
		go func() {
			for {
				if _, err := snk.Add(context.Background(), 0, output("out.a", "x")); err != nil {
					ended <- err
					return
				}
			}
		}()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		if err := snk.Close(context.Background()); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "are not confirmed") {
			t.Error(err)
		}
	})
}
