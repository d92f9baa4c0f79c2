package config

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// updateFlag is a test's own flag, not state of the package.
var updateFlag = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file in testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateFlag {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestLoadTheExampleOfTheDesign(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/design.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	strong := c.Plugins["strong"]
	if strong.Limits.Memory != 64<<20 || strong.Limits.Deadline != Duration(100*time.Millisecond) || strong.Limits.Rate != 20000 {
		t.Errorf("limits = %+v", strong.Limits)
	}
	if strong.Config["min_magnitude"] != 4.5 {
		t.Errorf("config = %v", strong.Config)
	}
	p := c.Pipelines["alerts"]
	if p.From != "quakes" || p.Partitions != 2 || p.Batch.MaxEvents != 512 || *p.Batch.MaxWait != Duration(2*time.Millisecond) {
		t.Errorf("pipeline = %+v", p)
	}
	if c.Topics["quakes"].MaxAge != Duration(7*day) || c.Topics[DeadLetters].Subjects[0] != DeadLetterSubject {
		t.Errorf("topics = %+v", c.Topics)
	}
}

func TestLoadFindsEveryMistakeInOneRun(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/mistakes.toml", "pass", "threshold")
	var findings Findings
	if c != nil || !errors.As(err, &findings) || len(findings) < 10 {
		t.Fatalf("Load = %v, %v", c, err)
	}
	golden(t, "mistakes.golden", err.Error()+"\n")
}

func TestLoadFiles(t *testing.T) {
	t.Parallel()
	if _, err := Load(filepath.Join(t.TempDir(), "absent.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	big := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil {
		t.Error("a file beyond the limit was read")
	}
}

func TestLoadAdmin(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, text string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "x.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Run("does not mind mistakes elsewhere", func(t *testing.T) {
		t.Parallel()
		a, err := LoadAdmin(write(t, "nonsense = 1\n[admin]\ntoken = \"env:T\"\n[plugins.x]\npath = \"absent.wasm\"\n"))
		if err != nil || a.Token != "env:T" || *a.Listen != "127.0.0.1:7422" {
			t.Errorf("LoadAdmin = %+v, %v", a, err)
		}
	})
	t.Run("does not mind a syntax error in another table", func(t *testing.T) {
		t.Parallel()
		a, err := LoadAdmin(write(t, "[topics.x\nsubjects = =\n[admin]\nlisten = \"127.0.0.1:9\"\n[admin.tokens.a]\nrole = \"view\"\ntoken = \"env:T\"\n[plugins.x]\npath =\n"))
		if err != nil || *a.Listen != "127.0.0.1:9" || len(a.Tokens) != 1 {
			t.Errorf("LoadAdmin = %+v, %v", a, err)
		}
	})
	t.Run("has its defaults without the table", func(t *testing.T) {
		t.Parallel()
		if a, err := LoadAdmin(write(t, sound)); err != nil || *a.Listen != "127.0.0.1:7422" {
			t.Errorf("LoadAdmin = %+v, %v", a, err)
		}
	})
	t.Run("reports mistakes of its own and of the syntax", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"[admin]\nlisten = 1", "[admin]\nlisten = \"x\"", "admin = 1", "[admin\n"} {
			if a, err := LoadAdmin(write(t, text)); !errors.As(err, new(Findings)) {
				t.Errorf("LoadAdmin of %q = %+v, %v", text, a, err)
			}
		}
		if _, err := LoadAdmin(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an absent file: %v", err)
		}
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	t.Run("an empty file is valid and has them all", func(t *testing.T) {
		t.Parallel()
		c, findings := Parse("x.toml", nil)
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		if c.Server.StoreDir != "data" || *c.Server.Listen != "127.0.0.1:4222" || c.Server.MaxStore != 20<<30 || *c.Admin.Listen != "127.0.0.1:7422" {
			t.Errorf("server %+v, admin %+v", c.Server, c.Admin)
		}
		if d := c.Topics[DeadLetters]; d.Full != "drop-oldest" || d.MaxBytes != 0 || d.Replicas != 1 {
			t.Errorf("dead letters = %+v", d)
		}
	})
	t.Run("what is written as zero stays zero", func(t *testing.T) {
		t.Parallel()
		c, findings := Parse("x.toml", []byte(sound+"[pipelines.p.batch]\nmax_wait = \"0s\"\n[server]\nlisten = \"\"\n[admin]\nlisten = \"\"\n"))
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		if *c.Pipelines["p"].Batch.MaxWait != 0 || *c.Server.Listen != "" || *c.Admin.Listen != "" {
			t.Errorf("%+v %+v", c.Pipelines["p"].Batch, c.Server)
		}
	})
	t.Run("a default batch fits into the smallest limit of its plugins", func(t *testing.T) {
		t.Parallel()
		c, findings := Parse("x.toml", []byte(sound+"[plugins.g.limits]\nmax_in_flight = 100\nmax_in_flight_bytes = \"128KiB\"\n"))
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		if b := c.Pipelines["p"].Batch; b.MaxEvents != 100 || b.MaxBytes != 128<<10 {
			t.Errorf("batch = %+v", b)
		}
	})
	t.Run("a configuration made by a program has them too", func(t *testing.T) {
		t.Parallel()
		made := &Config{
			Topics:  map[string]Topic{"a": {Subjects: []string{"a.>"}}, "b": {Subjects: []string{"b.>"}}},
			Plugins: map[string]Plugin{"g": {Builtin: "pass"}},
			Pipelines: map[string]Pipeline{
				"p": {From: "a", Stages: []string{"g"}, To: "b", Subject: "b.{subject.2}"},
			},
		}
		read, findings := Parse("x.toml", []byte(sound))
		if len(findings) > 0 || len(made.Validate()) > 0 {
			t.Fatal(findings, made.Validate())
		}
		if diff := cmp.Diff(read, made.WithDefaults(), cmp.AllowUnexported(Config{})); diff != "" {
			t.Errorf("(-read +made):\n%s", diff)
		}
		if made.Pipelines["p"].Partitions != 0 {
			t.Error("WithDefaults changed its receiver")
		}
	})
}

func TestValidateAConfigurationMadeByAProgram(t *testing.T) {
	t.Parallel()
	c := &Config{
		Topics:    map[string]Topic{"a": {}, DeadLetters: {Subjects: []string{"x"}}},
		Plugins:   map[string]Plugin{"g": {Builtin: "pass", Limits: Limits{Memory: 1}, Grants: []string{"files"}, Secrets: map[string]Secret{"k": "v"}}},
		Pipelines: map[string]Pipeline{"p": {From: "b", Stages: []string{"g"}, To: "a", Partitions: -1, Start: "never"}},
	}
	var codes []string
	for _, f := range c.Validate() {
		if f.Line != 0 || strings.Contains(f.String(), ":0:") {
			t.Errorf("finding with a position: %v", f)
		}
		codes = append(codes, f.Code)
	}
	slices.Sort(codes)
	want := []string{CodeBadValue, CodeBadValue, CodeBadValue, CodeConflict, CodeDangling, CodeMissing, CodeOutOfRange, CodeOutOfRange, CodeReserved}
	slices.Sort(want)
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, c.Validate())
	}
}

func TestBatchExamplesOfFlow(t *testing.T) {
	t.Parallel()
	t.Run("named outputs in both forms", func(t *testing.T) {
		t.Parallel()
		c, findings := Parse("x.toml", []byte(strings.Replace(sound, `to = "b"`, `outputs = { x = "b", y = { topic = "b", subject = "b.{key}" } }`, 1)))
		if len(findings) != 1 || findings[0].Code != CodeConflict { // subject without to
			t.Fatalf("%v %v", c, findings)
		}
		text := strings.Replace(strings.Replace(sound, `to = "b"`, `outputs = { x = "b", y = { topic = "b", subject = "b.{key}" } }`, 1), "subject = \"b.{subject.2}\"\n", "", 1)
		c, findings = Parse("x.toml", []byte(text))
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		if o := c.Pipelines["p"].Outputs; o["x"].Topic != "b" || o["y"].Subject != "b.{key}" {
			t.Errorf("outputs = %+v", o)
		}
	})
	t.Run("a start without quotes", func(t *testing.T) {
		t.Parallel()
		for text, want := range map[string]Start{
			"2026-01-31T12:00:00Z": "2026-01-31T12:00:00Z", `"2026-01-31T12:00:00+01:00"`: "2026-01-31T12:00:00+01:00", `"new"`: "new",
		} {
			c, findings := Parse("x.toml", []byte(strings.Replace(sound, "[pipelines.p]", "[pipelines.p]\nstart = "+text, 1)))
			if len(findings) > 0 || c.Pipelines["p"].Start != want {
				t.Errorf("%s: %v %v", text, c, findings)
			}
		}
	})
	t.Run("plugin configuration becomes JSON values", func(t *testing.T) {
		t.Parallel()
		c, findings := Parse("x.toml", []byte(sound+"[plugins.g.config]\nat = 2026-01-31T12:00:00Z\nday = 2026-01-31\nlist = [1, 'a', {b = 2}]\n[[plugins.g.config.rows]]\nn = 1\n"))
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		want := map[string]any{
			"at": "2026-01-31T12:00:00Z", "day": "2026-01-31", "list": []any{int64(1), "a", map[string]any{"b": int64(2)}},
			"rows": []any{map[string]any{"n": int64(1)}},
		}
		if diff := cmp.Diff(want, c.Plugins["g"].Config); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
