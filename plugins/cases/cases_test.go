package cases_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/plugins/cases"
)

// scratch lives as long as the test binary: the guest and its compiled code.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "cases-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(scratch)
	os.Exit(code)
}

// guest builds testdata/guest once.
var guest = sync.OnceValues(func() ([]byte, error) {
	path := filepath.Join(scratch, "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-w", "-buildmode=c-shared", "-o", path, "./testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/guest: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// project is a wasmill.toml with the guest in it, alone and in pipelines.
const project = `
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.more]
subjects = ["more.>"]
[plugins.guest]
path = "guest.wasm"
grants = ["clock", "random", "secret"]
secrets = { key = "env:NOT_SET_ANYWHERE" }
limits = { deadline = "300ms" }
[plugins.guest.config]
greeting = "hello"
[plugins.big]
builtin = "threshold"
config = { pointer = "/mag", min = 5 }
[pipelines.one]
from = "in"
stages = ["guest"]
to = "out"
subject = "out.{subject.2}"
[pipelines.one.outputs]
other = { topic = "more", subject = "more.{key}" }
[pipelines.chain]
from = "in"
stages = ["big", "guest"]
to = "out"
subject = "out.{key}"
key = "json:/net"
partitions = 2
retry = { attempts = 2, backoff = "1h", max_backoff = "2h" }
[pipelines.strict]
from = "in"
stages = ["big"]
to = "out"
subject = "out.{subject.2}"
on_failure = "halt"
`

// dir makes a project with these files.
func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	module, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("guest.wasm", string(module))
	write("wasmill.toml", project)
	for name, content := range files {
		write(name, content)
	}
	return dir
}

// with calls f with a runner.
func with(t *testing.T, o cases.Options, f func(*cases.Runner)) {
	t.Helper()
	o.Host = host.New(host.Options{CacheDir: filepath.Join(scratch, "cache")})
	o.Builtins = builtin.Modules()
	if err := o.Host.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := cases.New(o)
	f(r)
	if err := errors.Join(r.Close(t.Context()), o.Host.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// run runs the cases of a directory and returns their reports by name, with
// slashes and without the directory.
func run(t *testing.T, dir string, o cases.Options) map[string]cases.Report {
	t.Helper()
	out := map[string]cases.Report{}
	with(t, o, func(r *cases.Runner) {
		files, err := cases.Find(dir)
		if err != nil {
			t.Fatal(err)
		}
		reports, err := r.Run(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range reports {
			rel, err := filepath.Rel(dir, one.File)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimSuffix(filepath.ToSlash(rel), ".ndjson")] = one
		}
	})
	return out
}

// play runs one case and returns its report.
func play(t *testing.T, content string) cases.Report {
	t.Helper()
	return run(t, dir(t, map[string]string{"cases/case.ndjson": content}), cases.Options{})["cases/case"]
}

// text is everything that a report says.
func text(r cases.Report) string {
	var b strings.Builder
	if r.Err != nil {
		b.WriteString(r.Err.Error())
	}
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "%d: %s\n%s%s\n", d.Line, d.Step, d.Diff, d.Detail)
	}
	return b.String()
}

func passes(t *testing.T, content string) {
	t.Helper()
	if r := play(t, content); !r.Passed() {
		t.Errorf("it fails:\n%s", text(r))
	}
}

// fails runs a case and wants everything in says in its report.
func fails(t *testing.T, content string, says ...string) cases.Report {
	t.Helper()
	r := play(t, content)
	if r.Passed() {
		t.Error("it passes")
	}
	for _, s := range says {
		if !strings.Contains(text(r), s) {
			t.Errorf("the report does not say %q:\n%s", s, text(r))
		}
	}
	return r
}

func TestPlugin(t *testing.T) {
	t.Run("outputs, outcomes and nothing at all", func(t *testing.T) {
		passes(t, `
{"case": "all of it", "plugin": "guest"}
{"subject": "in.a", "text": "pass"}
{"output": "default", "text": "pass"}
{"text": "retry", "attempt": 2}
{"outcome": "retry", "delay": "1s", "reason": "attempt 2"}
{"text": "dead"}
{"outcome": "dead-letter", "reason": "no use"}
{"text": "silent"}
{"text": "binary"}
{"output": "default", "base64": "/wA="}
{"text": "named", "headers": {"A": "1"}}
{"output": "other", "key": "k", "headers": [["A", "1"], ["B", "2"]], "text": "named"}
`)
	})
	t.Run("an instance keeps its state, sequences go on, JSON is compared by value", func(t *testing.T) {
		passes(t, `
{"case": "state", "plugin": "guest", "config": {"greeting": "hi"}, "now": "2026-03-01T00:00:00Z"}
{"text": "greet"}
{"output": "default", "payload": {
	"at": "2026-03-01T00:00:00Z",
	"number": 1.0, "seq": 1, "greeting": "hi"
}}
# a comment
{"text": "greet", "seq": 10, "time": "2020-01-01T00:00:00Z"}
{"output": "default", "payload": {"greeting":"hi","number":2,"seq":10,"at":"2020-01-01T00:00:00Z"}}
`)
	})
	t.Run("the configuration is that of wasmill.toml", func(t *testing.T) {
		fails(t, `{"case":"", "plugin":"guest"}
{"text":"greet"}
`, `+    "greeting": "hello",`)
	})
	t.Run("clock and randomness are the same in every run", func(t *testing.T) {
		const content = `
{"case": "", "plugin": "guest"}
{"text": "time"}
{"output": "default", "text": "2026-01-01T00:00:00Z"}
{"text": "time", "now": "2027-01-01T00:00:00Z"}
{"output": "default", "text": "2027-01-01T00:00:00Z"}
{"text": "random"}
{"output": "default", "text": "not a number"}
`
		a, b := fails(t, content), fails(t, content)
		if text(a) == "" || after(text(a), "+  ") != after(text(b), "+  ") {
			t.Errorf("two runs differ:\n%s\n%s", text(a), text(b))
		}
		if strings.Contains(text(a), "2026-01-01") {
			t.Errorf("the clock differs:\n%s", text(a))
		}
	})
	t.Run("without the grant the clock stands at 1970", func(t *testing.T) {
		passes(t, `
{"case": "", "plugin": "guest", "grants": ["random", "secret", "clock"]}
{"text": "time"}
{"output": "default", "text": "2026-01-01T00:00:00Z"}
`)
	})
	t.Run("secrets are those of the case, never the real ones", func(t *testing.T) {
		passes(t, `
{"case": "", "plugin": "guest", "secrets": {"key": "12345"}}
{"text": "secret"}
{"output": "default", "text": "5 letters"}
`)
	})
	t.Run("the log counts where it is expected", func(t *testing.T) {
		passes(t, `
{"case": "", "plugin": "guest"}
{"text": "log"}
{"output": "default", "text": "log"}
{"text": "log"}
{"log": "it is late seq=2"}
{"output": "default", "text": "log"}
`)
		fails(t, `
{"case": "", "plugin": "guest"}
{"text": "log"}
{"log": "it is early", "level": "warn"}
{"output": "default", "text": "log"}
`, `-  "log": "it is early",`, `+  "log": "it is late seq=1",`)
	})
	t.Run("a refused configuration", func(t *testing.T) {
		passes(t, `
{"case": "", "plugin": "guest", "config": {"greeting": "refuse"}}
{"outcome": "refused", "reason": "no greeting like that"}
`)
		r := fails(t, `
{"case": "", "plugin": "guest", "config": {"greeting": "refuse"}}
{"text": "greet"}
{"output": "default"}
`, "no greeting like that")
		if len(r.Differences) != 1 {
			t.Errorf("what follows from the refusal is reported, too:\n%s", text(r))
		}
	})
	t.Run("what the end of the instance emits", func(t *testing.T) {
		passes(t, `
{"case": "", "plugin": "guest", "config": {"greeting": "bye"}}
{"text": "silent"}
{"close": true}
{"output": "default", "subject": "out.bye", "payload": {"seen": 1}}
`)
		fails(t, `
{"case": "", "plugin": "guest", "config": {"greeting": "bye"}}
{"text": "silent"}
`, "the end of the instance", "out.bye")
	})
	t.Run("a fault, with the stack, and what comes after it", func(t *testing.T) {
		const head = `
{"case": "", "plugin": "guest"}
{"text": "greet"}
{"output": "default", "payload": {"greeting":"hello","number":1,"seq":1,"at":"2026-01-01T00:00:00Z"}}
{"text": "spin"}
`
		const rest = `
{"text": "greet"}
{"output": "default", "payload": {"greeting":"hello","number":1,"seq":3,"at":"2026-01-01T00:00:00Z"}}
`
		passes(t, head+`{"fault": "deadline"}`+rest)
		fails(t, head+`{"outcome": "drop"}`+rest, `+  "fault": "deadline",`, "wasm stack trace", "main.spin")
	})
}

// after returns what follows the first mark.
func after(s, mark string) string {
	_, rest, _ := strings.Cut(s, mark)
	return rest
}

func TestPipeline(t *testing.T) {
	t.Run("subjects, keys, named outputs and headers are those of production", func(t *testing.T) {
		passes(t, `
{"case": "", "pipeline": "one"}
{"subject": "in.us", "text": "pass"}
{"output": "default", "subject": "out.us", "text": "pass"}
{"subject": "in.us", "text": "named", "headers": {"A": "1"}}
{"output": "other", "subject": "more.k", "key": "k", "headers": {"A": "1", "B": "2"}, "text": "named"}
{"subject": "in.us", "text": "silent"}
{"outcome": "drop"}
`)
	})
	t.Run("a chain: an event passes all stages or is dropped on the way", func(t *testing.T) {
		passes(t, `
{"case": "", "pipeline": "chain"}
{"subject": "in.a", "payload": {"mag": 6, "net": "us"}}
{"output": "default", "subject": "out.us", "payload": {"mag": 6, "net": "us"}}
{"subject": "in.a", "payload": {"mag": 6}}
{"outcome": "dead-letter", "stage": "guest", "fault": "refused_subject", "reason": "the event has no {key}"}
{"subject": "in.a", "payload": {"mag": 2, "net": "us"}}
{"outcome": "drop"}
`)
	})
	t.Run("attempts are made at once, and given up", func(t *testing.T) {
		passes(t, `
{"case": "", "pipeline": "one", "plugins": {"guest": {"config": {}}}}
{"subject": "in.a", "text": "twice"}
{"output": "default", "subject": "out.a", "text": "twice"}
{"subject": "in.a", "text": "retry"}
{"outcome": "dead-letter", "reason": "attempt 3"}
{"subject": "in.a", "text": "spin"}
{"outcome": "dead-letter", "fault": "deadline"}
`)
	})
	t.Run("any number of events that fail", func(t *testing.T) {
		content := `{"case": "", "pipeline": "one", "plugins": {"guest": {"config": {}}}}`
		for range 40 {
			content += "\n" + `{"subject": "nowhere.a", "text": "named"}` + "\n" + `{"output": "other", "subject": "more.k", "key": "k", "headers": {"B": "2"}, "text": "named"}`
			content += "\n" + `{"subject": "nowhere", "text": "pass"}` + "\n" + `{"outcome": "dead-letter", "fault": "refused_subject"}`
		}
		passes(t, content)
	})
	t.Run("the end of a pipeline that halts", func(t *testing.T) {
		fails(t, `
{"case": "", "pipeline": "strict"}
{"subject": "elsewhere", "payload": {"mag": 6}}
`, `+  "outcome": "halt",`, "pipeline halted")
	})
	t.Run("a plugin that refuses its configuration", func(t *testing.T) {
		passes(t, `
{"case": "", "pipeline": "chain", "plugins": {"guest": {"config": {"greeting": "refuse"}}}}
{"outcome": "refused", "stage": "guest", "reason": "no greeting like that"}
`)
	})
}

func TestWhatACaseIsAbout(t *testing.T) {
	module, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	const greets = `{"text": "greet"}
{"output": "default", "payload": {"greeting":"","number":1,"seq":1,"at":"2026-01-01T00:00:00Z"}}
`
	at := t.TempDir()
	for name, content := range map[string]string{
		"alone/guest.wasm":                 string(module),
		"alone/cases/a.ndjson":             `{"case":"","grants":["clock","random","secret"]}` + "\n" + greets,
		"named/modules/g.wasm":             string(module),
		"named/cases/deep/a.ndjson":        `{"case":"","module":"../../modules/g.wasm","grants":["clock","random","secret"]}` + "\n" + greets,
		"named/cases/deep/b.ndjson":        `{"case":"","module":"../../modules/h.wasm"}` + "\n" + greets,
		"named/notcases/c.ndjson":          "neither read nor run",
		"named/cases/.hidden/c.ndjson":     "neither read nor run",
		"many/wasmill.toml":                "[topics.t]\nsubjects=[\"t\"]\n[plugins.a]\npath=\"plugins/a.wasm\"\ngrants=[\"clock\",\"random\",\"secret\"]\n[plugins.b]\nbuiltin=\"pass\"\n",
		"many/plugins/a.wasm":              string(module),
		"many/plugins/a/cases/mine.ndjson": greets,
		"many/cases/whose.ndjson":          greets,
		"none/cases/a.ndjson":              greets,
		"none/cases/b.ndjson":              `{"case":"","plugin":"a"}`,
		"broken/wasmill.toml":              "[plugins.a]\npth = \"x\"\n",
		"broken/cases/a.ndjson":            greets,
	} {
		name = filepath.Join(at, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	reports := run(t, at, cases.Options{})
	for name, want := range map[string]string{ // "" = it passes
		"alone/cases/a":             "",
		"named/cases/deep/a":        "",
		"named/cases/deep/b":        "there is no module",
		"many/plugins/a/cases/mine": "",
		"many/cases/whose":          "which plugin or pipeline",
		"none/cases/a":              "not one module beside it",
		"none/cases/b":              "there is no wasmill.toml",
		"broken/cases/a":            `(did you mean "path"?)`,
	} {
		r, ok := reports[name]
		switch {
		case !ok:
			t.Errorf("%s was not run", name)
		case want == "" && !r.Passed():
			t.Errorf("%s fails:\n%s", name, text(r))
		case want != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), want)):
			t.Errorf("%s: got %q, want %q", name, text(r), want)
		}
		delete(reports, name)
	}
	for name := range reports {
		t.Errorf("%s was run", name)
	}
}

func TestFind(t *testing.T) {
	at := filepath.Join(dir(t, nil), "cases") // the name of a directory above the project
	for _, name := range []string{"mine/wasmill.toml", "mine/events.ndjson", "mine/cases/a.ndjson", "mine/cases/b/c.ndjson", "mine/plugins/p/cases/d.ndjson", "mine/target/cases/e.ndjson"} {
		name = filepath.Join(at, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"mine":                    "cases/a cases/b/c plugins/p/cases/d",
		"mine/cases":              "cases/a cases/b/c",
		"mine/cases/b":            "cases/b/c",
		"mine/plugins":            "plugins/p/cases/d",
		"mine/cases/a.ndjson":     "cases/a",
		"mine/events.ndjson":      "events",
		"mine/plugins/p/cases/..": "plugins/p/cases/d",
	} {
		files, err := cases.Find(filepath.Join(at, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			rel, err := filepath.Rel(filepath.Join(at, "mine"), f)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSuffix(filepath.ToSlash(rel), ".ndjson"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("in %s: found %q, want %s", path, got, want)
		}
	}
}

func TestChosenByName(t *testing.T) {
	at := dir(t, map[string]string{"cases/one.ndjson": "{}", "cases/two.ndjson": "{}"})
	if got := run(t, at, cases.Options{Match: regexp.MustCompile("tw.$")}); len(got) != 1 || got["cases/two"].Err == nil {
		t.Errorf("ran %v", got)
	}
}

// BenchmarkHundred runs a hundred cases of one Go plugin, each with an instance
// and a configuration of its own; the module is compiled before.
func BenchmarkHundred(b *testing.B) {
	at := b.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(at, name), []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	write("wasmill.toml", "[topics.t]\nsubjects=[\"t\"]\n[plugins.big]\nbuiltin=\"threshold\"\n")
	var files []string
	for i := range 100 {
		name := fmt.Sprintf("case%d.ndjson", i)
		write(name, fmt.Sprintf(`{"case":"","config":{"pointer":"/mag","min":%d}}`, i)+"\n"+`{"payload":{"mag":1000}}`+"\n"+`{"output":"default","payload":{"mag":1000}}`)
		files = append(files, filepath.Join(at, name))
	}
	h := host.New(host.Options{CacheDir: filepath.Join(scratch, "cache")})
	if err := h.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := cases.New(cases.Options{Host: h, Builtins: builtin.Modules()})
		reports, err := r.Run(b.Context(), files)
		if err := errors.Join(err, r.Close(b.Context())); err != nil {
			b.Fatal(err)
		}
		for i := range reports {
			if !reports[i].Passed() {
				b.Fatal(text(reports[i]))
			}
		}
	}
	if err := h.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
