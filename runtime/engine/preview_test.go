package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/runtime/status"
)

// said is a preview as lines: what is done, how, and the fields.
func said(p Preview) []string {
	var out []string
	for _, c := range p.Changes {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Op, c.What, c.Name)) + ": " + c.Effect
		for _, f := range c.Fields {
			line += fmt.Sprintf(" %s %.5s>%.5s", f.Key, f.Before, f.After)
		}
		out = append(out, line)
	}
	return out
}

func TestPreview(t *testing.T) {
	t.Parallel()
	preview := func(t *testing.T, w *world, toml string) Preview {
		t.Helper()
		p, err := w.engine.Preview(t.Context(), w.plan(toml))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := []struct {
		name, toml string
		before     func(w *world)
		want       []string
	}{
		{name: "nothing", toml: two},
		{name: "comments and order mean nothing", toml: "# x\n" + two},
		{name: "the process", toml: two + "[server]\nlisten = ''\n[admin]\nlisten = '127.0.0.1:1'\n", want: []string{
			`change server: process-restart listen "127.>""`, `change admin: process-restart listen "127.>"127.`,
		}},
		{name: "tracing", toml: two + "[tracing]\nendpoint = 'http://127.0.0.1:1'\n", want: []string{
			`change tracing: process-restart endpoint >"http sample_ratio >0.01 service_name >"wasm timeout >"10s"`,
		}},
		{name: "a module", toml: two, before: func(w *world) { w.module("left", "l2") }, want: []string{
			fmt.Sprintf("change plugin left: generation module %.5s>%.5s", digestOf([]byte("l1")), digestOf([]byte("l2"))),
		}},
		{
			name: "limits in place, and with a module by a generation", toml: two + "[plugins.left.limits]\nmax_in_flight = 600\n[plugins.right.limits]\nmax_in_flight = 600\n",
			before: func(w *world) { w.module("right", "r2") }, want: []string{
				"change plugin left: in-place limits.max_in_flight 4096>600",
				fmt.Sprintf("change plugin right: generation limits.max_in_flight 4096>600 module %.5s>%.5s", digestOf([]byte("r1")), digestOf([]byte("r2"))),
			},
		},
		{name: "other subjects of an output topic start its pipelines again", toml: strings.Replace(two, `["a.>"]`, `["a.>", "z.>"]`, 1), want: []string{
			`change topic a: in-place subjects ["a.>>["a.>`, "change pipeline a: pipeline-restart",
		}},
		{name: "things that are new, and gone", toml: strings.NewReplacer("plugins.right", "plugins.other", `"right.wasm"`, `"left.wasm"`, `"right"`, `"other"`, "pipelines.b", "pipelines.c", "topics.b", "topics.c", `"b.>"`, `"c.>"`, `to = "b"`, `to = "c"`, `"b.x"`, `"c.x"`).Replace(two), want: []string{
			"remove topic b: in-place", `add topic c: in-place subjects >["c.>`,
			`add plugin other: generation path >"left`, "remove plugin right: in-place",
			"remove pipeline b: in-place", `add pipeline c: in-place from >"in" stages >["oth to >"c" subject >"c.x"`,
		}},
		{
			name: "what is not shown of a value", toml: two + "[plugins.left.config]\napi_key = 'b'\n",
			before: func(w *world) {
				if _, err := w.engine.Apply(w.t.Context(), w.plan(two+"[plugins.left.config]\napi_key = 'a'\n")); err != nil {
					w.t.Fatal(err)
				}
			}, want: []string{`change plugin left: generation config.api_key "[sec>"[sec`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := twoPipelines(t)
			if tt.before != nil {
				tt.before(w)
			}
			state := func() string {
				maps.DeleteFunc(w.live, func(_ string, n int) bool { return n == 0 })
				return fmt.Sprint(w.live, w.states, w.reloads, w.ensured, len(w.records))
			}
			before := look(w, state)
			p := preview(t, w, tt.toml)
			if got := said(p); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if warning, err := w.engine.CheckPreview(t.Context(), w.plan(tt.toml), p); err != nil || warning != nil {
				t.Error(warning, err)
			}
			if after := look(w, state); after != before {
				t.Errorf("it has left a trace:\n%s\n%s", before, after)
			}

			// What is planned is what is done, and then nothing is left but what waits.
			done, err := w.engine.ApplyIf(t.Context(), w.plan(tt.toml), func(now Preview) error { return w.engine.Agree(now, p.Hash) })
			if err != nil || !slices.Equal(said(done), tt.want) {
				t.Errorf("applied %q, %v", said(done), err)
			}
			for _, c := range preview(t, w, tt.toml).Changes {
				if c.Effect != status.EffectProcess {
					t.Errorf("there is more to do after it: %+v", c)
				}
			}
		})
	}
	t.Run("what does not load is found, and refused whole", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.module("left", "l2")
		w.module("right", "r2 noload")
		p := preview(t, w, two)
		if _, err := w.engine.CheckPreview(t.Context(), w.plan(two), p); err == nil || !strings.Contains(err.Error(), "right") || strings.Contains(err.Error(), "left") {
			t.Errorf("got %v", err)
		}
		if _, err := w.engine.ApplyIf(t.Context(), w.plan(two), nil); err == nil {
			t.Error("it was applied")
		}
		w.send("in", "1")
		w.wait("a", "1-l1")
		w.wait("b", "1-r1")
	})
	t.Run("what was rolled back is told, and not taken before it changes", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.module("left", "l2")
		if err := w.engine.ReloadPlugin(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Rollback(t.Context(), "left"); err != nil {
			t.Fatal(err)
		}
		if p := preview(t, w, two); len(p.Changes) > 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], `plugin "left" runs generation 3 since a rollback`) {
			t.Errorf("got %q and %q", said(p), p.Warnings)
		}
		w.module("left", "l3")
		if p := preview(t, w, two); len(p.Changes) != 1 {
			t.Errorf("got %q", said(p))
		}
		if _, err := w.engine.ApplyIf(t.Context(), w.plan(two), nil); err != nil {
			t.Fatal(err)
		}
		if p := preview(t, w, two); len(p.Changes)+len(p.Warnings) > 0 {
			t.Errorf("got %q and %q", said(p), p.Warnings)
		}
	})
}

func TestApplyIf(t *testing.T) {
	t.Parallel()
	changed := strings.Replace(two, `subject = "a.x"`, `subject = "a.y"`, 1)
	t.Run("of many with the same plan one succeeds, the others are told what has moved", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		p, err := w.engine.Preview(t.Context(), w.plan(changed))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			next := w.plan(changed)
			wg.Go(func() {
				_, errs[i] = w.engine.ApplyIf(context.Background(), next, func(now Preview) error { return w.engine.Agree(now, p.Hash) })
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			var moved *MovedError
			switch {
			case err == nil:
				won++
			case !errors.As(err, &moved), !slices.Equal(moved.Moved, []string{"what runs has changed (pipeline a)", "what the files say runs already"}):
				t.Errorf("got %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d succeeded", won)
		}
	})
	t.Run("either side may have moved", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		p, err := w.engine.Preview(t.Context(), w.plan(changed))
		if err != nil {
			t.Fatal(err)
		}
		refuse := func(toml string, want ...string) {
			t.Helper()
			var moved *MovedError
			_, err := w.engine.ApplyIf(t.Context(), w.plan(toml), func(now Preview) error { return w.engine.Agree(now, p.Hash) })
			if !errors.As(err, &moved) || !slices.Equal(moved.Moved, want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		refuse(two, "what the files say has changed (pipeline a)", "what the files say runs already")
		w.module("right", "r2")
		refuse(changed, "what the files say has changed (module of plugin right)")
		if err := w.engine.ReloadPlugin(t.Context(), "right"); err != nil {
			t.Fatal(err)
		}
		refuse(changed, "what runs has changed (generation of plugin right)", "what the files say has changed (module of plugin right)")
		w.module("right", "r1")
		refuse(changed, "what runs has changed (generation of plugin right)")
		w.send("in", "1")
		w.wait("a", "1-l1")
		if got := look(w, func() string { return w.topics["a"][0].subject }); got != "a.x" {
			t.Errorf("something was applied: %s", got)
		}
	})
	t.Run("a plan that this process has not made says which side", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		p, err := w.engine.Preview(t.Context(), w.plan(changed))
		if err != nil {
			t.Fatal(err)
		}
		var moved *MovedError
		if err := w.engine.Agree(p, strings.Repeat("0", partsSize)+p.Hash[partsSize:]); !errors.As(err, &moved) || !slices.Equal(moved.Moved, []string{"what runs has changed"}) {
			t.Errorf("got %v", err)
		}
		for _, bad := range []string{"", "-", "1234", p.Hash + "0"} {
			if err := w.engine.Agree(p, bad); !errors.Is(err, ErrBadHash) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
	t.Run("a module that changes at the last moment is not taken", func(t *testing.T) {
		t.Parallel()
		w := twoPipelines(t)
		w.module("left", "l2")
		_, err := w.engine.ApplyIf(t.Context(), w.plan(changed), func(Preview) error {
			return os.WriteFile(filepath.Join(w.dir, "left.wasm"), []byte("l3"), 0o600)
		})
		var moved *MovedError
		if !errors.As(err, &moved) || !slices.Equal(moved.Moved, []string{"the module of plugin left has changed"}) {
			t.Errorf("got %v", err)
		}
		w.send("in", "1")
		w.wait("a", "1-l1")
	})
}
