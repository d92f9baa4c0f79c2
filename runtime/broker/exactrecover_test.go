package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/runtime/event"
)

// The committer stops behind a commit, before its journal is applied: the next
// start publishes what is owed, once, also when that is cut off and begun again.
func TestExactCompletesAJournal(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	e.stop()
	e.done.Wait() // its loops; the test takes their place
	s := e.mustSink(t, 0)
	s.emit(t, 1, "out:a", "more:b", "dead:c")
	s.mustCommit(t, 1)
	c := e.gather(0)
	if err := e.commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, r.outputs(t, "more"), nil)
	if err := e.apply(t.Context(), 1, c.ref, c.side[1]); err != nil { // one of the two topics has its output
		t.Fatal(err)
	}
	e.Close()
	for epoch := uint64(2); epoch < 4; epoch++ {
		r.exact(t, exactConfig(1), exactClaim{epoch: epoch, last: 1 << 40}).Close()
		sameOrder(t, r.outputs(t, "out"), []string{"a"})
		sameOrder(t, r.outputs(t, "more"), []string{"b"})
		sameOrder(t, r.outputs(t, "dead"), []string{"c"})
	}
}

// A journal that is not whole is an error, never a silent loss.
func TestExactSaysWhenAJournalIsLost(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	e.stop()
	e.done.Wait()
	s := e.mustSink(t, 0)
	s.emit(t, 1, "dead:c")
	s.mustCommit(t, 1)
	c := e.gather(0)
	if err := e.commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := e.purge(t.Context(), "out", e.streams[0].journal, 0); err != nil {
		t.Fatal(err)
	}
	e.Close()
	_, err := openExact(t.Context(), r.wire(t, false), slog.New(slog.DiscardHandler), event.Listener{}, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	if !errors.Is(err, ErrDamagedRecord) {
		t.Errorf("opening says %v", err)
	}
}

// A checkpoint that cannot be understood is an error that says what to do.
func TestExactRefusesACheckpointThatItCannotRead(t *testing.T) {
	for name, change := range map[string]func([]byte) ([]byte, error){
		"damaged": func(b []byte) ([]byte, error) { b[len(b)-3] ^= 1; return b, ErrDamagedRecord },
		"newer": func(b []byte) ([]byte, error) {
			return []byte(strings.Replace(string(b), "checkpoint 1", "checkpoint 2", 1)), ErrNewerRecord
		},
		"cut off": func(b []byte) ([]byte, error) { return b[:len(b)/2], ErrDamagedRecord },
		"empty":   func([]byte) ([]byte, error) { return nil, ErrDamagedRecord },
	} {
		t.Run(name, func(t *testing.T) {
			r := exactRig(t)
			e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
			m, err := e.last(t.Context(), "out", e.streams[0].checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			bad, want := change(m.data)
			if _, err := r.js.Publish(t.Context(), e.streams[0].checkpoint, bad); err != nil {
				t.Fatal(err)
			}
			e.Close()
			_, err = openExact(t.Context(), r.wire(t, false), slog.New(slog.DiscardHandler), event.Listener{}, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
			if !errors.Is(err, want) || !strings.Contains(err.Error(), "pipelines reset p") {
				t.Errorf("opening says %v", err)
			}
		})
	}
}

// Without a checkpoint, or with one from before a reset, the position counts; a
// checkpoint behind the end of the topic is cut to it.
func TestExactBeginsWhereItShould(t *testing.T) {
	r := exactRig(t)
	begins := func(claim exactClaim, want uint64) {
		t.Helper()
		e := r.exact(t, exactConfig(1), claim)
		defer e.Close()
		if !e.Covers(eventOf(want, "in.x")) || e.Covers(eventOf(want+1, "in.x")) {
			t.Errorf("%+v: it does not begin behind %d", claim, want)
		}
		s := e.mustSink(t, 0)
		s.mustCommit(t, want+10)
		s.settle(t)
	}
	begins(exactClaim{epoch: 1, position: 100, last: 1 << 40}, 100)
	begins(exactClaim{epoch: 2, position: 50, last: 1 << 40}, 110) // the checkpoint goes further
	begins(exactClaim{epoch: 4, reset: 3, position: 20, last: 1 << 40}, 20)
	begins(exactClaim{epoch: 5, reset: 3, position: 20, last: 25}, 25)
}

// The key and the number of partitions change: what each partition had committed
// stays committed, and nothing else.
func TestExactRemembersFormerPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := []string{"subject:2", "subject:3", "header:K", ""}
		var c checkpoint
		done := map[uint64]bool{}
		events := make([]*event.Event, 60)
		for i := range events {
			events[i] = eventOf(uint64(i+1), fmt.Sprintf("in.k%d.j%d", i%5, i%3))
		}
		for range rapid.IntRange(1, 5).Draw(t, "runs") {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			n := rapid.IntRange(1, 4).Draw(t, "partitions")
			if key == "" {
				n = 1
			}
			c.use(key, n)
			before, err := c.coverage()
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := event.ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			for p := range n { // each partition comes some way
				for left := rapid.IntRange(0, 20).Draw(t, "events"); left > 0; left-- {
					for _, e := range events {
						if event.Partition(parsed.Of(&e.Event), n) == p && !before.covers(&e.Event) && e.Seq > c.Layouts[0].Positions[p] {
							done[e.Seq] = true
							c.Layouts[0].Positions[p] = e.Seq
							break
						}
					}
				}
			}
			for c.Floor < uint64(len(events)) && done[c.Floor+1] {
				c.Floor++
			}
			c.trim()
			after, err := c.coverage()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if got := after.covers(&e.Event); got != done[e.Seq] {
					t.Fatalf("event %d is committed: %v, the checkpoint says %v: %+v", e.Seq, done[e.Seq], got, c)
				}
			}
		}
	})
}

// Another topic becomes the first output: the checkpoint moves there, and a
// former owner cannot commit in the old home any more.
func TestExactMovesItsHome(t *testing.T) {
	r := exactRig(t)
	first := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := first.mustSink(t, 0)
	s.emit(t, 1, "out:a", "more:b")
	s.mustCommit(t, 1)
	waitFor(t, "the first commit", func() bool { return s.Confirmed(0) == 1 })

	cfg := exactConfig(1)
	cfg.Home = "more"
	second := r.exact(t, cfg, exactClaim{epoch: 2, last: 1 << 40})
	if !second.Covers(eventOf(1, "in.x")) || second.Covers(eventOf(2, "in.x")) {
		t.Error("the second owner does not begin behind event 1")
	}
	s.emit(t, 2, "out:stale")
	_, _ = s.Commit(t.Context(), 2)
	waitFor(t, "the former owner to be refused", func() bool { return s.Flush() != nil })
	n := second.mustSink(t, 0)
	n.emit(t, 2, "out:c", "more:d")
	n.mustCommit(t, 2)
	n.settle(t)
	second.Close()
	sameOrder(t, r.outputs(t, "out"), []string{"a", "c"})
	sameOrder(t, r.outputs(t, "more"), []string{"b", "d"})
	third := r.exact(t, cfg, exactClaim{epoch: 3, last: 1 << 40})
	if !third.Covers(eventOf(2, "in.x")) {
		t.Error("the moved checkpoint does not know event 2")
	}
}

// A limit of the topic, or somebody, has removed the checkpoint of a pipeline that
// was idle. Nothing is committed then, since it might have been another owner; the
// next start goes on behind the position.
func TestExactEndsWithoutItsCheckpoint(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	s.emit(t, 1, "out:a")
	s.mustCommit(t, 1)
	waitFor(t, "the commit", func() bool { return s.Confirmed(0) == 1 })
	if err := e.purge(t.Context(), "out", e.streams[0].checkpoint, 0); err != nil {
		t.Fatal(err)
	}
	s.emit(t, 2, "out:b")
	s.mustCommit(t, 2)
	waitFor(t, "the commit to be refused", func() bool { return errors.Is(s.Flush(), errRecordGone) })
	e.Close()
	e = r.exact(t, exactConfig(1), exactClaim{epoch: 2, position: 1, last: 1 << 40})
	s = e.mustSink(t, 0)
	s.emit(t, 2, "out:b")
	s.mustCommit(t, 2)
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), []string{"a", "b"})
}

// A full topic that refuses makes the pipeline wait, and say why.
func TestExactWaitsForAFullTopic(t *testing.T) {
	r := newRig(t, nil)
	r.topic(t, "out", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 5, jetstream.DiscardNew })
	r.topic(t, "dead", nil)
	cfg := exactConfig(1)
	cfg.Outputs = []string{"out", "dead"}
	e := r.exact(t, cfg, exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	for seq := uint64(1); seq <= 10; seq++ {
		s.emit(t, seq, fmt.Sprint("out:", seq))
	}
	s.mustCommit(t, 10)
	waitFor(t, "the reason to be told", func() bool { return strings.Contains(s.Err(), "maximum messages") })
	stream, err := r.js.Stream(t.Context(), "out")
	if err != nil {
		t.Fatal(err)
	}
	wider := stream.CachedInfo().Config
	wider.MaxMsgs = 100
	if _, err := r.js.UpdateStream(t.Context(), wider); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
	if got := len(r.outputs(t, "out")); got != 10 {
		t.Errorf("%d outputs, want 10", got)
	}
}

// Streams of other owners are not changed: the error says what they need.
func TestExactSaysWhatAStreamLacks(t *testing.T) {
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"allow_atomic = true": func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"wasmill.exact.out.>": func(*jetstream.StreamConfig) {},
		"persist_mode async": func(c *jetstream.StreamConfig) {
			c.AllowAtomicPublish, c.PersistMode = false, jetstream.AsyncPersistMode
		},
		"it is sealed": func(c *jetstream.StreamConfig) { c.Sealed = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.stream(t, "dead", func(c *jetstream.StreamConfig) {
				c.Metadata = map[string]string{metaKey: metaTopic}
			})
			r.stream(t, "out", func(c *jetstream.StreamConfig) {
				change(c)
				c.Sealed = false // a new stream cannot be
			})
			if name == "it is sealed" {
				stream, err := r.js.Stream(t.Context(), "out")
				if err != nil {
					t.Fatal(err)
				}
				cfg := stream.CachedInfo().Config
				cfg.Sealed = true
				if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			cfg := exactConfig(1)
			cfg.Outputs = []string{"out", "dead"}
			_, err := openExact(context.Background(), r.wire(t, false), slog.New(slog.DiscardHandler), event.Listener{}, cfg, exactClaim{epoch: 1, last: 1 << 40})
			if no := new(TopicError); !errors.As(err, &no) || !strings.Contains(err.Error(), name) {
				t.Errorf("opening says %v", err)
			}
		})
	}
}
