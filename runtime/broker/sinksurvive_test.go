package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
)

func TestSinkWindow(t *testing.T) {
	t.Run("blocks Add until the topic takes what is there, and says so", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 10 })
		var blocked time.Duration
		listener := event.Listener{Blocked: func(pipeline, reason string, d time.Duration) {
			if pipeline != "p" || reason != event.ReasonOutput {
				t.Error(pipeline, reason)
			}
			blocked += d
		}}.WithDefaults()
		p := make(progress, 1)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, Window: event.Room{Events: 25}, listener: listener}, p.moved)
		for i := range 35 {
			add(t, s, 0, output("out.a", fmt.Sprint(i)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if _, err := s.Add(ctx, 0, output("out.a", "x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the window is full: %v", err)
		}
		if s.Confirmed(0) != 10 || blocked == 0 || !strings.Contains(s.Err(), "maximum messages exceeded") {
			t.Errorf("%d confirmed, blocked for %s, error %q", s.Confirmed(0), blocked, s.Err())
		}
		if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "25 outputs are not confirmed: topic out: maximum messages exceeded") {
			t.Errorf("close: %v", err)
		}
		sameOrder(t, r.payloads(t, "out"), numbers(10))
	})
	t.Run("bounds bytes, but lets a single larger output pass", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, Window: event.Room{Bytes: 1000}}, nil)
		for i := range 50 {
			add(t, s, 0, output("out.a", strings.Repeat(fmt.Sprint(i%10), 100+i*40)))
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if n := len(r.stored(t, "out")); n != 50 {
			t.Error(n)
		}
	})
	t.Run("goes on without loss or repetition when a full topic is freed", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 500 })
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, Window: event.Room{Events: 300}}, nil)
		const n = 3000
		failed := make(chan error, 1)
		go func() {
			for i := range n {
				if _, err := s.Add(context.Background(), 0, output("out.a", fmt.Sprint(i))); err != nil {
					failed <- err
					return
				}
			}
			failed <- s.Close(context.Background())
		}()
		var got []string
		ctx := testContext(t)
		stream, err := r.js.Stream(ctx, "out")
		if err != nil {
			t.Fatal(err)
		}
		for len(got) < n { // empty it again and again while the sink pushes
			m, err := stream.GetMsg(ctx, uint64(len(got)+1))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				if err := stream.Purge(ctx, jetstream.WithPurgeSequence(uint64(len(got)+1))); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(m.Data))
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		sameOrder(t, got, numbers(n))
	})
}

func TestSinkSurvives(t *testing.T) {
	t.Run("lost connections under load", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}}, nil)
		const n = 30_000
		for i := range n {
			add(t, s, 0, output("out.a", fmt.Sprint(i)))
			if i%10_000 == 5_000 {
				breakLink(t, s.wire)
			}
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		got := r.payloads(t, "out")
		t.Logf("%d stored twice", len(got)-n)
		sameOrder(t, firsts(got), numbers(n))
	})
	t.Run("a batch that the server has forgotten", func(t *testing.T) {
		r := newRig(t, func(o *server.Options) { o.JetStreamLimits.MaxBatchTimeout = 20 * time.Millisecond })
		r.stream(t, "out", nil)
		p := make(progress, 1)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{tick: time.Hour}}, p.moved)
		const n = 10
		for i := range n {
			add(t, s, 0, output("out.a", fmt.Sprint(i)))
			s.wire.want(s) // as if much were waiting: all but the newest go out, in an open batch
		}
		r.awaitStored(t, "out", n-1)
		<-time.After(100 * time.Millisecond) // the server tells nobody when it drops a batch
		for i := n; i < 2*n; i++ {
			add(t, s, 0, output("out.a", fmt.Sprint(i)))
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		awaitConfirmed(t, s, p, 0, 2*n)
		sameOrder(t, firsts(r.payloads(t, "out")), numbers(2*n))
	})
	for name, timing := range map[string]sinkTiming{
		"answers that never come":                        {tick: 5 * time.Millisecond, ask: time.Hour, answer: 30 * time.Millisecond},
		"answers that are lost, after which it is asked": {tick: 5 * time.Millisecond, ask: 30 * time.Millisecond, answer: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.stream(t, "out", nil)
			p := make(progress, 1)
			s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: timing}, p.moved)
			deaf := &deafSub{wireSub: s, deaf: 3}
			hookSub(s.wire, deaf)
			for i := range 100 {
				add(t, s, 0, output("out.a", fmt.Sprint(i)))
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			awaitConfirmed(t, s, p, 0, 100)
			sameOrder(t, firsts(r.payloads(t, "out")), numbers(100))
		})
	}
	t.Run("a topic whose storage is exhausted", func(t *testing.T) {
		r := newRig(t, func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 })
		r.stream(t, "out", nil)
		r.stream(t, "other", nil)
		if _, err := r.js.Publish(t.Context(), "other.a", make([]byte, 600<<10)); err != nil {
			t.Fatal(err)
		}
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, timing: sinkTiming{tick: 5 * time.Millisecond}}, nil)
		const n = 600
		for i := range n {
			add(t, s, 0, output("out.a", fmt.Sprint(i)+strings.Repeat(" ", 1000)))
		}
		for s.Err() == "" {
			<-time.After(time.Millisecond)
		}
		if !strings.Contains(s.Err(), "resource limits exceeded") && !strings.Contains(s.Err(), "insufficient") {
			t.Errorf("error %q", s.Err())
		}
		other, err := r.js.Stream(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		got := r.payloads(t, "out")
		for i := range got {
			got[i] = strings.TrimSpace(got[i])
		}
		sameOrder(t, got, numbers(n))
	})
	t.Run("an output that no stream takes", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", nil)
		s := r.sink(t, SinkConfig{Topics: []string{"out"}}, nil)
		for i := range 5 {
			add(t, s, 0, output("out.a", fmt.Sprint(i)))
		}
		add(t, s, 0, output("elsewhere", "5"))
		add(t, s, 0, output("out.a", "6"))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		for s.Confirmed(0) < 5 || s.Err() == "" {
			<-time.After(time.Millisecond)
		}
		if !strings.Contains(s.Err(), "no stream takes this subject") {
			t.Errorf("error %q", s.Err())
		}
		stream, err := r.js.Stream(t.Context(), "out")
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.Subjects = append(cfg.Subjects, "elsewhere")
		if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, r.payloads(t, "out"), numbers(7))
	})
}

func TestSinkClose(t *testing.T) {
	t.Run("ends an Add that blocks", func(t *testing.T) {
		r := newRig(t, nil)
		r.stream(t, "out", func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 1 })
		waiting := make(chan struct{})
		var once sync.Once
		listener := event.Listener{Blocked: func(string, string, time.Duration) { once.Do(func() { close(waiting) }) }}.WithDefaults()
		s := r.sink(t, SinkConfig{Topics: []string{"out"}, Window: event.Room{Events: 1}, listener: listener}, nil)
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := s.Add(context.Background(), 0, output("out.a", "x")); err != nil {
					ended <- err
					return
				}
			}
		}()
		<-waiting
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Error("a second close: ", err)
		}
		if err := s.Flush(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func (r *rig) awaitStored(t *testing.T, topic string, n uint64) {
	t.Helper()
	for {
		stream, err := r.js.Stream(testContext(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		if stream.CachedInfo().State.Msgs >= n {
			return
		}
	}
}

// deafSub loses the first messages.
type deafSub struct {
	wireSub
	deaf int
}

func (d *deafSub) deliver(m *wireMsg) {
	if d.deaf > 0 {
		d.deaf--
		return
	}
	d.wireSub.deliver(m)
}

// hookSub puts s in the place of every subscription of w.
func hookSub(w *wire, s wireSub) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := make(map[uint64]wireSub)
	for sid := range *w.subs.Load() {
		next[sid] = s
	}
	w.subs.Store(&next)
}
