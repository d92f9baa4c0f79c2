package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestApply(t *testing.T) {
	t.Parallel()
	apply := func(t *testing.T, w *world, toml string) []plan.Change {
		t.Helper()
		changes, err := w.engine.Apply(t.Context(), w.plan(toml))
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	// edit replaces one thing in the configuration of two pipelines.
	edit := func(t *testing.T, old, with string) string {
		t.Helper()
		if strings.Count(two, old) != 1 {
			t.Fatalf("%q is not there once", old)
		}
		return strings.Replace(two, old, with, 1)
	}
	runs := func(w *world, name string) int {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := 0
		for _, s := range w.states[name] {
			if s == status.StateRunning {
				n++
			}
		}
		return n
	}
	// again waits for a to have started anew, and sees that b has not.
	again := func(t *testing.T, w *world) {
		t.Helper()
		w.until("a to run for the second time", func() bool {
			n := 0
			for _, s := range w.states["a"] {
				if s == status.StateRunning {
					n++
				}
			}
			return n == 2
		})
		if n := runs(w, "b"); n != 1 {
			t.Errorf("b ran %d times", n)
		}
	}
	running := func(w *world) {
		w.state("a", status.StateRunning)
		w.state("b", status.StateRunning)
	}

	t.Run("the same plan changes nothing", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		if changes := apply(t, w, two); len(changes) > 0 {
			t.Errorf("got %v", changes)
		}
	})
	t.Run("a changed pipeline starts anew, its neighbour runs on", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		w.send("in", "1")
		w.wait("a", "1-l1")
		apply(t, w, edit(t, `subject = "a.x"`, `subject = "a.y"`))
		w.send("in", "2")
		w.wait("a", "1-l1", "2-l1")
		w.wait("b", "1-r1", "2-r1")
		if got := look(w, func() string { return w.topics["a"][1].subject }); got != "a.y" {
			t.Errorf("published to %q", got)
		}
		again(t, w)
		if p, _ := w.engine.Pipeline("a"); p.In != 2 {
			t.Errorf("its counters began anew: %+v", p)
		}
	})
	t.Run("pipelines, plugins and topics are added", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		w.module("third", "t1")
		apply(t, w, two+`
[topics.c]
subjects = ["c.>"]
[plugins.third]
path = "third.wasm"
[pipelines.c]
from = "in"
stages = ["left", "third"]
to = "c"
subject = "c.x"
`)
		w.send("in", "1")
		w.wait("c", "1-l1-t1")
		w.wait("a", "1-l1")
		if runs(w, "a") != 1 {
			t.Error("a started anew")
		}
	})
	t.Run("a removed pipeline is drained, its topic stays, its plugin is closed", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		w.send("in", "1")
		w.wait("b", "1-r1")
		changes := apply(t, w, two[:strings.Index(two, "[plugins.right]")]+two[strings.Index(two, "[pipelines.a]"):strings.Index(two, "[pipelines.b]")])
		w.state("b", status.StateStopped)
		w.until("the plugin to be closed", func() bool { return w.live["r1"] == 0 && w.live["r1 instance"] == 0 })
		if _, err := w.engine.Pipeline("b"); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is still there: %v", err)
		}
		var got []string
		for _, c := range changes {
			got = append(got, c.Op+" "+c.What+" "+c.Name)
		}
		if want := []string{"remove pipeline b", "remove plugin right"}; !slices.Equal(sorted(got), want) {
			t.Errorf("got %q", got)
		}
		w.send("in", "2")
		w.wait("a", "1-l1", "2-l1")
		w.wait("b", "1-r1")
	})
	t.Run("other limits in flight change in place", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		p, _ := w.engine.plugin("left")
		apply(t, w, edit(t, `path = "left.wasm"`, "path = \"left.wasm\"\nlimits = { max_in_flight = 777 }"))
		if got := p.budget.Share("a").Free().Events; got != 777 {
			t.Errorf("limit is %d", got)
		}
		if got := len(w.engine.Plugins(t.Context())[0].History); got != 1 || runs(w, "a") != 1 {
			t.Errorf("%d generations, states %q", got, look(w, func() []string { return w.states["a"] }))
		}
	})
	t.Run("other configuration is a new generation, the pipeline runs on", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		apply(t, w, edit(t, `path = "left.wasm"`, "path = \"left.wasm\"\nconfig = { x = 1 }"))
		h := w.engine.Plugins(t.Context())[0].History
		if len(h) != 2 || h[0].Origin != originConfig || h[0].State != stateActive || runs(w, "a") != 1 {
			t.Errorf("history %+v, %d runs", h, runs(w, "a"))
		}
		if g, err := w.engine.Rollback(t.Context(), "left"); err != nil || g.Number != 3 {
			t.Errorf("rollback of a configuration: %+v, %v", g, err)
		}
	})
	t.Run("a plugin that does not load changes nothing", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		w.module("left", "l2 noload")
		w.module("right", "r2")
		toml := strings.NewReplacer(`subject = "b.x"`, `subject = "b.y"`,
			`path = "left.wasm"`, "path = \"left.wasm\"\nconfig = { x = 1 }",
			`path = "right.wasm"`, "path = \"right.wasm\"\nconfig = { x = 1 }").Replace(two)
		if _, err := w.engine.Apply(t.Context(), w.plan(toml)); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("got %v", err)
		}
		w.send("in", "1")
		w.wait("a", "1-l1")
		w.wait("b", "1-r1")
		if runs(w, "b") != 1 || look(w, func() string { return w.topics["b"][0].subject }) != "b.x" {
			t.Error("b was changed")
		}
		if w.alive("r2") != 0 {
			t.Error("the other plugin stays loaded")
		}
		// The way is free once the file is good.
		w.module("left", "l3")
		apply(t, w, toml)
		w.send("in", "2")
		w.wait("a", "1-l1", "2-l3")
		w.wait("b", "1-r1", "2-r2")
	})
	t.Run("a plugin that one pipeline refuses takes the others back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.module("left", "l1")
		w.module("right", "r1")
		both := strings.ReplaceAll(two, `stages = ["left"]`, `stages = ["left", "right"]`)
		w.open(both)
		running(w)
		w.module("left", "l2")
		w.module("right", "r2 noopen:b")
		toml := strings.NewReplacer(`path = "left.wasm"`, "path = \"left.wasm\"\nconfig = { x = 1 }",
			`path = "right.wasm"`, "path = \"right.wasm\"\nconfig = { x = 1 }").Replace(both)
		if _, err := w.engine.Apply(t.Context(), w.plan(toml)); err == nil {
			t.Error("no error")
		}
		w.send("in", "1")
		w.wait("a", "1-l1-r1")
		w.wait("b", "1-r1")
		w.until("the new versions to be closed", func() bool {
			return w.live["l2"]+w.live["r2"]+w.live["l2 instance"]+w.live["r2 instance"] == 0
		})
	})
	t.Run("a topic that cannot be changed changes nothing", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		w.ensure = func(c broker.TopicConfig) error {
			if c.Name == "in" && c.MaxMessages > 0 {
				return errors.New("in is impossible")
			}
			return nil
		}
		toml := strings.NewReplacer(`subjects = ["a.>"]`, "subjects = [\"a.>\"]\nmax_messages = 9",
			`subjects = ["in.>"]`, "subjects = [\"in.>\"]\nmax_messages = 9").Replace(two)
		if _, err := w.engine.Apply(t.Context(), w.plan(toml)); err == nil || !strings.Contains(err.Error(), "in is impossible") {
			t.Errorf("got %v", err)
		}
		if got := look(w, func() int64 { return w.ensured["a"].MaxMessages }); got != 0 {
			t.Errorf("topic a keeps %d messages", got)
		}
	})
	t.Run("other subjects of an output topic reach its pipeline", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		apply(t, w, edit(t, `subjects = ["a.>"]`, `subjects = ["a.x", "a.z"]`))
		w.send("in", "1")
		w.wait("a", "1-l1")
		again(t, w)
	})
	t.Run("the server and the admin endpoint wait for a restart, the rest is applied", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		running(w)
		toml := "[admin]\nlisten = \"127.0.0.1:7999\"\n" + edit(t, `subject = "a.x"`, `subject = "a.y"`)
		for range 2 { // and they stay reported
			changes := apply(t, w, toml)
			if !slices.ContainsFunc(changes, func(c plan.Change) bool { return c.What == "admin" && c.Restart }) {
				t.Errorf("got %+v", changes)
			}
		}
		again(t, w)
	})
	t.Run("changes come one after the other", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		done := make(chan error)
		other := w.plan(edit(t, `subject = "a.x"`, `subject = "a.y"`))
		same := w.plan(two)
		const rounds = 10
		for i := range rounds {
			go func() {
				next := other
				if i%2 == 0 {
					next = same
				}
				_, err := w.engine.Apply(t.Context(), next)
				done <- err
			}()
			go func() {
				_, err := w.engine.Reset(t.Context(), "b", "new")
				done <- err
			}()
		}
		for range 2 * rounds {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		running(w)
	})
}

func TestNamedOutputsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.plan(`
[topics.in]
subjects = ["in.>"]
[topics.a]
subjects = ["a.>"]
[plugins.left]
builtin = "left"
[pipelines.a]
from = "in"
stages = ["left", "left"]
[pipelines.a.outputs]
other = { topic = "a", subject = "a.x" }
`)
	spec := p.Pipeline("a")
	if got := sinkTopics(spec); !slices.Equal(got, []string{"dead-letters", "a", "dead-letters"}) {
		t.Errorf("topics of the sink: %q", got)
	}
	if got := instanceSpec(spec, 0, 0).Outputs; !slices.Equal(got, []string{"default"}) {
		t.Errorf("outputs of the first stage: %q", got)
	}
	if got := instanceSpec(spec, 1, 0).Outputs; !slices.Equal(got, []string{"default", "other"}) {
		t.Errorf("outputs of the last stage: %q", got)
	}
	if got := stageNames(spec.Stages); !slices.Equal(got, []string{"left", "left-2"}) {
		t.Errorf("stages: %q", got)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	// five poisoned events fail in a, three of them in b as well.
	dead := func(t *testing.T) *world {
		t.Helper()
		w := newWorld(t)
		w.module("left", "l1 fault:1 fault:2 fault:3 fault:4 fault:5")
		w.module("right", "r1 fault:2 fault:3 fault:4")
		toml := strings.ReplaceAll(two, `subject = "`, "retry = { attempts = 1 }\nsubject = \"")
		w.open(toml)
		for i := range 7 {
			w.send("in", fmt.Sprint(i))
		}
		w.until("eight dead letters", func() bool { return len(w.got("dead-letters")) == 8 })
		return w
	}
	payloads := func(list []status.DeadLetter) string {
		var out []string
		for _, l := range list {
			out = append(out, l.Payload)
		}
		return strings.Join(out, " ")
	}

	t.Run("a list is newest first, filtered and paged", func(t *testing.T) {
		t.Parallel()
		d := dead(t).engine.DeadLetters()
		list, err := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "a"})
		if err != nil || payloads(list) != "5 4 3 2 1" {
			t.Errorf("got %s, %v", payloads(list), err)
		}
		page, err := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "a", Limit: 2, Before: list[1].ID})
		if err != nil || payloads(page) != "3 2" {
			t.Errorf("page is %s, %v", payloads(page), err)
		}
		if list, _ := d.List(t.Context(), status.DeadLetterFilter{Stage: "right"}); payloads(list) != "4 3 2" {
			t.Errorf("by stage: %s", payloads(list))
		}
		if list, _ := d.List(t.Context(), status.DeadLetterFilter{Plugin: "right", Fault: "trap"}); payloads(list) != "4 3 2" {
			t.Errorf("by plugin and fault: %s", payloads(list))
		}
		if list, _ := d.List(t.Context(), status.DeadLetterFilter{Fault: "deadline"}); len(list) > 0 {
			t.Errorf("by another fault: %s", payloads(list))
		}
	})
	t.Run("a record says all about the event and its end", func(t *testing.T) {
		t.Parallel()
		d := dead(t).engine.DeadLetters()
		list, err := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "b", Limit: 1})
		if err != nil || len(list) != 1 {
			t.Fatalf("got %v, %v", list, err)
		}
		l, err := d.Show(t.Context(), list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if l.Pipeline != "b" || l.Stage != "right" || l.Plugin != "right" || l.Fault != "trap" || l.Cause != "r1 traps on 4" || l.Detail != "stack" ||
			l.SourceTopic != "in" || l.SourceSeq != 5 || l.SourceSubject != "in.x" || l.Attempts != 1 || l.Digest == "" || len(l.Headers) > 0 {
			t.Errorf("got %+v", l)
		}
		if _, err := d.Show(t.Context(), 99); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("redriven events pass their pipelines again", func(t *testing.T) {
		t.Parallel()
		w := dead(t)
		w.state("a", status.StateRunning)
		w.module("left", "l2 fault:5")
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		n, err := w.engine.DeadLetters().Redrive(t.Context(), nil, status.DeadLetterFilter{Pipeline: "a"})
		if err != nil || n != 5 {
			t.Errorf("%d, %v", n, err)
		}
		w.wait("a", "0-l1", "6-l1", "1-l2", "2-l2", "3-l2", "4-l2")
		w.until("number five to be dead again, and b's as well", func() bool {
			got := w.got("dead-letters")
			return len(got) == 3+4 && slices.Contains(got, "5")
		})
		in := look(w, func() record { return w.topics["in"][7] })
		if in.subject != "in.x" || !strings.Contains(string(in.headers), headerRedrive) {
			t.Errorf("redriven as %+v", in)
		}
	})
	t.Run("by id", func(t *testing.T) {
		t.Parallel()
		w := dead(t)
		d := w.engine.DeadLetters()
		list, _ := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "a"})
		if n, err := d.Purge(t.Context(), []uint64{list[0].ID, list[4].ID}, status.DeadLetterFilter{}); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if list, _ := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "a"}); payloads(list) != "4 3 2" {
			t.Errorf("left: %s", payloads(list))
		}
		if n, err := d.Redrive(t.Context(), []uint64{list[0].ID}, status.DeadLetterFilter{}); n != 0 || !errors.Is(err, ErrNotFound) {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("one is redriven as it was mended, and once by two at a time", func(t *testing.T) {
		t.Parallel()
		w := dead(t)
		w.state("a", status.StateRunning)
		d := w.engine.DeadLetters()
		list, _ := d.List(t.Context(), status.DeadLetterFilter{Pipeline: "a", Limit: 1})
		mended, bad := "mended", map[string][]string{"A": {"line\nbreak"}}
		if _, err := d.RedriveEdited(t.Context(), list[0].ID, status.Edit{Headers: bad}); err == nil {
			t.Error("a header with a line break is taken")
		}
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := d.RedriveEdited(t.Context(), list[0].ID, status.Edit{Payload: &mended, Headers: map[string][]string{"A": {"b"}}})
				results <- err
			}()
		}
		if one, two := <-results, <-results; (one == nil) == (two == nil) || !errors.Is(errors.Join(one, two), ErrNotFound) {
			t.Errorf("two at a time: %v, %v", one, two)
		}
		in := look(w, func() record { return w.topics["in"][7] })
		if in.subject != "in.x" || in.payload != "mended" || in.count != 2 || look(w, func() int { return len(w.topics["in"]) }) != 8 {
			t.Errorf("redriven as %+v", in)
		}
	})
	t.Run("purge takes what the filter chooses", func(t *testing.T) {
		t.Parallel()
		w := dead(t)
		d := w.engine.DeadLetters()
		if n, err := d.Purge(t.Context(), nil, status.DeadLetterFilter{Pipeline: "a", Limit: 2}); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := d.Purge(t.Context(), nil, status.DeadLetterFilter{}); n != 6 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		w.wait("dead-letters")
	})
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
