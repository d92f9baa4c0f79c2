package plan

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var updateFlag = flag.Bool("update", false, "write the golden files anew")

func read(t *testing.T, file string) *Plan {
	t.Helper()
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := From(cfg, file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t *testing.T, file, text string) *Plan {
	t.Helper()
	cfg, findings := config.Parse(file, []byte(text))
	if err := findings.Err(); err != nil {
		t.Fatal(err)
	}
	p, err := From(cfg, file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlans(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			p := read(t, file)
			text, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(string(text), p.Dir, "DIR") + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			if *updateFlag {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

const (
	head = "[topics.a]\nsubjects = ['a.>']\n[topics.b]\nsubjects = ['b.>']\n[plugins.g]\nbuiltin = 'pass'\n"
	tail = "[pipelines.p]\nfrom = 'a'\nstages = ['g']\nto = 'b'\nsubject = 'b.x'\n"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	t.Run("an invalid configuration gives findings and no plan", func(t *testing.T) {
		t.Parallel()
		p, err := From(&config.Config{Topics: map[string]config.Topic{"a": {}}}, "x.toml")
		var findings config.Findings
		if p != nil || !errors.As(err, &findings) || len(findings) != 1 {
			t.Errorf("From = %v, %v", p, err)
		}
	})
	t.Run("lookups find what is there", func(t *testing.T) {
		t.Parallel()
		p := parse(t, "x.toml", head+tail)
		if p.Topic("a").Name != "a" || p.Topic(DeadLetters).Subjects[0] != DeadLetterSubject || p.Plugin("g").Builtin != "pass" || p.Pipeline("p").From != "a" {
			t.Errorf("%+v", p)
		}
		if p.Topic("x") != nil || p.Plugin("x") != nil || p.Pipeline("x") != nil {
			t.Error("found what is not there")
		}
	})
	t.Run("a plugin used again gets a stage name of its own", func(t *testing.T) {
		t.Parallel()
		for _, tt := range []struct{ stages, want []string }{
			{[]string{"a", "b"}, []string{"a", "b"}},
			{[]string{"a", "a", "a"}, []string{"a", "a-2", "a-3"}},
			{[]string{"a", "a-2", "a"}, []string{"a", "a-2", "a-3"}},
			{[]string{"a", "a", "a-2", "a-2"}, []string{"a", "a-3", "a-2", "a-2-2"}},
		} {
			l := Pipeline{Stages: tt.stages}
			if got := l.StageNames(); !slices.Equal(got, tt.want) {
				t.Errorf("%q = %q, want %q", tt.stages, got, tt.want)
			}
		}
	})
}

func TestHash(t *testing.T) {
	t.Parallel()
	first := parse(t, filepath.Join(t.TempDir(), "a.toml"), head+tail)
	t.Run("does not depend on the place, the order or the notation", func(t *testing.T) {
		t.Parallel()
		same := parse(t, filepath.Join(t.TempDir(), "b.toml"), "# moved\n"+tail+"partitions = 1\nbatch = { max_bytes = '1024KiB' }\n"+head)
		if same.Hash != first.Hash || len(first.Hash) != 64 {
			t.Errorf("%s and %s", first.Hash, same.Hash)
		}
	})
	t.Run("differs when anything does", func(t *testing.T) {
		t.Parallel()
		if other := parse(t, "x.toml", head+tail+"partitions = 1\nbatch = { max_bytes = '1MiB', max_events = 9 }\n"); other.Hash == first.Hash {
			t.Error("the hash is the same")
		}
	})
}

func TestDiff(t *testing.T) {
	t.Parallel()
	base := parse(t, "x.toml", head+tail)
	tests := []struct {
		name, text string
		want       []Change
	}{
		{"nothing", head + tail, nil},
		{"the server and the admin endpoint need a restart", head + tail + "[server]\nmax_store = '1GiB'\nlisten = ''\n[admin]\nlisten = ''\n", []Change{
			{Op: Modify, What: "server", Fields: []string{"listen", "max_store"}, Restart: true},
			{Op: Modify, What: "admin", Fields: []string{"listen"}, Restart: true},
		}},
		{"tokens of the admin endpoint do not", head + tail + "[admin]\nsession = '1h'\ntoken = 'env:T'\n[admin.tokens.x]\ntoken = 'env:X'\nrole = 'view'\n", []Change{
			{Op: Modify, What: "admin", Fields: []string{"session"}, Restart: true},
			{Op: Modify, What: "admin", Fields: []string{"token", "tokens"}},
		}},
		{"users of the server do not either", head + tail + "[server.users.x]\npassword = 'env:X'\n", []Change{
			{Op: Modify, What: "server", Fields: []string{"users"}},
		}},
		{"additions and removals", "[topics.a]\nsubjects = ['a.>']\n[topics.c]\nsubjects = ['c.>']\n[plugins.h]\nbuiltin = 'pass'\n[pipelines.q]\nfrom = 'a'\nstages = ['h']\nto = 'c'\nsubject = 'c.x'\n", []Change{
			{Op: Remove, What: "topic", Name: "b"},
			{Op: Add, What: "topic", Name: "c"},
			{Op: Remove, What: "plugin", Name: "g"},
			{Op: Add, What: "plugin", Name: "h"},
			{Op: Remove, What: "pipeline", Name: "p"},
			{Op: Add, What: "pipeline", Name: "q"},
		}},
		{"changed fields by their TOML paths", head + "limits = { memory = '1MiB' }\nconfig = { x = 1 }\n" + tail +
			"partitions = 2\nkey = 'subject:2'\nbatch = { max_wait = '0s' }\noutputs = { x = 'b' }\n[topics.dead-letters]\nmax_age = '1d'\n", []Change{
			{Op: Modify, What: "topic", Name: "dead-letters", Fields: []string{"max_age"}},
			{Op: Modify, What: "plugin", Name: "g", Fields: []string{"config", "limits.memory"}},
			{Op: Modify, What: "pipeline", Name: "p", Fields: []string{"batch.max_wait", "key", "outputs.x", "partitions"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, Diff(base, parse(t, "x.toml", tt.text))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("from nothing and to nothing", func(t *testing.T) {
		t.Parallel()
		for op, changes := range map[string][]Change{Add: Diff(nil, base), Remove: Diff(base, nil)} {
			var got []string
			for _, c := range changes {
				if c.Op != op {
					t.Errorf("%+v, want only %s", c, op)
				}
				got = append(got, c.What+" "+c.Name)
			}
			if want := []string{"topic a", "topic b", "topic dead-letters", "topic wasmill-audit", "plugin g", "pipeline p"}; !slices.Equal(got, want) {
				t.Errorf("%s: %q", op, got)
			}
		}
	})
}

func TestValues(t *testing.T) {
	t.Parallel()
	before := parse(t, "x.toml", head+"config = { size = 1, token = 'a', kept = [1] }\n"+tail)
	after := parse(t, "x.toml", head+"config = { size = 2, token = 'b', kept = [1] }\nlimits = { memory = '1MiB' }\n"+tail+"key = 'subject:2'\n[topics.c]\nsubjects = ['c.>']\n")
	got := map[string][]Value{}
	for _, c := range Diff(before, after) {
		got[c.What+" "+c.Name] = Values(before, after, c)
	}
	want := map[string][]Value{
		"topic c":    {{"subjects", "", `["c.>"]`}},
		"plugin g":   {{"limits.memory", `"64MiB"`, `"1MiB"`}, {"config.size", "1", "2"}, {"config.token", `"[secret]"`, `"[secret]"`}},
		"pipeline p": {{"key", "", `"subject:2"`}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := Values(after, before, Change{Op: Remove, What: "topic", Name: "c"}); v != nil {
		t.Errorf("of a removal: %v", v)
	}
}

// A process that has taken a plan over runs it with the server and the admin
// endpoint that it has, and says so.
func TestWithProcessOf(t *testing.T) {
	t.Parallel()
	running := parse(t, "x.toml", head+tail)
	next := parse(t, "x.toml", head+tail+"key = 'subject:2'\n[server]\nlisten = ''\n[admin]\nlisten = ''\ntoken = 'env:T'\n")
	effective := next.WithProcessOf(running)
	same := parse(t, "x.toml", head+tail+"key = 'subject:2'\n[admin]\ntoken = 'env:T'\n") // which changes while it runs
	if effective.Hash != same.Hash || next.Hash == same.Hash || len(Diff(effective, same)) > 0 {
		t.Errorf("%s, want %s", effective.Hash, same.Hash)
	}
	if *effective.Config.Server.Listen == "" || *next.Config.Server.Listen != "" {
		t.Error("the configuration is not that in effect")
	}
}

// TestDiffSeesEveryField changes one field after the other.
func TestDiffSeesEveryField(t *testing.T) {
	t.Parallel()
	build := func() *Plan {
		return &Plan{
			Topics: []Topic{{Name: "n"}}, Plugins: []Plugin{{Name: "n"}},
			Pipelines: []Pipeline{{Name: "n", Outputs: []Output{{Name: DefaultOutput}, {Name: "other"}}}},
		}
	}
	var walk func(t *testing.T, at string, pick func(*Plan) reflect.Value)
	walk = func(t *testing.T, at string, pick func(*Plan) reflect.Value) {
		t.Helper()
		switch v := pick(build()); {
		case strings.HasSuffix(at, ".Name"):
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				walk(t, at+"."+v.Type().Field(i).Name, func(p *Plan) reflect.Value { return pick(p).Field(i) })
			}
		case v.Kind() == reflect.Slice && v.Len() > 0:
			for i := range v.Len() {
				walk(t, fmt.Sprintf("%s[%d]", at, i), func(p *Plan) reflect.Value { return pick(p).Index(i) })
			}
		default:
			after := build()
			other(t, pick(after))
			if changes := Diff(build(), after); len(changes) != 1 || len(changes[0].Fields) != 1 {
				t.Errorf("a changed %s gives %+v", at, changes)
			}
		}
	}
	for _, name := range []string{"Server", "Admin", "Topics", "Plugins", "Pipelines"} {
		walk(t, name, func(p *Plan) reflect.Value { return reflect.ValueOf(p).Elem().FieldByName(name) })
	}
}

// other gives v, which is zero, another value.
func other(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case string, config.Secret:
		v.SetString("x")
	case int, int64, time.Duration:
		v.SetInt(1)
	case float64:
		v.SetFloat(1)
	case bool:
		v.SetBool(true)
	case []string:
		v.Set(reflect.ValueOf([]string{"x"}))
	case json.RawMessage:
		v.SetBytes([]byte("{}"))
	case []ServerUser:
		v.Set(reflect.ValueOf([]ServerUser{{Name: "x"}}))
	case []AdminToken:
		v.Set(reflect.ValueOf([]AdminToken{{Name: "x"}}))
	case map[string]config.Secret:
		v.Set(reflect.ValueOf(map[string]config.Secret{"x": "env:X"}))
	default:
		t.Fatalf("no other value for a %s", v.Type())
	}
}
