package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

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
