package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestPositionRecord(t *testing.T) {
	rec := positionRecord{
		Topic: "in", Created: time.Unix(1, 2).UTC(), Position: 1<<63 + 1, Owner: "me", Epoch: 7, Reset: 3, Partitions: 4,
	}
	doc, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePosition(doc)
	if err != nil || !got.Created.Equal(rec.Created) || got.Created.IsZero() {
		t.Fatal(got, err)
	}
	if got.Created = rec.Created; got != rec {
		t.Errorf("%+v instead of %+v", got, rec)
	}
	t.Run("is refused when any bit of it is another", func(t *testing.T) {
		for i := range doc {
			for bit := range 8 {
				bad := append([]byte(nil), doc...)
				bad[i] ^= 1 << bit
				_, err := decodePosition(bad)
				if !errors.Is(err, ErrDamagedRecord) && !errors.Is(err, ErrNewerRecord) {
					t.Fatalf("byte %d bit %d: %v: %q", i, bit, err, bad)
				}
			}
		}
	})
	t.Run("is refused when it is cut short", func(t *testing.T) {
		for i := range doc {
			if _, err := decodePosition(doc[:i]); !errors.Is(err, ErrDamagedRecord) {
				t.Fatalf("%d bytes: %v", i, err)
			}
		}
	})
	t.Run("is refused when a later version wrote it", func(t *testing.T) {
		_, err := decodePosition([]byte("wasmill-position 2 whatever that may be"))
		if !errors.Is(err, ErrNewerRecord) || !strings.Contains(err.Error(), "version 2") {
			t.Error(err)
		}
	})
}

func FuzzPositionRecord(f *testing.F) {
	rec := positionRecord{Topic: "in", Created: time.Unix(1, 2).UTC(), Position: 5}
	doc, err := rec.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte("wasmill-position 2 x"))
	f.Add([]byte("wasmill-position 1 00000000 {}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodePosition(b)
		if err != nil {
			if r != (positionRecord{}) {
				t.Errorf("a refused record gives %+v", r)
			}
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := decodePosition(again); err != nil || !r2.Created.Equal(r.Created) || r2.Position != r.Position {
			t.Errorf("%+v, %v", r2, err)
		}
	})
}

// claimOf claims the position of pipeline p in topic in.
func claimOf(t *testing.T, s *stateStore, c claimConfig) *position {
	t.Helper()
	p, err := claimErr(t, s, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.close(testContext(t)) })
	return p
}

func claimErr(t *testing.T, s *stateStore, c claimConfig) (*position, error) {
	t.Helper()
	c.pipeline, c.topic = "p", "in"
	if c.first == nil {
		c.first = first(0)
	}
	return s.claim(testContext(t), c, func() {})
}

func awaitStored(t *testing.T, p *position, seq uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("position %d is stored", seq), func() bool { return p.stored() == seq })
}

func TestClaim(t *testing.T) {
	prepare := func(t *testing.T) *rig {
		t.Helper()
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 100)
		return r
	}
	raw := func(t *testing.T, r *rig, doc string) {
		t.Helper()
		if err := r.state(t, "x").ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), positionSubject("p", "in"), []byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("begins where first says, and goes on where it was", func(t *testing.T) {
		r := prepare(t)
		one := claimOf(t, r.state(t, "one"), claimConfig{first: first(30), partitions: 2})
		if rec, _ := one.record(); rec.Position != 30 || rec.Epoch != 1 || rec.Owner != "one" || rec.Partitions != 2 || rec.Reset != 0 {
			t.Errorf("%+v", rec)
		}
		one.advance(40)
		one.advance(35) // changes nothing
		one.close(testContext(t))
		if one.stored() != 40 {
			t.Error(one.stored())
		}
		two := claimOf(t, r.state(t, "two"), claimConfig{first: first(99)})
		if rec, _ := two.record(); rec.Position != 40 || rec.Epoch != 2 || rec.Owner != "two" {
			t.Errorf("%+v", rec)
		}
	})
	t.Run("makes the former owner fail, whatever it writes", func(t *testing.T) {
		r := prepare(t)
		moved := make(chan struct{}, 1)
		one, err := r.state(t, "one").claim(t.Context(), claimConfig{pipeline: "p", topic: "in", first: first(0)}, func() {
			select {
			case moved <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		one.advance(10)
		awaitStored(t, one, 10)
		two := claimOf(t, r.state(t, "one"), claimConfig{}) // even when it is the same process
		one.advance(11)
		eventually(t, "the former owner hears of it", func() bool { return one.failed() != nil })
		if !errors.Is(one.failed(), ErrReplaced) || one.stored() != 10 {
			t.Error(one.failed(), one.stored())
		}
		<-moved
		one.advance(12) // no more
		one.close(testContext(t))
		two.advance(11)
		awaitStored(t, two, 11)
	})
	t.Run("by several at once leaves one owner", func(t *testing.T) {
		r := prepare(t)
		const n = 5
		got := make(chan *position, n)
		for i := range n {
			s := r.state(t, fmt.Sprint(i))
			go func() {
				p, err := s.claim(testContext(t), claimConfig{pipeline: "p", topic: "in", first: first(0)}, func() {})
				if err != nil {
					t.Error(err)
				}
				got <- p
			}()
		}
		owners, epochs := 0, map[uint64]bool{}
		var all []*position
		for range n {
			if p := <-got; p != nil {
				all = append(all, p)
				rec, _ := p.record()
				epochs[rec.Epoch] = true
			}
		}
		for _, p := range all {
			p.advance(50)
			p.close(testContext(t))
			if p.failed() == nil && p.stored() == 50 {
				owners++
			}
		}
		if owners != 1 || len(epochs) != n {
			t.Errorf("%d owners, epochs %v", owners, epochs)
		}
	})
	t.Run("refuses a record of a later version, until the operator chooses", func(t *testing.T) {
		r := prepare(t)
		raw(t, r, "wasmill-position 2 {}")
		_, err := claimErr(t, r.state(t, "one"), claimConfig{})
		if !errors.Is(err, ErrNewerRecord) || !strings.Contains(err.Error(), "wasmill pipelines reset p") {
			t.Error(err)
		}
		p := claimOf(t, r.state(t, "one"), claimConfig{from: 51})
		if rec, _ := p.record(); rec.Position != 50 || rec.Reset != rec.Epoch {
			t.Errorf("%+v", rec)
		}
	})
	t.Run("of a damaged record asks what else is known", func(t *testing.T) {
		r := prepare(t)
		claimOf(t, r.state(t, "one"), claimConfig{}).close(testContext(t))
		raw(t, r, "wasmill-position 1 00000000 {}")
		var told error
		p := claimOf(t, r.state(t, "two"), claimConfig{first: func(_ context.Context, damaged error) (uint64, error) {
			told = damaged
			return 17, nil
		}})
		if rec, _ := p.record(); !errors.Is(told, ErrDamagedRecord) || rec.Position != 17 || rec.Epoch < 2 {
			t.Errorf("%+v, %v", rec, told)
		}
	})
	t.Run("refuses a topic that was made anew, until the operator chooses", func(t *testing.T) {
		r := prepare(t)
		one := claimOf(t, r.state(t, "one"), claimConfig{})
		one.advance(100)
		one.close(testContext(t))
		if err := r.js.DeleteStream(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		if _, err := claimErr(t, r.state(t, "one"), claimConfig{}); !errors.Is(err, ErrNotFound) {
			t.Error("without a topic: ", err)
		}
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 200)
		_, err := claimErr(t, r.state(t, "one"), claimConfig{})
		if !errors.Is(err, ErrTopicReplaced) || !strings.Contains(err.Error(), "wasmill pipelines reset p") {
			t.Error(err)
		}
		if err := r.state(t, "one").setPosition(t.Context(), "p", "in", 1); err != nil {
			t.Fatal(err)
		}
		if p := claimOf(t, r.state(t, "one"), claimConfig{}); p.stored() != 0 {
			t.Error(p.stored())
		}
	})
	t.Run("goes back to the end of a topic that has lost it", func(t *testing.T) {
		r := prepare(t)
		one := claimOf(t, r.state(t, "one"), claimConfig{})
		one.advance(1000) // it had as many
		one.close(testContext(t))
		if p := claimOf(t, r.state(t, "one"), claimConfig{}); p.stored() != 100 {
			t.Error(p.stored())
		}
	})
	t.Run("fails when first does", func(t *testing.T) {
		r := prepare(t)
		broken := errors.New("broken")
		_, err := claimErr(t, r.state(t, "one"), claimConfig{first: func(context.Context, error) (uint64, error) { return 0, broken }})
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	t.Run("updates a state stream that knew leases only", func(t *testing.T) {
		r := prepare(t)
		if _, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: stateStream, Subjects: []string{leaseSubject + "*"}, MaxMsgsPerSubject: 1, MaxBytes: 16 << 20,
		}); err != nil {
			t.Fatal(err)
		}
		claimOf(t, r.state(t, "one"), claimConfig{})
	})
}

func TestPositionSurvives(t *testing.T) {
	t.Run("an outage of the server", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 100)
		p := claimOf(t, r.state(t, "one"), claimConfig{})
		p.advance(10)
		awaitStored(t, p, 10)
		r.stop()
		p.advance(20)
		eventually(t, "the trouble shows", func() bool { return p.trouble() != "" })
		r.start(t)
		awaitStored(t, p, 20)
		if p.trouble() != "" || p.failed() != nil {
			t.Error(p.trouble(), p.failed())
		}
	})
	t.Run("an answer that was lost", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		r.fill(t, "in", 0, 100)
		p := claimOf(t, r.state(t, "one"), claimConfig{})
		// As if an earlier write of its own had been stored and not confirmed.
		rec, revision := p.record()
		rec.Position = 10
		doc, err := rec.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.state(t, "one").put(t.Context(), p.subject, doc, revision); err != nil {
			t.Fatal(err)
		}
		p.advance(20)
		awaitStored(t, p, 20)
	})
	t.Run("but not the record being deleted", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		p := claimOf(t, r.state(t, "one"), claimConfig{})
		if err := r.js.DeleteStream(t.Context(), stateStream); err != nil {
			t.Fatal(err)
		}
		p.advance(20)
		eventually(t, "it gives up", func() bool { return p.failed() != nil })
		if errors.Is(p.failed(), ErrReplaced) || !strings.Contains(p.failed().Error(), "deleted behind the pipeline's back") {
			t.Error(p.failed())
		}
	})
	t.Run("a close that cannot store, which ends with its context", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "in", nil)
		p := claimOf(t, r.state(t, "one"), claimConfig{})
		r.stop()
		defer r.start(t)
		p.advance(20)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		p.close(ctx)
		p.close(ctx)
		if p.stored() != 0 {
			t.Error(p.stored())
		}
	})
}

// first says that a pipeline without a record has come as far as seq.
func first(seq uint64) func(context.Context, error) (uint64, error) {
	return func(context.Context, error) (uint64, error) { return seq, nil }
}
