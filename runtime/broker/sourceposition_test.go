package broker

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A source starts behind its pipeline's position, whatever the server's consumer
// believes, and never from the beginning without being told to.
func TestSourceStartsBehindItsPosition(t *testing.T) {
	const n = 1000
	// prepare leaves a pipeline that has finished 600 of n events.
	prepare := func(t *testing.T) *rig {
		t.Helper()
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, n)
		s := r.source(t, SourceConfig{Topic: "in", timing: quick})
		events := take(t, s, n, wide)
		for _, i := range []int{99, 399, 599} {
			if err := s.Ack(events[i].Ack); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s.Durable() != 600 {
			t.Fatalf("the position is %d", s.Durable())
		}
		return r
	}
	goesOn := func(t *testing.T, r *rig, at int) {
		t.Helper()
		s := r.source(t, SourceConfig{Topic: "in", Start: "all", timing: quick})
		sameOrder(t, payloads(take(t, s, n-at, wide)), numbers(n)[at:])
		if c := r.consumer(t, "in"); c.Config.DeliverPolicy != 0 {
			t.Errorf("%+v", c.Config)
		}
	}
	damage := func(t *testing.T, r *rig, doc string) {
		t.Helper()
		if _, err := r.js.Publish(t.Context(), positionSubject("p", "in"), []byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	deleteConsumer := func(t *testing.T, r *rig) {
		t.Helper()
		if err := r.js.DeleteConsumer(t.Context(), "in", "wasmill-p"); err != nil {
			t.Fatal(err)
		}
	}
	cannotStart := func(t *testing.T, r *rig, want error) {
		t.Helper()
		_, err := openSource(testContext(t), r.wire(t, false), r.state(t, "test"), SourceConfig{Pipeline: "p", Topic: "in"})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "wasmill pipelines reset p") {
			t.Fatal(err)
		}
		if err := resetSource(t.Context(), r.state(t, "test"), "p", "in", 601); err != nil {
			t.Fatal(err)
		}
		goesOn(t, r, 600)
	}

	t.Run("when the server has forgotten its acknowledgements", func(t *testing.T) {
		r := prepare(t)
		if _, err := r.js.ResetConsumerToSequence(t.Context(), "in", "wasmill-p", 1); err != nil {
			t.Fatal(err)
		}
		goesOn(t, r, 600)
	})
	t.Run("when its consumer was deleted", func(t *testing.T) {
		r := prepare(t)
		deleteConsumer(t, r)
		goesOn(t, r, 600)
	})
	t.Run("when its consumer was moved ahead", func(t *testing.T) {
		r := prepare(t)
		if _, err := r.js.ResetConsumerToSequence(t.Context(), "in", "wasmill-p", 900); err != nil {
			t.Fatal(err)
		}
		goesOn(t, r, 600)
	})
	t.Run("when the oldest events behind it are gone", func(t *testing.T) {
		r := prepare(t)
		stream, err := r.js.Stream(t.Context(), "in")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(701)); err != nil {
			t.Fatal(err)
		}
		goesOn(t, r, 700)
	})
	t.Run("behind what the server knows when the record is damaged or lost", func(t *testing.T) {
		for name, spoil := range map[string]func(r *rig){
			"damaged": func(r *rig) { damage(t, r, "wasmill-position 1 12345678 {}") },
			"lost": func(r *rig) {
				if err := r.js.DeleteStream(t.Context(), stateStream); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				r := prepare(t)
				r.awaitFloor(t, "in", 600)
				spoil(r)
				goesOn(t, r, 600)
			})
		}
	})
	t.Run("and not when nobody knows it", func(t *testing.T) {
		r := prepare(t)
		damage(t, r, "wasmill-position 1 12345678 {}")
		deleteConsumer(t, r)
		cannotStart(t, r, ErrDamagedRecord)
	})
	t.Run("and not when a later version wrote it", func(t *testing.T) {
		r := prepare(t)
		damage(t, r, "wasmill-position 9 {}")
		cannotStart(t, r, ErrNewerRecord)
	})
	t.Run("and not in another topic of the same name", func(t *testing.T) {
		r := prepare(t)
		if err := r.js.DeleteStream(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, n)
		cannotStart(t, r, ErrTopicReplaced)
	})
	t.Run("and takes it from a source that is open", func(t *testing.T) {
		r := prepare(t)
		replaced := make(chan struct{})
		one := r.source(t, SourceConfig{Topic: "in", timing: quick, Replaced: func() { close(replaced) }})
		events := take(t, one, 100, wide)
		two := r.source(t, SourceConfig{Topic: "in", timing: quick})
		if err := one.Ack(events[99].Ack); err != nil {
			t.Fatal(err)
		}
		<-replaced
		if err := fetchUntilError(t, one); !errors.Is(err, ErrReplaced) {
			t.Error(err)
		}
		if err := one.Ack(events[99].Ack); !errors.Is(err, ErrReplaced) {
			t.Error(err)
		}
		sameOrder(t, payloads(take(t, two, n-600, wide)), numbers(n)[600:])
	})
}

// An acknowledgement reaches the server only behind the position, so that what
// the server knows is never ahead of it.
func TestAcknowledgementsFollowThePosition(t *testing.T) {
	r := newRig(t, nil)
	r.stream(t, "in", nil)
	r.fill(t, "in", 0, 100)
	s := r.source(t, SourceConfig{Topic: "in", timing: quick})
	events := take(t, s, 100, wide)
	other := claimOf(t, r.state(t, "other"), claimConfig{}) // now nothing can be stored
	if err := s.Ack(events[49].Ack); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the source hears of it", func() bool { return s.Err() != "" })
	if err := s.Close(); err != nil { // what it has sent is with the server
		t.Fatal(err)
	}
	if c := r.consumer(t, "in"); c.AckFloor.Stream != 0 || other.stored() != 0 {
		t.Errorf("ack floor %+v, position %d", c.AckFloor, other.stored())
	}
}
