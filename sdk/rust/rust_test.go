package rust_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/sdk/internal/guesttest"
	"github.com/wasmill/wasmill/sdk/rust"
)

// toolchain returns the rustc that builds plugins here.
func toolchain(t *testing.T) *build.Toolchain {
	t.Helper()
	for _, l := range build.Languages() {
		if l.Name != "rust" {
			continue
		}
		found, err := l.Toolchain(t.Context())
		if err != nil {
			t.Skip(err)
		}
		return found
	}
	t.Fatal("build does not know rust")
	return nil
}

// crate copies the crate and returns where cargo can write.
func crate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"src", "examples", "tests", "testdata"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(part)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"Cargo.toml", "README.md"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCrate runs the crate's own tests, and its documentation as one, natively.
func TestCrate(t *testing.T) {
	found := toolchain(t)
	bin := filepath.Dir(found.Path)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "cargo"), "test", "--offline", "--quiet")
	cmd.Dir = crate(t)
	cmd.Env = append(os.Environ(), "RUSTC="+found.Path, "RUSTDOC="+filepath.Join(bin, "rustdoc"), "RUSTFLAGS=-Dwarnings")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestGuest has the crate's test plugin do what that of every SDK does.
func TestGuest(t *testing.T) {
	toolchain(t)
	module := compile(t, filepath.Join(crate(t), "testdata", "guest"))
	g := guesttest.Guest{Module: module, Panic: []string{"src/lib.rs:"}, Trap: []string{"unreachable"}}
	g.Run(t)
}

// TestWithoutStd holds a plugin that is #![no_std] to the ABI.
func TestWithoutStd(t *testing.T) {
	toolchain(t)
	module := compile(t, filepath.Join(crate(t), "testdata", "nostd"))
	hosttest.Run(t, module, hosttest.Options{
		Events: hosttest.Payloads([]byte(`{"mag":5.3}`), []byte(`{"mag":0.3}`), []byte("no JSON")), Steady: 20_000,
	})
}

func compile(t *testing.T, dir string) []byte {
	t.Helper()
	var out strings.Builder
	module, err := build.Build(t.Context(), dir, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	content, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestSourceHoldsEveryFile(t *testing.T) {
	for _, dir := range []string{"src", "src/json", "examples"} {
		onDisk, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		inBinary, err := rust.Source.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		names := func(entries []os.DirEntry) (all []string) {
			for _, e := range entries {
				all = append(all, e.Name())
			}
			return all
		}
		if !slices.Equal(names(onDisk), names(inBinary)) {
			t.Errorf("%s: Source has %v, the folder %v", dir, names(inBinary), names(onDisk))
		}
	}
}
