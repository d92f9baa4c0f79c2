package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/status"
)

func TestAHistoryOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	w := twoPipelines(t)
	w.state("a", status.StateRunning)
	update := func(words string) {
		t.Helper()
		w.module("left", words)
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
	}
	update("l2")
	update("l3 fault:poison")
	w.send("in", "poison")
	w.wait("a", "poison-l1")

	w.restart(two)
	if got, want := history(w, "left"), "4 start active, 3 file retired, 2 file retired, 1 start retired"; got != want {
		t.Errorf("history: %s, want %s", got, want)
	}
	h := w.engine.Plugins(t.Context())[0].History
	if h[1].Rescued != 1 || h[1].LastFault != "l3 traps on poison" || h[1].WayBack != 1 || h[1].LastFaultAt.IsZero() {
		t.Errorf("of the generation that faulted on trial: %+v", h[1])
	}
	// The same version is no way back, and the modules are there still.
	if g, err := w.engine.Rollback(t.Context(), "left"); err != nil || g.Number != 5 || g.Digest != digestOf([]byte("l2")) {
		t.Errorf("rolled back to %+v, %v", g, err)
	}
	w.send("in", "x")
	w.wait("a", "poison-l1", "x-l2")

	w.restart(two) // takes the file as it is
	if got, want := history(w, "left"), "6 start active, 5 rollback retired, 4 start rolled back"; !strings.HasPrefix(got, want) {
		t.Errorf("history: %s, want %s …", got, want)
	}

	// Another plugin, or another process on the same server, has a history of its own.
	if got := history(w, "right"); got != "3 start active, 2 start retired, 1 start retired" {
		t.Errorf("history of the other: %s", got)
	}
	in := w.plan(two)
	here := w.engine.historyName("left", in)
	w.external = true
	one := w.engine.historyName("left", in)
	in.File = "/elsewhere/" + in.File
	if two := w.engine.historyName("left", in); here == one || one == two || strings.Count(one, ".") != 1 {
		t.Errorf("records are called %q, %q and %q", here, one, two)
	}
	w.external = false
}

// A history that is not to be had keeps nothing from running.
func TestAHistoryThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(w *world){
		"cannot be read": func(w *world) { w.records["left.history"] = []byte("{") },
		"no answer":      func(w *world) { w.records = map[string][]byte{} },
	} {
		w := twoPipelines(t)
		w.state("a", status.StateRunning)
		w.change(func() { spoil(w) })
		w.restart(two)
		if got := history(w, "left"); got != "1 start active" {
			t.Errorf("%s: history: %s", name, got)
		}
	}
}

func TestAPauseOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	w := twoPipelines(t)
	w.state("a", status.StateRunning)
	if err := w.engine.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.state("a", status.StatePaused)
	w.restart(two)
	w.state("b", status.StateRunning)
	w.state("a", status.StatePaused)
	w.send("in", "1")
	w.wait("b", "1-r1")
	w.wait("a")
	if err := w.engine.Resume(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.wait("a", "1-l1")
	w.restart(two)
	w.state("a", status.StateRunning)

	w.change(func() { w.unrecorded = errors.New("the disk is full") })
	if err := w.engine.Pause(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "is paused, but a restart would let it go on: the disk is full") {
		t.Errorf("got %v", err)
	}
	w.state("a", status.StatePaused)
	w.change(func() { w.unrecorded = nil })
}
