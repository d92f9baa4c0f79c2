package build_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wasmill/wasmill/plugins/build"
)

// next waits for the next change and returns the names of its files.
func next(t *testing.T, s *build.Sources, dir string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	files, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		rel, err := filepath.Rel(dir, f)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = filepath.ToSlash(rel)
	}
	return files
}

// save writes a file, with its directory.
func save(t *testing.T, dir, name, content string) {
	t.Helper()
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSources(t *testing.T) {
	dir := project(t, map[string]string{"plugins/a/main.go": "1", "plugins/b/main.go": "1", "go.mod": "1", "data/x.go": "1"})
	s, err := build.WatchSources(dir, []string{filepath.Join(dir, "data")}, []string{filepath.Join(dir, "wasmill.toml")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := func(files ...string) {
		t.Helper()
		if got := next(t, s, dir); !slices.Equal(got, files) {
			t.Errorf("changed are %q, want %q", got, files)
		}
	}

	for i := range 5 { // in a row: one change
		save(t, dir, "plugins/a/main.go", string(rune('2'+i)))
	}
	want("plugins/a/main.go")

	// What is no source, or has the same bytes as before, is passed over: the
	// change that is waited for is the next one in earnest.
	save(t, dir, "plugins/a.wasm", "module")
	save(t, dir, "plugins/a/main_test.go", "test")
	save(t, dir, "plugins/a/cases/x.go", "case")
	save(t, dir, ".git/x.go", "2")
	save(t, dir, "data/x.go", "2")
	save(t, dir, "plugins/b/main.go", "1")
	save(t, dir, "go.mod", "2")
	want("go.mod")
	save(t, dir, "wasmill.toml", "[plugins]")
	want("wasmill.toml")

	save(t, dir, "plugins/c/deep/lib.rs", "new")
	want("plugins/c/deep/lib.rs")
	save(t, dir, "plugins/c/deep/lib.rs", "again")
	want("plugins/c/deep/lib.rs")

	// As editors save: a new file in place of the old one.
	save(t, dir, "plugins/b/main.go.tmp", "2")
	if err := os.Rename(filepath.Join(dir, "plugins/b/main.go.tmp"), filepath.Join(dir, "plugins/b/main.go")); err != nil {
		t.Fatal(err)
	}
	want("plugins/b/main.go")
	if err := os.Remove(filepath.Join(dir, "plugins/b/main.go")); err != nil {
		t.Fatal(err)
	}
	want("plugins/b/main.go")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if files, err := s.Next(ended); files != nil || err != nil {
		t.Errorf("after the end: %q, %v", files, err)
	}
}

func TestStale(t *testing.T) {
	dir := project(t, map[string]string{
		"wasmill.toml":      "[plugins.a]\npath = \"plugins/a.wasm\"\n[plugins.b]\npath = \"plugins/b.wasm\"\n[plugins.c]\npath = \"c.wasm\"\n",
		"plugins/a/main.go": "1", "plugins/b/main.go": "1", "go.mod": "1", "shared/lib.go": "1", "plugins/a.wasm": "", "plugins/b.wasm": "",
	})
	begin := time.Now().Add(-time.Hour)
	age := func(name string, after time.Duration) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(dir, name), begin.Add(after), begin.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"plugins/a/main.go", "plugins/b/main.go", "go.mod", "shared/lib.go"} {
		age(name, 0)
	}
	age("plugins/a.wasm", time.Minute)
	age("plugins/b.wasm", time.Minute)
	want := func(names ...string) {
		t.Helper()
		stale, err := build.Stale(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range stale {
			got = append(got, p.Name())
		}
		if !slices.Equal(got, names) {
			t.Errorf("stale are %q, want %q", got, names)
		}
	}
	want()
	age("plugins/a/main.go", 2*time.Minute)
	want("a")
	age("shared/lib.go", 2*time.Minute)
	want("a", "b")
	age("plugins/a.wasm", 3*time.Minute)
	want("b")
	age("plugins/b.wasm", 3*time.Minute)
	want()
	save(t, dir, "plugins/a/cases/new.go", "")
	save(t, dir, "plugins/a/main_test.go", "")
	save(t, dir, "wasmill.toml", "[plugins.a]\npath = \"plugins/a.wasm\"\n")
	want()
	if err := os.Remove(filepath.Join(dir, "plugins/a.wasm")); err != nil {
		t.Fatal(err)
	}
	want("a")
}
