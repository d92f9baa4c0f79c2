package scaffold_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/scaffold"
)

func TestPluginInRust(t *testing.T) {
	cargo := cargo(t)

	t.Run("passes its own test, natively, and is formatted", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "my-demo")
		if err := scaffold.Plugin(dir, "rust", "my-demo"); err != nil {
			t.Fatal(err)
		}
		want := []string{".gitignore", ".taplo.toml", ".vscode", ".wasmill", "Cargo.lock", "Cargo.toml", "README.md", "cases", "events.ndjson", "src", "wasmill.schema.json", "wasmill.toml"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("holds %q, want %q", got, want)
		}
		run(t, dir, cargo, "test", "--quiet", "--offline", "--locked")
		if _, err := exec.LookPath("rustfmt"); err == nil {
			run(t, dir, "rustfmt", "--check", "--edition=2021", "src/lib.rs")
		}
	})

	// Cargo has rules of its own for names; what it would write into Cargo.lock is
	// there already, so that a build changes no source.
	for _, name := range []string{"a", "9lives", "wasmill", "zed", "test", "fn", "std"} {
		t.Run("the name "+name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := scaffold.Plugin(dir, "rust", name); err != nil {
				t.Fatal(err)
			}
			before := read(t, filepath.Join(dir, "Cargo.lock"))
			run(t, dir, cargo, "metadata", "--offline", "--format-version=1", "--quiet")
			if after := read(t, filepath.Join(dir, "Cargo.lock")); after != before {
				t.Errorf("Cargo.lock becomes\n%s", after)
			}
		})
	}
}

// cargo returns the cargo of the toolchain that builds plugins here.
func cargo(t *testing.T) string {
	t.Helper()
	for _, l := range build.Languages() {
		if l.Name == "rust" {
			found, err := l.Toolchain(t.Context())
			if err != nil {
				t.Skip(err)
			}
			t.Setenv("RUSTC", found.Path)
			return filepath.Join(filepath.Dir(found.Path), "cargo")
		}
	}
	t.Fatal("build does not know rust")
	return ""
}
