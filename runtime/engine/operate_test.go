package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestOperate(t *testing.T) {
	t.Parallel()
	t.Run("a paused pipeline fetches nothing until it is resumed", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		if err := w.engine.Pause(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.state("a", status.StatePaused)
		w.send("in", "1")
		w.wait("b", "1-r1")
		w.wait("a")
		w.state("b", status.StateRunning) // its events flow a moment before it says so
		if s := w.engine.Status(t.Context()); !s.Ready {
			t.Errorf("problems %q", s.Problems)
		}
		if err := w.engine.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.wait("a", "1-l1")
	})
	t.Run("a paused pipeline says how many events have come since", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := twoPipelines(t)
			w.send("in", "1")
			synctest.Wait()
			if err := w.engine.Pause(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			w.send("in", "2", "3")
			synctest.Wait()
			if p, _ := w.engine.Pipeline("a"); p.Lag != 2 {
				t.Errorf("its lag is %d, want 2", p.Lag)
			}
			for _, p := range w.engine.Status(t.Context()).Pipelines {
				if want := map[string]uint64{"a": 2, "b": 0}[p.Name]; p.Lag != want {
					t.Errorf("the status gives %s a lag of %d, want %d", p.Name, p.Lag, want)
				}
			}
			_ = w.engine.Close(t.Context())
		})
	})
	t.Run("a paused pipeline takes a new version", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		if err := w.engine.Pause(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.module("left", "l2")
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		w.send("in", "1")
		if err := w.engine.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.wait("a", "1-l2")
	})
	t.Run("a pipeline whose position cannot be used halts until it is reset", func(t *testing.T) {
		t.Parallel()
		for _, why := range []error{broker.ErrTopicReplaced, broker.ErrNewerRecord, broker.ErrDamagedRecord} {
			w := newWorld(t)
			var mended atomic.Bool
			w.openSource = func(string) error {
				if mended.Load() {
					return nil
				}
				return fmt.Errorf("position of pipeline %q: %w", "a", why)
			}
			w.module("left", "l1")
			w.module("right", "r1")
			w.open(two)
			w.state("a", status.StateHalted)
			if p, _ := w.engine.Pipeline("a"); !strings.Contains(p.Reason, why.Error()) {
				t.Errorf("its reason is %q", p.Reason)
			}
			w.send("in", "1", "2")
			mended.Store(true)
			if _, err := w.engine.Reset(t.Context(), "a", "seq:2"); err != nil {
				t.Fatal(err)
			}
			w.wait("a", "2-l1")
		}
	})
	t.Run("a reset pipeline reads from there again", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.send("in", "1", "2", "3")
		w.wait("a", "1-l1", "2-l1", "3-l1")
		seq, err := w.engine.Reset(t.Context(), "a", "seq:2")
		if err != nil || seq != 2 {
			t.Errorf("got %d, %v", seq, err)
		}
		w.wait("a", "1-l1", "2-l1", "3-l1", "2-l1", "3-l1")
		w.wait("b", "1-r1", "2-r1", "3-r1")
	})
	t.Run("a paused pipeline that is reset is finished up to where it goes on", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.send("in", "1", "2", "3")
		w.wait("a", "1-l1", "2-l1", "3-l1")
		if err := w.engine.Pause(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		for to, want := range map[string]uint64{"seq:3": 2, "all": 0} {
			if _, err := w.engine.Reset(t.Context(), "a", to); err != nil {
				t.Fatal(err)
			}
			if err := w.engine.Drain(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if p, err := w.engine.Pipeline("a"); err != nil || p.AckedSeq != want {
				t.Errorf("reset to %s: finished up to %d, %v; want %d", to, p.AckedSeq, err, want)
			}
		}
	})
	t.Run("a reset to nowhere is refused and the pipeline goes on", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		for _, to := range []string{"nowhere", "2026-01-01T00:00:00Z"} { // refused by its form, and by the broker
			if _, err := w.engine.Reset(t.Context(), "a", to); err == nil || errors.Is(err, broker.ErrBadStart) != (to == "nowhere") {
				t.Errorf("%s: %v", to, err)
			}
		}
		w.send("in", "1")
		w.wait("a", "1-l1")
	})
	t.Run("a pipeline that another process owns is reset there", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.external = true
		w.leases = func(ctx context.Context, _ string) (lease, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		w.module("left", "l1")
		w.module("right", "r1")
		w.open(two)
		w.state("a", status.StateStandby)
		w.state("b", status.StateStandby)
		if _, err := w.engine.Reset(t.Context(), "a", "all"); !errors.Is(err, ErrStandby) {
			t.Errorf("got %v", err)
		}
		if s := w.engine.Status(t.Context()); !s.Ready {
			t.Errorf("standby is no problem, got %q", s.Problems)
		}
	})
	t.Run("a standby pipeline takes every change before its turn comes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.external = true
		turn := make(chan struct{})
		w.leases = func(ctx context.Context, _ string) (lease, error) {
			select {
			case <-turn:
				return fakeLease{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		w.module("left", "l1")
		w.module("right", "r1")
		w.open(two)
		w.state("a", status.StateStandby)
		w.module("left", "l2")
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Apply(t.Context(), w.plan(strings.Replace(two, `subject = "a.x"`, `subject = "a.x"
outputs = { more = { topic = "b", subject = "b.y" } }`, 1))); err != nil {
			t.Fatal(err)
		}
		if n := w.alive("l1 instance"); n != 0 {
			t.Errorf("%d instances of the old version are open", n)
		}
		if n := w.alive("l2 instance"); n != 1 {
			t.Errorf("%d instances of the new version are open, want the one that waits for its turn", n)
		}
		close(turn)
		w.send("in", "1")
		w.wait("a", "1-l2")
	})
	t.Run("names that do not exist", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		_, resetErr := w.engine.Reset(t.Context(), "x", "all")
		_, showErr := w.engine.Pipeline("x")
		_, rollbackErr := w.engine.Rollback(t.Context(), "x")
		for _, err := range []error{w.engine.Pause(t.Context(), "x"), w.engine.Resume(t.Context(), "x"), resetErr, showErr, rollbackErr} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// A full disk stops every topic at once, also when nothing waits in any of them.
func TestServerThatStoresNothingIsNotReady(t *testing.T) {
	t.Parallel()
	w := twoPipelines(t)
	w.state("a", status.StateRunning)
	w.state("b", status.StateRunning)
	if st := w.engine.Status(t.Context()); !st.Ready {
		t.Fatalf("not ready before: %q", st.Problems)
	}
	w.mu.Lock()
	w.broken = errors.New("the disk is full")
	w.mu.Unlock()
	if st := w.engine.Status(t.Context()); st.Ready || len(st.Problems) != 1 || st.Problems[0] != "the disk is full" {
		t.Errorf("ready %t, problems %q", st.Ready, st.Problems)
	}
}

func TestStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := twoPipelines(t)
		synctest.Wait()
		time.Sleep(time.Hour) // idle is not stalled
		w.change(func() { w.stuck["a"] = true })
		w.send("in", "1")
		time.Sleep(stalledAfter - time.Second)
		synctest.Wait()
		if p, _ := w.engine.Pipeline("a"); p.State != status.StateRunning {
			t.Errorf("is %s after %s", p.State, stalledAfter-time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		p, _ := w.engine.Pipeline("a")
		if p.State != status.StateStalled || p.Lag != 1 {
			t.Errorf("is %s with lag %d after %s", p.State, p.Lag, stalledAfter)
		}
		if p, _ := w.engine.Pipeline("b"); p.State != status.StateRunning {
			t.Errorf("its neighbour is %s", p.State)
		}
		if s := w.engine.Status(t.Context()); s.Ready || len(s.Problems) != 1 {
			t.Errorf("ready %v, problems %q", s.Ready, s.Problems)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := w.logged.with("pipeline=a state=stalled"); len(got) != 1 || !strings.Contains(got[0], "1 events waiting") {
			t.Errorf("the log says %q", got)
		}
		w.change(func() { w.stuck["a"] = false })
		w.send("in", "2")
		synctest.Wait()
		if p, _ := w.engine.Pipeline("a"); p.State != status.StateRunning || p.Lag != 0 {
			t.Errorf("is %s with lag %d", p.State, p.Lag)
		}
		time.Sleep(stallLook)
		synctest.Wait()
		if got := w.logged.with("pipeline=a state=running"); len(got) != 2 {
			t.Errorf("the log says %q", got)
		}
		_ = w.engine.Close(t.Context())
	})
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// with returns the lines that contain s.
func (l *lines) with(s string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, s) {
			found = append(found, line)
		}
	}
	return found
}

func (w *world) Lost(string, string) uint64 { return 0 }

// Behind counts all that is not acknowledged as given.
func (w *world) BehindAll(ctx context.Context, readers []broker.Reader) []broker.Backlog {
	out := make([]broker.Backlog, len(readers))
	for i, r := range readers {
		out[i].Waiting, out[i].Unacked, _ = w.Behind(ctx, r.Pipeline, r.Topic)
	}
	return out
}

func (w *world) Behind(_ context.Context, name, topic string) (waiting, unacked uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return 0, uint64(len(w.topics[topic])) - w.acked[name], nil
}
