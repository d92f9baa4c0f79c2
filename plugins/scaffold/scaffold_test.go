package scaffold_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/plugins/scaffold"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestPlugin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my-demo")
	if err := scaffold.Plugin(dir, "go", "my-demo"); err != nil {
		t.Fatal(err)
	}
	offline(t)

	t.Run("holds what a plugin needs and nothing else", func(t *testing.T) {
		want := []string{".gitignore", ".taplo.toml", ".vscode", ".wasmill", "README.md", "cases", "events.ndjson", "go.mod", "main.go", "main_test.go", "wasmill.schema.json", "wasmill.toml"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("holds %q, want %q", got, want)
		}
	})

	t.Run("the handler is at most 15 lines long", func(t *testing.T) {
		source := read(t, filepath.Join(dir, "main.go"))
		_, handler, _ := strings.Cut(source, "\nfunc open(")
		handler, _, _ = strings.Cut(handler, "\n}\n")
		if n := strings.Count(handler, "\n") + 2; n > 15 {
			t.Errorf("it has %d lines", n)
		}
	})

	works(t, dir, map[string]string{"my-demo": "my-demo.wasm"})

	t.Run("plain go build makes the same module", func(t *testing.T) {
		built := read(t, filepath.Join(dir, "my-demo.wasm"))
		t.Setenv("GOOS", "wasip1")
		t.Setenv("GOARCH", "wasm")
		golang(t, dir, "build", "-trimpath", "-buildvcs=false", "-ldflags=-w", "-buildmode=c-shared", "-o", "plain.wasm", ".")
		if !strings.HasPrefix(built, read(t, filepath.Join(dir, "plain.wasm"))) { // behind it is the manifest
			t.Error("it differs from what `wasmill build` made")
		}
	})
}

func TestProject(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mill")
	if err := scaffold.Project(dir, "mill"); err != nil {
		t.Fatal(err)
	}
	offline(t)

	t.Run("holds what a project needs and nothing else", func(t *testing.T) {
		want := []string{".gitignore", ".taplo.toml", ".vscode", ".wasmill", "README.md", "cases", "events.ndjson", "go.mod", "plugins", "wasmill.schema.json", "wasmill.toml"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("holds %q, want %q", got, want)
		}
	})

	works(t, dir, map[string]string{"filter": "plugins/filter.wasm", "label": "plugins/label.wasm"})
}

// works checks what every scaffold promises: it passes vet and its own tests,
// builds and validates, all without a network.
func works(t *testing.T, dir string, modules map[string]string) {
	t.Helper()

	t.Run("vet and its tests pass", func(t *testing.T) {
		golang(t, dir, "vet", "./...")
		golang(t, dir, "test", "./...")
	})

	t.Run("its source is formatted", func(t *testing.T) {
		if out := run(t, dir, "gofmt", "-l", "."); out != "" {
			t.Errorf("not formatted: %s", out)
		}
	})

	t.Run("wasmill build makes the modules that its wasmill.toml names", func(t *testing.T) {
		var out bytes.Buffer
		b := build.Builder{Out: &out}
		built, err := b.All(t.Context(), dir)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		cfg, err := config.Load(filepath.Join(dir, "wasmill.toml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Warnings) > 0 {
			t.Errorf("wasmill.toml has warnings: %v", cfg.Warnings)
		}
		p, err := plan.From(cfg, filepath.Join(dir, "wasmill.toml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Plugins) != len(modules) || len(built) != len(modules) {
			t.Errorf("wasmill.toml has the plugins %+v, built were %q, want %v", p.Plugins, built, modules)
		}
		for name, path := range modules {
			plugin := p.Plugin(name)
			if plugin == nil || plugin.Path != filepath.Join(dir, filepath.FromSlash(path)) || !slices.Contains(built, plugin.Path) {
				t.Errorf("plugin %s is %+v, built were %q, want %s", name, plugin, built, path)
			}
		}
	})

	t.Run("its cases pass", func(t *testing.T) { casesPass(t, dir) })
}

func TestRefusals(t *testing.T) {
	t.Run("a directory that is not empty stays as it is", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := scaffold.Plugin(dir, "go", "demo"); err == nil || !strings.Contains(err.Error(), "is not empty (it holds mine)") {
			t.Errorf("error is %v", err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("holds %q now", got)
		}
	})

	t.Run("an empty directory is taken", func(t *testing.T) {
		if err := scaffold.Plugin(t.TempDir(), "go", "demo"); err != nil {
			t.Error(err)
		}
	})

	for _, name := range []string{"", "Demo", "-demo", "de mo", "../demo", "a/b", "d\u00e9mo", "demo.wasm", strings.Repeat("a", 64), "a\x00"} {
		t.Run("the name "+name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			plugin := func(dir, name string) error { return scaffold.Plugin(dir, "go", name) }
			for _, create := range []func(dir, name string) error{plugin, scaffold.Project} {
				if err := create(dir, name); err == nil || !strings.Contains(err.Error(), "is no name for a plugin or project") {
					t.Errorf("error is %v", err)
				}
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory was made: %v", err)
			}
		})
	}

	t.Run("a language that it does not know", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new")
		if err := scaffold.Plugin(dir, "cobol", "demo"); err == nil || !strings.Contains(err.Error(), `there is no language "cobol": it is one of go`) {
			t.Errorf("error is %v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory was made: %v", err)
		}
	})

	t.Run("a directory that cannot be made", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := scaffold.Plugin(filepath.Join(file, "demo"), "go", "demo"); err == nil {
			t.Error("no error")
		}
	})
}

func TestLanguagesAreThoseOfBuild(t *testing.T) {
	var known []string
	for _, l := range build.Languages() {
		known = append(known, l.Name)
	}
	for _, name := range scaffold.Languages() {
		if !slices.Contains(known, name) {
			t.Errorf("%s can be begun and not be built", name)
		}
	}
}

func TestGoVersionIsThatOfTheSDK(t *testing.T) {
	mod := read(t, filepath.Join("..", "..", "go.mod"))
	if !strings.Contains(mod, "\ngo "+scaffold.Go+"\n") {
		t.Errorf("scaffold.Go is %s, the repository's go.mod has another version", scaffold.Go)
	}
}

// offline gives the go command no network, no downloaded modules and no flags.
func offline(t *testing.T) {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	t.Setenv("GOTOOLCHAIN", "local")
	t.Setenv("GOMODCACHE", filepath.Join(t.TempDir(), "mod"))
}

func golang(t *testing.T, dir string, args ...string) { t.Helper(); run(t, dir, "go", args...) }

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// casesPass runs the cases of a scaffold, of which there is one at least.
func casesPass(t *testing.T, dir string) {
	t.Helper()
	h := host.New(host.Options{})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := cases.Find(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("found the cases %q, %v", files, err)
	}
	r := cases.New(cases.Options{Host: h})
	reports, err := r.Run(t.Context(), files)
	if err := errors.Join(err, r.Close(t.Context()), h.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, report := range reports {
		if !report.Passed() {
			t.Errorf("%s: %v %+v", report.File, report.Err, report.Differences)
		}
	}
}
