package broker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wasmill/wasmill/runtime/event"
)

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
	t.Run("its consumer being deleted", func(t *testing.T) {
		r, s := prepare(t)
		deleted := false
		ackedRun(t, r, s, func(got int) {
			if got > n/2 && !deleted {
				deleted = true
				if err := r.js.DeleteConsumer(t.Context(), "in", "wasmill-p"); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
	t.Run("but not its topic being deleted", func(t *testing.T) {
		r, s := prepare(t)
		take(t, s, 10, event.Room{Events: 10, Bytes: 1 << 20})
		if err := r.js.DeleteStream(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		err := fetchUntilError(t, s)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `topic "in": not found: it was deleted behind the pipeline's back`) {
			t.Error(err)
		}
		if _, _, again := s.Fetch(t.Context(), nil, wide); again == nil || again.Error() != err.Error() {
			t.Error("a second fetch: ", again)
		}
		if err := s.Ack("$JS.ACK.in.wasmill-p.1.1.1.1.1"); err == nil {
			t.Error("an acknowledgement is accepted")
		}
	})
	t.Run("nor its topic being made anew", func(t *testing.T) {
		r, s := prepare(t)
		take(t, s, 10, event.Room{Events: 10, Bytes: 1 << 20})
		if err := r.js.DeleteStream(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		r.stream(t, "in", nil)
		if err := fetchUntilError(t, s); !errors.Is(err, ErrTopicReplaced) {
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
