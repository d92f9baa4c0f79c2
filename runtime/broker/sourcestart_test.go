package broker

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

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
		_, err := openSource(testContext(t), r.wire(t, false), r.state(t, "test"), SourceConfig{Pipeline: "p", Topic: "in", Start: "yesterday"})
		if err == nil || !strings.Contains(err.Error(), `start "yesterday": neither start, end, a sequence nor an RFC 3339 time`) {
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
		_, err := openSource(testContext(t), r.wire(t, false), r.state(t, "test"), SourceConfig{Pipeline: "p", Topic: "in"})
		if err == nil || !strings.Contains(err.Error(), "not one of Wasmill's") {
			t.Error(err)
		}
	})
	t.Run("refuses a topic that does not exist", func(t *testing.T) {
		r := newRig(t, nil)
		_, err := openSource(testContext(t), r.wire(t, false), r.state(t, "test"), SourceConfig{Pipeline: "p", Topic: "in"})
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("can be reset", func(t *testing.T) {
		r := prepare(t)
		if err := resetSource(t.Context(), r.state(t, "test"), "p", "in", 1); !errors.Is(err, ErrNotFound) {
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
		for _, want := range []uint64{17, 1} {
			if err := resetSource(t.Context(), r.state(t, "test"), "p", "in", want); err != nil {
				t.Fatal(want, err)
			}
			if seq := start(t, r, "all"); seq != want {
				t.Errorf("%d: starts at %d", want, seq)
			}
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

func TestBehind(t *testing.T) {
	r := newRig(t, nil)
	r.stream(t, "in", nil)
	b := &Broker{js: r.js}
	want := func(waiting, unacked uint64) {
		t.Helper()
		w, u, err := b.Behind(t.Context(), "p", "in")
		if err != nil || w+u != waiting+unacked || u > 0 && unacked == 0 {
			t.Errorf("%d are waiting and %d are not acknowledged, want %d and %d: %v", w, u, waiting, unacked, err)
		}
	}
	want(0, 0) // it has never run
	out := r.sink(t, SinkConfig{Topics: []string{"in"}}, nil)
	for i := range 3 {
		add(t, out, 0, output("in.a", strconv.Itoa(i)))
	}
	if err := out.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s := r.source(t, SourceConfig{Topic: "in"})
	events := take(t, s, 3, wide)
	want(0, 3)
	if err := s.Ack(events[1].Ack); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want(0, 1)
	if _, _, err := b.Behind(t.Context(), "p", "elsewhere"); err != nil {
		t.Errorf("a topic that does not exist: %v", err)
	}
}
