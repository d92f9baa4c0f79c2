package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/manifest"
)

// git runs git in dir, whatever the user's own settings are.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestManifest(t *testing.T) {
	dir := project(t, map[string]string{"plugins/strong/go.mod": goMod, "plugins/strong/main.go": plugin, "wasmill.toml": "[plugins.x]\npath = \"plugins/strong.wasm\"\n"})
	source := filepath.Join(dir, "plugins", "strong")
	builder := build.Builder{Version: "1.2.0", CacheDir: filepath.Join(t.TempDir(), "cache")}
	made := func(t *testing.T) (string, *manifest.Manifest) {
		t.Helper()
		module, err := builder.Build(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		content := read(t, module)
		m, lies, err := manifest.Check([]byte(content), module)
		if err != nil || m == nil || len(lies) > 0 {
			t.Fatalf("manifest is %+v, %v, %v", m, lies, err)
		}
		return content, m
	}

	t.Run("says what was built, from what and how", func(t *testing.T) {
		_, m := made(t)
		if m.Name != "strong" || m.Version != "1.2.0" || m.ABI != 1 || m.Language != "go" || !strings.HasPrefix(m.Compiler, "go1.") {
			t.Errorf("manifest is %+v", m)
		}
		if !slices.Contains(m.Flags, "-trimpath") || m.Source != nil || m.SDK != "" {
			t.Errorf("flags %v, source %v, SDK %q; want the compiler's, and none: it is in no repository and has no SDK", m.Flags, m.Source, m.SDK)
		}
	})

	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "plugins/strong")
	git(t, dir, "commit", "-qm", "the plugin")
	revision := git(t, dir, "rev-parse", "HEAD")
	first, _ := made(t)

	t.Run("names the commit of the source", func(t *testing.T) {
		if _, m := made(t); m.Source == nil || m.Source.Revision != revision || m.Source.Dirty {
			t.Errorf("source is %+v, want the commit %s", m.Source, revision)
		}
	})
	t.Run("a commit elsewhere, also of the module, does not make another module", func(t *testing.T) {
		git(t, dir, "add", ".")
		git(t, dir, "commit", "-qm", "module and configuration")
		if again, _ := made(t); again != first {
			t.Error("the modules differ")
		}
	})
	t.Run("a clone elsewhere gives the same module", func(t *testing.T) {
		was := source
		defer func() { source = was }()
		clone := filepath.Join(t.TempDir(), "elsewhere")
		git(t, dir, "clone", "-q", dir, clone)
		source = filepath.Join(clone, "plugins", "strong")
		if again, _ := made(t); again != first {
			t.Error("the modules differ")
		}
	})
	t.Run("a shallow clone does not claim what it cannot know", func(t *testing.T) {
		was := source
		defer func() { source = was }()
		clone := filepath.Join(t.TempDir(), "shallow")
		git(t, dir, "clone", "-q", "--depth", "1", "file://"+dir, clone)
		source = filepath.Join(clone, "plugins", "strong")
		if _, m := made(t); m.Source != nil {
			t.Errorf("source is %+v", m.Source)
		}
	})
	t.Run("changes that are in no commit are marked", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(source, "more.go"), []byte("package main\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, m := made(t); m.Source == nil || m.Source.Revision != revision || !m.Source.Dirty {
			t.Errorf("source is %+v, want %s with changes", m.Source, revision)
		}
	})
	t.Run("the version is that of the package, unless one is given", func(t *testing.T) {
		builder.Version = ""
		for name, text := range map[string]string{"package.json": `{"version":"3.1.4"}`, "Cargo.toml": "[package]\nversion = \"3.1.4\"\n"} {
			file := filepath.Join(source, name)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, m := made(t); m.Version != "3.1.4" {
				t.Errorf("%s: version is %q", name, m.Version)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		if _, m := made(t); m.Version != "" {
			t.Errorf("version is %q where there is none", m.Version)
		}
	})
}
