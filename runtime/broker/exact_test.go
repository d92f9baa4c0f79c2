package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

// exactRig is a server with two topics and the dead letters.
func exactRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, nil)
	for _, name := range []string{"out", "more", "dead"} {
		r.topic(t, name, nil)
	}
	return r
}

// topic makes a stream as Wasmill makes those of topics.
func (r *rig) topic(t *testing.T, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	r.stream(t, name, func(c *jetstream.StreamConfig) {
		c.Metadata = map[string]string{metaKey: metaTopic}
		if change != nil {
			change(c)
		}
	})
}

func exactConfig(partitions int) ExactConfig {
	return ExactConfig{
		Pipeline: "p", Topic: "in", Key: "subject:2", Partitions: partitions,
		Outputs: []string{"out", "more", "dead"}, Home: "out",
	}
}

// exact opens the commits of a pipeline under an epoch.
func (r *rig) exact(t *testing.T, cfg ExactConfig, claim exactClaim) *Exact {
	t.Helper()
	e, err := openExact(t.Context(), r.wire(t, false), slog.New(slog.DiscardHandler), event.Listener{}, cfg, claim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func (e *Exact) mustSink(t *testing.T, partition int) *ExactSink {
	t.Helper()
	s, err := e.OpenSink(partition, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// emit adds the outputs of one event, "topic:payload" each.
func (s *ExactSink) emit(t *testing.T, seq uint64, outputs ...string) {
	t.Helper()
	for _, o := range outputs {
		topic, payload, _ := strings.Cut(o, ":")
		i := slices.Index(s.exact.cfg.Outputs, topic)
		m := output(topic+".a", payload, "Wasmill-Source", fmt.Sprintf("in/%d", seq))
		m.Cause = seq
		if _, err := s.Add(t.Context(), i, m); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *ExactSink) mustCommit(t *testing.T, seq uint64) uint64 {
	t.Helper()
	pos, err := s.Commit(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// settle waits until everything committed is stored in all topics.
func (s *ExactSink) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// outputs are the payloads of the events in a topic, without records.
func (r *rig) outputs(t *testing.T, topic string) []string {
	t.Helper()
	p := []string{}
	for _, m := range r.messages(t, topic) {
		if !isExactSubjects(m.Subject) {
			p = append(p, string(m.Data))
		}
	}
	return p
}

// messages reads a topic message by message: records may be removed meanwhile.
func (r *rig) messages(t *testing.T, topic string) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); ; seq++ {
		m, err := stream.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		seq = m.Sequence
		all = append(all, m)
	}
}

// records counts the records in a topic by kind.
func (r *rig) records(t *testing.T, topic string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, m := range r.messages(t, topic) {
		if isExactSubjects(m.Subject) {
			n[m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]]++
		}
	}
	return n
}

func eventOf(seq uint64, subject string) *event.Event {
	e := &event.Event{}
	e.Seq, e.Subject = seq, []byte(subject)
	return e
}

func TestExactStoresOutputsAndCheckpointTogether(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	s.emit(t, 1, "out:a", "out:b")
	s.emit(t, 3, "out:c")
	s.mustCommit(t, 4) // 2 and 4 had no outputs
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), []string{"a", "b", "c"})
	for _, m := range r.messages(t, "out") {
		if !isExactSubjects(m.Subject) && m.Header.Get("Nats-Batch-Id") == "" {
			t.Errorf("%q was not stored in a batch: %v", m.Data, m.Header)
		}
	}
	e.Close()

	e = r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	for seq, want := range map[uint64]bool{1: true, 4: true, 5: false, 100: false} {
		if got := e.Covers(eventOf(seq, "in.x")); got != want {
			t.Errorf("after a start event %d is committed: %v, want %v", seq, got, want)
		}
	}
	if got := r.records(t, "out"); got[kindCheckpoint] != 1 || got[kindJournal] != 0 {
		t.Errorf("the topic holds the records %v, want one checkpoint", got)
	}
}

// Drops advance the checkpoint, too, without outputs.
func TestExactCommitsEventsWithoutOutputs(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	for seq := uint64(10); seq <= 50; seq += 10 {
		s.mustCommit(t, seq)
	}
	s.settle(t)
	if got := s.Confirmed(0); got != 5 {
		t.Errorf("confirmed %d of 5", got)
	}
	e.Close()
	e = r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	if !e.Covers(eventOf(50, "in.x")) || e.Covers(eventOf(51, "in.x")) {
		t.Error("the checkpoint is not at 50")
	}
}

func TestExactPublishesToSeveralTopics(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	var out, more, dead []string
	for seq := uint64(1); seq <= 500; seq++ {
		o, m := fmt.Sprint("o", seq), fmt.Sprint("m", seq)
		s.emit(t, seq, "out:"+o, "more:"+m)
		out, more = append(out, o), append(more, m)
		if seq%100 == 0 {
			s.emit(t, seq, fmt.Sprint("dead:d", seq))
			dead = append(dead, fmt.Sprint("d", seq))
		}
		if seq%50 == 0 {
			s.mustCommit(t, seq)
		}
	}
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), out)
	sameOrder(t, r.outputs(t, "more"), more)
	sameOrder(t, r.outputs(t, "dead"), dead)
	e.Close()
	r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	if got := r.records(t, "out"); got[kindCheckpoint] != 1 || got[kindJournal] != 0 {
		t.Errorf("the home holds the records %v", got)
	}
	if got := r.records(t, "more"); got[kindApplied] != 1 {
		t.Errorf("the other topic holds the records %v", got)
	}
}

// One event causes more outputs than an atomic batch can hold.
func TestExactKeepsTheOutputsOfOneEventTogether(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	var want []string
	for seq := uint64(1); seq <= 3; seq++ {
		n := 1
		if seq == 2 {
			n = 3500
		}
		for i := range n {
			p := fmt.Sprint(seq, "-", i)
			s.emit(t, seq, "out:"+p)
			want = append(want, p)
		}
	}
	s.mustCommit(t, 3)
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), want)
}

// What belongs to an event that is not finished is never stored.
func TestExactDropsWhatIsNotFinished(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	s := e.mustSink(t, 0)
	s.emit(t, 1, "out:a")
	s.emit(t, 2, "out:b")
	s.emit(t, 3, "out:c") // 1 and 2 are finished, 3 may not be
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), []string{"a", "b"})
	e.Close()
	e = r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	if !e.Covers(eventOf(2, "in.x")) || e.Covers(eventOf(3, "in.x")) {
		t.Error("the checkpoint is not at 2")
	}
}

// A process that does not know yet that another one has taken over cannot store
// anything any more.
func TestExactRefusesAStaleOwner(t *testing.T) {
	r := exactRig(t)
	first := r.exact(t, exactConfig(1), exactClaim{epoch: 1, last: 1 << 40})
	zombie := first.mustSink(t, 0)
	zombie.emit(t, 1, "out:a")
	zombie.mustCommit(t, 1)
	waitFor(t, "the first commit", func() bool { return zombie.Confirmed(0) == 1 })

	second := r.exact(t, exactConfig(1), exactClaim{epoch: 2, last: 1 << 40})
	zombie.emit(t, 2, "out:stale", "dead:stale")
	if _, err := zombie.Commit(t.Context(), 2); err != nil && !errors.Is(err, ErrReplaced) {
		t.Fatal(err)
	}
	waitFor(t, "the stale owner to be refused", func() bool { return errors.Is(zombie.Flush(), ErrReplaced) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := zombie.Close(ctx); !errors.Is(err, ErrReplaced) {
		t.Errorf("closing it: %v", err)
	}
	s := second.mustSink(t, 0)
	s.emit(t, 2, "out:b")
	s.mustCommit(t, 2)
	s.settle(t)
	sameOrder(t, r.outputs(t, "out"), []string{"a", "b"})
	sameOrder(t, r.outputs(t, "dead"), nil)
}

// The server goes away and comes back under load; every batch is there once.
func TestExactSurvivesServerRestarts(t *testing.T) {
	r := exactRig(t)
	e := r.exact(t, exactConfig(2), exactClaim{epoch: 1, last: 1 << 40})
	const events = 4000
	done := make(chan struct{})
	go func() {
		defer close(done)
		sinks := []*ExactSink{e.mustSink(t, 0), e.mustSink(t, 1)}
		for seq := uint64(1); seq <= events; seq++ {
			s := sinks[seq%2]
			s.emit(t, seq, fmt.Sprint("out:", seq), fmt.Sprint("more:", seq))
			if seq%20 < 2 {
				s.mustCommit(t, seq)
			}
		}
		for _, s := range sinks {
			s.mustCommit(t, events)
			s.settle(t)
		}
	}()
	for range 3 {
		time.Sleep(50 * time.Millisecond) // some of it is stored meanwhile, or nothing: both are fine
		r.stop()
		r.start(t)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("not done: %s", e.trouble())
	}
	for _, topic := range []string{"out", "more"} {
		got := r.outputs(t, topic)
		if len(got) != events || len(firsts(got)) != events {
			t.Errorf("topic %s has %d outputs, %d different ones, want %d", topic, len(got), len(firsts(got)), events)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(limit) {
			t.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// When the lease is lost no commit can be stored any more, and what waits for
// one would keep a drain waiting until its limit.
func TestExactlyOnceEndsWithItsTenure(t *testing.T) {
	r := exactRig(t)
	w := r.wire(t, false)
	w.tenure = newTenure()
	e, err := openExact(t.Context(), w, slog.New(slog.DiscardHandler), event.Listener{}, exactConfig(1), exactClaim{epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s := e.mustSink(t, 0)
	w.tenure.end()
	w.tenure.end() // idempotent
	select {
	case <-e.ended:
	case <-time.After(time.Minute):
		t.Fatal("still committing a minute after its tenure has ended")
	}
	if _, err := s.Commit(t.Context(), 1); !errors.Is(err, errTenureOver) {
		t.Errorf("a commit after the tenure: %v", err)
	}
}
