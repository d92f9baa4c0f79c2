package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// two is two pipelines on one topic, each with a plugin of its own.
const two = `
[topics.in]
subjects = ["in.>"]
[topics.a]
subjects = ["a.>"]
[topics.b]
subjects = ["b.>"]
[plugins.left]
path = "left.wasm"
[plugins.right]
path = "right.wasm"
[pipelines.a]
from = "in"
stages = ["left"]
to = "a"
subject = "a.x"
[pipelines.b]
from = "in"
stages = ["right"]
to = "b"
subject = "b.x"
`

func twoPipelines(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.module("left", "l1")
	w.module("right", "r1")
	w.open(two)
	w.state("a", status.StateRunning)
	w.state("b", status.StateRunning)
	return w
}

func TestOpen(t *testing.T) {
	t.Parallel()
	t.Run("events flow through every pipeline", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.send("in", "1", "2")
		w.wait("a", "1-l1", "2-l1")
		w.wait("b", "1-r1", "2-r1")
	})
	t.Run("topics are made first, the dead letters among them", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		for _, name := range []string{"in", "a", "b", "dead-letters"} {
			if look(w, func() string { return w.ensured[name].Name }) != name {
				t.Errorf("topic %q was not made", name)
			}
		}
	})
	t.Run("everything that does not load is reported and nothing stays", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.module("left", "l1 noload")
		w.module("right", "r1")
		p := w.plan(two)
		if err := os.Remove(filepath.Join(w.dir, "right.wasm")); err != nil {
			t.Fatal(err)
		}
		w.ensure = func(c broker.TopicConfig) error {
			if c.Name == "b" {
				return errors.New("topic b is impossible")
			}
			return nil
		}
		err := w.engine.Open(t.Context(), p)
		for _, part := range []string{"topic b is impossible", `plugin "left"`, "is not a WebAssembly module", `plugin "right"`, "no such file"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q is missing in: %v", part, err)
			}
		}
	})
	t.Run("a plugin that refuses its configuration keeps everything from starting", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.module("left", "l1")
		w.module("right", "r1 noopen")
		err := w.engine.Open(t.Context(), w.plan(two))
		if err == nil || !strings.Contains(err.Error(), "wasmill_open returned -22") {
			t.Errorf("got %v", err)
		}
		if n := look(w, func() int { return len(w.states) }); n > 0 {
			t.Errorf("%d pipelines were started", n)
		}
	})
	t.Run("a built-in that does not exist is named beside those that do", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.engine.deps.Builtins = map[string]func() ([]byte, error){"pass": nil, "threshold": nil}
		w.module("right", "r1")
		err := w.engine.Open(t.Context(), w.plan(strings.Replace(two, `path = "left.wasm"`, `builtin = "nope"`, 1)))
		if err == nil || !strings.Contains(err.Error(), `"nope"; there are: pass, threshold`) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFailureStaysWithItsPipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.module("left", "l1")
	w.module("right", "r1 fault:poison")
	w.open(strings.Replace(two, `subject = "b.x"`, "subject = \"b.x\"\non_failure = \"halt\"\nretry = { attempts = 1 }", 1))
	w.send("in", "1")
	w.wait("b", "1-r1")
	w.until("the first event to be acknowledged", func() bool { return w.acked["b"] == 1 })
	w.send("in", "poison", "2")
	w.wait("a", "1-l1", "poison-l1", "2-l1")
	w.state("a", status.StateRunning) // its events flow a moment before it says so
	w.state("b", status.StateHalted)
	s := w.engine.Status(t.Context())
	if s.Ready || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], `pipeline "b" is halted`) {
		t.Errorf("ready %v, problems %q", s.Ready, s.Problems)
	}

	// A new version of its plugin starts it again.
	w.module("right", "r2")
	if err := w.engine.ReloadPlugin(t.Context(), "right"); err != nil {
		t.Fatal(err)
	}
	w.wait("b", "1-r1", "poison-r2", "2-r2")
	w.state("b", status.StateRunning)
	if s := w.engine.Status(t.Context()); !s.Ready {
		t.Errorf("problems %q", s.Problems)
	}
}

// history lists a plugin's generations, newest first.
func history(w *world, name string) string {
	var lines []string
	for _, p := range w.engine.Plugins(context.Background()) {
		if p.Name != name {
			continue
		}
		for _, g := range p.History {
			lines = append(lines, fmt.Sprintf("%d %s %s", g.Number, g.Origin, g.State))
		}
	}
	return strings.Join(lines, ", ")
}

func TestReloadPlugin(t *testing.T) {
	t.Parallel()
	reloads := func(w *world) string {
		return look(w, func() string { return strings.Join(w.reloads, ", ") })
	}
	reload := func(t *testing.T, w *world, words string) error {
		t.Helper()
		w.module("left", words)
		return w.engine.ReloadPlugin(t.Context(), "left")
	}

	t.Run("the next event runs on the new version", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.send("in", "1")
		w.wait("a", "1-l1")
		if err := reload(t, w, "l2"); err != nil {
			t.Fatal(err)
		}
		w.send("in", "2")
		w.wait("a", "1-l1", "2-l2")
		w.wait("b", "1-r1", "2-r1")
		if got := history(w, "left"); got != "2 file active, 1 start retired" {
			t.Errorf("history: %s", got)
		}
	})
	t.Run("the same bytes change nothing", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		if err := reload(t, w, "l1"); err != nil {
			t.Fatal(err)
		}
		if got := history(w, "left"); got != "1 start active" {
			t.Errorf("history: %s", got)
		}
		if got := reloads(w); got != "" {
			t.Errorf("reloads: %s", got)
		}
	})
	t.Run("a version that does not load or open is refused and the old one stays", func(t *testing.T) {
		t.Parallel()
		for _, words := range []string{"bad noload", "bad noopen"} {
			w := twoPipelines(t)
			w.state("a", status.StateRunning)
			if err := reload(t, w, words); err == nil {
				t.Error("no error")
			}
			w.send("in", "1")
			w.wait("a", "1-l1")
			if got := history(w, "left"); got != "2 file refused, 1 start active" {
				t.Errorf("history: %s", got)
			}
			if got := reloads(w); got != "left failed" {
				t.Errorf("reloads: %s", got)
			}
			if w.alive("bad", "bad instance") != 0 {
				t.Error("something of it is left open")
			}
		}
	})
	t.Run("a version that one of two pipelines refuses gets into neither", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.module("left", "l1")
		w.module("right", "r1")
		w.open(strings.Replace(two, `stages = ["right"]`, `stages = ["left", "right"]`, 1))
		w.state("a", status.StateRunning)
		w.state("b", status.StateRunning)
		if err := reload(t, w, "l2 noopen:b"); err == nil {
			t.Error("no error")
		}
		w.send("in", "1")
		w.wait("a", "1-l1")
		w.wait("b", "1-l1-r1")
	})
	t.Run("the old version is closed when the window has passed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := twoPipelines(t)
			synctest.Wait()
			if err := reload(t, w, "l2"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if w.alive("l1") != 1 || w.alive("l1 instance") != 0 {
				t.Error("the way back was closed during the window")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if w.alive("l1") != 0 || w.alive("l2") != 1 {
				t.Error("the old version is open after the window")
			}
			_ = w.engine.Close(t.Context())
		})
	})
	t.Run("a version that fails where the old one works is rolled back by itself", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		if err := reload(t, w, "l2 fault"); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 2 * strikes {
			want = append(want, fmt.Sprintf("%d-l1", i))
			w.send("in", fmt.Sprint(i))
			w.wait("a", want...) // every event on the old one, in order
		}
		w.until("the rollback", func() bool { return len(w.reloads) == 2 && w.reloads[1] == "left rolled_back" })
		if got := history(w, "left"); got != "3 rollback active, 2 file rolled back, 1 start retired" {
			t.Errorf("history: %s", got)
		}
		w.until("the faulty version to be closed", func() bool { return w.live["l2"] == 0 && w.live["l2 instance"] == 0 })
		w.wait("dead-letters")

		// Its file is not taken again before it has changed.
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		if got := history(w, "left"); !strings.HasPrefix(got, "3 rollback active") {
			t.Errorf("history: %s", got)
		}
		if err := reload(t, w, "l3"); err != nil {
			t.Fatal(err)
		}
		w.send("in", "z")
		w.wait("a", append(want, "z-l3")...)
	})
	t.Run("an event that no version can process is dead-lettered and no strike", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.module("left", "l1 fault:poison")
		w.module("right", "r1")
		w.open(strings.Replace(two, `subject = "a.x"`, "subject = \"a.x\"\nretry = { attempts = 1 }", 1))
		w.state("a", status.StateRunning)
		if err := reload(t, w, "l2 fault:poison"); err != nil {
			t.Fatal(err)
		}
		w.send("in", "1", "poison", "2")
		w.wait("a", "1-l2", "2-l2")
		w.wait("dead-letters", "poison")
		if got := history(w, "left"); got != "2 file active, 1 start retired" {
			t.Errorf("history: %s", got)
		}
	})
	t.Run("a batch that the old version rescued is told", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		if err := reload(t, w, "l2 fault:poison"); err != nil {
			t.Fatal(err)
		}
		w.send("in", "1")
		w.wait("a", "1-l2")
		w.send("in", "poison")
		w.wait("a", "1-l2", "poison-l1")
		p := w.engine.Plugins(t.Context())[0]
		if g := p.Generation; !g.OnTrial || g.WayBack != 1 || g.Rescued != 1 || g.LastFault != "l2 traps on poison" || g.LastFaultAt.IsZero() {
			t.Errorf("in use: %+v", g)
		}
		if h := p.History; len(h) != 2 || h[0].Rescued != 1 || h[1].Rescued != 0 || h[1].OnTrial {
			t.Errorf("history: %+v", h)
		}
	})
	t.Run("the way back leads past a version that is not proven", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		var want []string
		for _, v := range []string{"l2 fault:poison", "l3 fault:poison", "", ""} {
			if v != "" {
				if err := reload(t, w, v); err != nil {
					t.Fatal(err)
				}
			}
			w.send("in", "poison")
			want = append(want, "poison-l1")
			w.wait("a", want...)
		}
		w.until("the rollback", func() bool { return len(w.reloads) == 3 && w.reloads[2] == "left rolled_back" })
		if got := history(w, "left"); got != "4 rollback active, 3 file rolled back, 2 file retired, 1 start retired" {
			t.Errorf("history: %s", got)
		}
		h := w.engine.Plugins(t.Context())[0].History
		if h[0].Digest != digestOf([]byte("l1")) || !strings.Contains(h[1].Reason, "failed on 3 batches that generation 1,") {
			t.Errorf("history: %+v", h)
		}
	})
	t.Run("a fix is taken while its predecessor is struck out", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		if err := reload(t, w, "l2 fault"); err != nil {
			t.Fatal(err)
		}
		p, _ := w.engine.plugin("left")
		v := w.engine.onProbation(p, p.mu.module, originFile)
		if v.trial.old.Digest() != digestOf([]byte("l1")) {
			t.Error("the way back is a version that is on trial")
		}
		v.trial.settle()
		for range strikes {
			p.mu.trial.strike(errors.New("x"))
		}
		v = w.engine.onProbation(p, p.mu.module, originFile)
		if v.trial.old.Digest() != digestOf([]byte("l1")) {
			t.Error("the way back leads to the version that struck out")
		}
		v.trial.settle()
	})
	t.Run("a plugin that does not exist", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		if err := w.engine.ReloadPlugin(t.Context(), "nope"); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := twoPipelines(t)
	w.state("a", status.StateRunning)
	var sent []string
	expect := func(tag string) {
		t.Helper()
		n := fmt.Sprint(len(sent))
		sent = append(sent, n+"-"+tag)
		w.send("in", n)
		w.wait("a", sent...)
	}
	if _, err := w.engine.Rollback(t.Context(), "left"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("with one generation: %v", err)
	}
	for _, v := range []string{"l2", "l3"} {
		w.module("left", v)
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		expect(v)
	}
	g, err := w.engine.Rollback(t.Context(), "left")
	if err != nil || g.Number != 4 || g.Digest != digestOf([]byte("l2")) || g.Origin != originRollback {
		t.Errorf("got %+v, %v", g, err)
	}
	expect("l2")
	if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil { // the file is still l3
		t.Fatal(err)
	}
	expect("l2")
	if _, err := w.engine.Rollback(t.Context(), "left"); err != nil {
		t.Fatal(err)
	}
	expect("l1")
	if _, err := w.engine.Rollback(t.Context(), "left"); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("at the first generation: %v", err)
	}
	expect("l1")
}

// A version that failed where the one before it did not is no place to go back
// to; one that did so and lasted its trial is.
func TestRollbackPassesVersionsThatFaultedOnTrial(t *testing.T) {
	t.Parallel()
	for _, proven := range []bool{false, true} {
		p := newPlugin(plan.Plugin{Name: "p"})
		for n, tag := range []string{"1", "2", "3"} {
			m := newLoaded(&script{tag: tag}, plan.Plugin{Name: "p"}, 0, func(error) {})
			var tr *trial
			if n > 0 {
				tr = newTrial(p.mu.module, n, time.Minute)
			}
			if tag == "2" {
				tr.strike(errors.New("x"))
				if proven {
					tr.record.prove()
				}
			}
			p.install(m, tr, originFile, "")
		}
		g, ok := p.previous(func(*generation) bool { return true })
		if want := map[bool]int{false: 1, true: 2}[proven]; !ok || g.Number != want {
			t.Errorf("proven %v: back to generation %d (%v), want %d", proven, g.Number, ok, want)
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	t.Run("what is in flight is finished", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.send("in", "1", "2")
		w.wait("a", "1-l1", "2-l1")
		if err := w.engine.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if seq := look(w, func() uint64 { return w.acked["a"] }); seq != 2 {
			t.Errorf("acknowledged up to %d", seq)
		}
		if err := w.engine.ReloadPlugin(t.Context(), "left"); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed engine reloads: %v", err)
		}
	})
	t.Run("a pipeline that cannot drain does not hold it for ever", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.stuck["a"] = true
			w.module("left", "l1")
			w.module("right", "r1")
			w.open(two)
			w.send("in", "1")
			synctest.Wait()
			began := time.Now()
			if err := w.engine.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > w.engine.deps.DrainTimeout+2*time.Second {
				t.Errorf("took %s", d)
			}
		})
	})
	t.Run("an engine that was never opened closes", func(t *testing.T) {
		t.Parallel()
		newWorld(t)
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.module("left", "l1 noload")
	w.module("right", "r1 noopen:b")
	_, err := check(t.Context(), w, nil, w.plan(two), w.plan(two).Plugins)
	var refused *host.LoadError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "left.wasm") || !strings.Contains(err.Error(), "wasmill_open returned -22") {
		t.Errorf("got %v", err)
	}
	w.module("left", "l1")
	w.module("right", "r1")
	if warning, err := check(t.Context(), w, nil, w.plan(two), w.plan(two).Plugins); err != nil || warning != nil {
		t.Errorf("got %v, %v", warning, err)
	}
}

var _ runner = (*pipeline.Pipeline)(nil)
