package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is a directory with a watcher on its wasmill.toml. What the watcher
// does arrives as lines.
type watched struct {
	*Watcher
	t     *testing.T
	dir   string
	lines chan string

	manual bool

	mu     sync.Mutex
	refuse map[string]error // by "apply" or the plugin's name
}

// ordinary makes the files of most tests.
func (w *watched) ordinary() {
	w.write("p.wasm", module("1"))
	w.write("wasmill.toml", configuration("p.wasm", "1s"))
}

// watching starts a watcher once prepare has made the files.
func watching(t *testing.T, prepare func(w *watched)) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir(), lines: make(chan string, 1000), refuse: map[string]error{}}
	if prepare == nil {
		prepare = (*watched).ordinary
	}
	prepare(w)
	w.Watcher = New(Options{
		Manual: w.manual,
		File:   filepath.Join(w.dir, "wasmill.toml"),
		Apply: func(_ context.Context, p *plan.Plan) ([]plan.Change, error) {
			w.lines <- "apply " + p.Topic("in").MaxAge.String()
			if err := w.refusal("apply"); err != nil {
				return nil, err
			}
			return []plan.Change{{Op: "change", What: "topic", Name: "in"}}, nil
		},
		Plugin: func(_ context.Context, name string) error {
			b, _ := os.ReadFile(filepath.Join(w.dir, name+".wasm"))
			w.lines <- "plugin " + name + " " + contentOf(b)
			return w.refusal(name)
		},
		Log: slog.New(&logLines{w: w}),
		Listener: event.Listener{Reload: func(what, _, _, result string, _ error) {
			w.lines <- what + " " + result
		}},
		timing: timing{
			quiet: 10 * time.Millisecond, patience: 100 * time.Millisecond,
			settle: 500 * time.Millisecond, limit: time.Minute, missing: 20 * time.Millisecond,
		},
	})
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// opened is watching with the first look behind it.
func opened(t *testing.T) *watched {
	t.Helper()
	w := watching(t, nil)
	w.want("apply 1s", "config ok", "plugin p 1")
	return w
}

func (w *watched) refusal(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refuse[what]
}

func (w *watched) setRefusal(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse[what] = err
}

// want reads exactly these lines.
func (w *watched) want(lines ...string) {
	w.t.Helper()
	for i, line := range lines {
		select {
		case got := <-w.lines:
			if got != line {
				w.t.Fatalf("line %d is %q, want %q", i+1, got, line)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("waited in vain for %q", line)
		}
	}
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

// write writes a file in place, as an editor without care does.
func (w *watched) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// replace renames a new file over the old one, as editors and compilers do.
func (w *watched) replace(name, content string) {
	w.t.Helper()
	w.write(name+".new", content)
	w.must(os.Rename(w.path(name+".new"), w.path(name)))
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// module is a WebAssembly module with nothing but a custom section.
func module(content string) string {
	section := "\x01x" + content // name "x"
	return "\x00asm\x01\x00\x00\x00\x00" + string(rune(len(section))) + section
}

func contentOf(b []byte) string {
	if len(b) < 12 {
		return ""
	}
	return string(b[12:])
}

// configuration is a valid one; age tells it from others.
func configuration(path, age string) string {
	return fmt.Sprintf(`
[topics.in]
subjects = ["in.>"]
max_age = %q
[topics.out]
subjects = ["out.>"]
[plugins.p]
path = %q
[pipelines.one]
from = "in"
stages = ["p"]
to = "out"
subject = "out.x"
`, age, path)
}

// logLines turns what the watcher logs of findings into lines.
type logLines struct {
	slog.Handler
	w *watched
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "finding" {
			code := strings.SplitN(a.Value.String(), ": ", 3)
			l.w.lines <- "finding " + code[1]
		}
		return true
	})
	return nil
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	t.Run("other bytes are applied, however they come", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.write("wasmill.toml", configuration("p.wasm", "2s"))
		w.want("apply 2s", "config ok")
		w.replace("wasmill.toml", configuration("p.wasm", "3s"))
		w.want("apply 3s", "config ok")
		w.must(os.Remove(w.path("wasmill.toml")))
		w.write("wasmill.toml", configuration("p.wasm", "4s"))
		w.want("apply 4s", "config ok")
	})
	t.Run("the same bytes are not", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.replace("wasmill.toml", configuration("p.wasm", "1s"))
		w.replace("p.wasm", module("1"))
		w.write("unrelated", "x")
		w.replace("p.wasm", module("2")) // shows that the others have been looked at
		w.want("plugin p 2")
	})
	t.Run("one that is not valid changes nothing and all its findings are logged", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.replace("wasmill.toml", "[topics.in]\nsubjects = 7\nwrong = 1\n")
		w.want("config failed", "finding wrong-type", "finding unknown-key")
		w.replace("wasmill.toml", configuration("p.wasm", "2s"))
		w.want("apply 2s", "config ok")
	})
	t.Run("a half-written one is nobody's concern", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		whole := configuration("p.wasm", "2s")
		w.write("wasmill.toml", whole[:len(whole)/2])
		w.write("wasmill.toml", "")
		w.write("wasmill.toml", whole)
		w.want("apply 2s", "config ok")
	})
	t.Run("what was broken when the process started is reported", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) { w.write("wasmill.toml", "x = ") })
		w.want("config failed", "finding syntax")
	})
	t.Run("a refused one is tried again when its module has changed", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.setRefusal("apply", errors.New("q does not load"))
		w.write("q.wasm", module("bad"))
		w.write("wasmill.toml", configuration("q.wasm", "2s"))
		w.want("apply 2s", "config failed")
		w.setRefusal("apply", nil)
		w.replace("q.wasm", module("good"))
		w.want("apply 2s", "config ok", "plugin p 1")
	})
	t.Run("a module that is not built yet is waited for", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.write("wasmill.toml", configuration("later/q.wasm", "2s"))
		w.want("config failed", "finding file")
		w.must(os.Mkdir(w.path("later"), 0o700))
		w.write("later/q.wasm", module("1"))
		w.want("apply 2s", "config ok")
	})
}

func TestModules(t *testing.T) {
	t.Parallel()
	t.Run("other bytes are reloaded, however they come", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.write("p.wasm", module("2"))
		w.want("plugin p 2")
		w.replace("p.wasm", module("3"))
		w.want("plugin p 3")
	})
	t.Run("a file that vanishes for a moment is waited for", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.must(os.Remove(w.path("p.wasm")))
		w.must(os.WriteFile(w.path("q"), []byte(module("2")), 0o600))
		w.must(os.Rename(w.path("q"), w.path("p.wasm")))
		w.want("plugin p 2")
	})
	t.Run("half a module is waited for", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		whole := module("22222")
		w.write("p.wasm", whole[:10])
		w.write("p.wasm", whole)
		w.want("plugin p 22222")
	})
	t.Run("what never becomes a module is handed on, to be refused", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.setRefusal("p", errors.New("is not a WebAssembly module"))
		w.write("p.wasm", "#!/bin/sh\nexit\n")
		w.want("plugin p it\n")
		w.setRefusal("p", nil)
		w.write("p.wasm", module("2"))
		w.want("plugin p 2")
	})
	t.Run("its directory may be made anew", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) {
			w.must(os.MkdirAll(w.path("build/out"), 0o700))
			w.write("build/out/p.wasm", module("1"))
			w.write("p.wasm", module("x")) // what Plugin reads here
			w.write("wasmill.toml", configuration("build/out/p.wasm", "1s"))
		})
		w.want("apply 1s", "config ok", "plugin p x")
		w.must(os.RemoveAll(w.path("build")))
		w.must(os.MkdirAll(w.path("build/out"), 0o700))
		w.write("build/out/p.wasm", module("2"))
		w.want("plugin p x")
		w.replace("build/out/p.wasm", module("3"))
		w.want("plugin p x")
	})
	t.Run("the plan decides which files count", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.must(os.Mkdir(w.path("other"), 0o700))
		w.write("other/q.wasm", module("7"))
		w.write("wasmill.toml", configuration("other/q.wasm", "2s"))
		w.want("apply 2s", "config ok", "plugin p 1")
		w.replace("p.wasm", module("2")) // no longer of interest
		w.replace("other/q.wasm", module("8"))
		w.want("plugin p 2")
	})
	t.Run("a symbolic link is followed to where the file is", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) {
			w.must(os.Mkdir(w.path("real"), 0o700))
			w.write("real/built.wasm", module("1"))
			w.must(os.Symlink("real/built.wasm", w.path("p.wasm")))
			w.write("wasmill.toml", configuration("p.wasm", "1s"))
		})
		w.want("apply 1s", "config ok", "plugin p 1")
		w.replace("real/built.wasm", module("2"))
		w.want("plugin p 2")
		w.write("real/other.wasm", module("3"))
		w.must(os.Symlink("real/other.wasm", w.path("link")))
		w.must(os.Rename(w.path("link"), w.path("p.wasm")))
		w.want("plugin p 3")
	})
	t.Run("a volume of Kubernetes swaps a link to a directory", func(t *testing.T) {
		t.Parallel()
		version := func(w *watched, n string) {
			w.must(os.Mkdir(w.path("..v"+n), 0o700))
			w.write("..v"+n+"/wasmill.toml", configuration("p.wasm", n+"s"))
			w.write("..v"+n+"/p.wasm", module(n))
		}
		w := watching(t, func(w *watched) {
			version(w, "1")
			w.must(os.Symlink("..v1", w.path("..data")))
			w.must(os.Symlink("..data/wasmill.toml", w.path("wasmill.toml")))
			w.must(os.Symlink("..data/p.wasm", w.path("p.wasm")))
		})
		w.want("apply 1s", "config ok", "plugin p 1")
		for _, n := range []string{"2", "3"} {
			version(w, n)
			w.must(os.Symlink("..v"+n, w.path("..data_tmp")))
			w.must(os.Rename(w.path("..data_tmp"), w.path("..data")))
			w.want("apply "+n+"s", "config ok", "plugin p "+n)
		}
	})
}

func TestOnDemand(t *testing.T) {
	t.Parallel()
	t.Run("a trigger hands everything on again", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.Trigger()
		w.want("apply 1s", "config ok", "plugin p 1")
	})
	t.Run("a reload answers with the changes and with all that was refused", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		changes, err := w.Reload(t.Context())
		if err != nil || len(changes) != 1 || changes[0].Name != "in" {
			t.Errorf("got %v, %v", changes, err)
		}
		broken := errors.New("broken")
		w.setRefusal("p", broken)
		if _, err := w.Reload(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		w.write("wasmill.toml", "x = ")
		if _, err := w.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "syntax") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a closed watcher says so", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		w.Close()
		w.Close()
		if _, err := w.Reload(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		w.Trigger()
	})
	t.Run("one that was never opened closes", func(t *testing.T) {
		t.Parallel()
		New(Options{}).Close()
	})
	t.Run("close ends the change at work", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for name, content := range map[string]string{"p.wasm": module("1"), "wasmill.toml": configuration("p.wasm", "1s")} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		working := make(chan struct{})
		w := New(Options{
			File: filepath.Join(dir, "wasmill.toml"),
			Apply: func(ctx context.Context, _ *plan.Plan) ([]plan.Change, error) {
				close(working)
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		if err := w.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-working
		w.Close()
	})
}

// Nobody looks at the files of a manual watcher unless asked to.
func TestManual(t *testing.T) {
	t.Parallel()
	w := watching(t, func(w *watched) { w.manual = true; w.ordinary() })
	w.write("wasmill.toml", configuration("p.wasm", "2s"))
	w.write("p.wasm", module("2"))
	w.write("wasmill.toml", configuration("q.wasm", "3s"))
	if _, err := w.Reload(t.Context()); err == nil {
		t.Error("a missing module was taken")
	}
	w.want("config failed", "finding file")
	w.write("q.wasm", module("3"))
	if _, err := w.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	w.want("apply 3s", "config ok", "plugin p 2")
}

func TestReloadWith(t *testing.T) {
	t.Parallel()
	apply := func(w *watched, err error) error {
		_, err = w.ReloadWith(t.Context(), func(_ context.Context, p *plan.Plan) ([]plan.Change, error) {
			w.lines <- "instead " + p.Topic("in").MaxAge.String()
			return []plan.Change{{Op: "change", What: "topic", Name: "in"}}, err
		})
		return err
	}
	t.Run("another function applies the file as it is, changed or not", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) { w.manual = true; w.ordinary() })
		if err := apply(w, nil); err != nil {
			t.Error(err)
		}
		w.want("instead 1s", "config ok", "plugin p 1")
		if err := apply(w, nil); err != nil {
			t.Error(err)
		}
		w.want("instead 1s", "config ok", "plugin p 1")
	})
	t.Run("what it refuses is reported and keeps modules back", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) { w.manual = true; w.ordinary() })
		refused := errors.New("no")
		if err := apply(w, refused); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		w.want("instead 1s", "config failed")
	})
	t.Run("what it declines is not, and is tried again as if nothing had been", func(t *testing.T) {
		t.Parallel()
		w := opened(t)
		if err := apply(w, &DeclinedError{errors.New("the world has moved")}); err == nil || err.Error() != "the world has moved" {
			t.Errorf("got %v", err)
		}
		w.want("instead 1s")
		w.replace("wasmill.toml", configuration("p.wasm", "2s"))
		w.want("apply 2s", "config ok", "plugin p 1")
	})
	t.Run("a file that is not valid never gets there", func(t *testing.T) {
		t.Parallel()
		w := watching(t, func(w *watched) { w.manual = true; w.ordinary() })
		w.write("wasmill.toml", "x = ")
		if err := apply(w, nil); err == nil {
			t.Error("it was taken")
		}
		w.want("config failed", "finding syntax")
	})
}

func TestTrail(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, err := range []error{
		os.MkdirAll(at("a", "b"), 0o700),
		os.WriteFile(at("a", "b", "file"), nil, 0o600),
		os.Symlink(at("a"), at("abs")),
		os.Symlink("../abs/b", at("a", "rel")),
		os.Symlink("round", at("round")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]step{
		at("a", "b", "file"):        {{at("a", "b"), "file"}},
		at("abs", "b", "file"):      {{dir, "abs"}, {at("a", "b"), "file"}},
		at("a", "rel", "file"):      {{at("a"), "rel"}, {dir, "abs"}, {at("a", "b"), "file"}},
		at("a", "none", "x", "f"):   {{at("a"), "none"}},
		at("a", "b", "none"):        {{at("a", "b"), "none"}},
		at("a", ".", "b", "file"):   {{at("a", "b"), "file"}},
		at("a", "b", "file", "sub"): {{at("a", "b", "file"), "sub"}},
	} {
		if got := trail(path); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %v\nwant %v", path, got, want)
		}
	}
	if got := trail(at("round")); len(got) != maxLinks+1 {
		t.Errorf("a loop gives %d steps", len(got))
	}
}

func TestWholeModule(t *testing.T) {
	t.Parallel()
	whole := []byte(module("hello") + module("world")[8:])
	if !wholeModule(whole) {
		t.Error("a whole module is not taken for one")
	}
	ends := map[int]bool{len(module("hello")): true, len(whole): true} // between two sections it cannot be told
	for n := range len(whole) + 1 {
		if got := wholeModule(whole[:n]); got != ends[n] {
			t.Errorf("%d of %d bytes: %v", n, len(whole), got)
		}
	}
	for _, bad := range []string{"", "\x00asm\x01\x00\x00\x00", "\x00asm\x0d\x00\x01\x00\x00\x01x", "\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff"} {
		if wholeModule([]byte(bad)) {
			t.Errorf("%q is taken for a module", bad)
		}
	}
}
