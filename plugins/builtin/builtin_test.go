package builtin_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/builtin"
)

func TestModules(t *testing.T) {
	modules := builtin.Modules()
	if got := slices.Sorted(maps.Keys(modules)); !slices.Equal(got, builtin.Names()) || len(got) != 9 {
		t.Errorf("there are %v and the names %v", got, builtin.Names())
	}
	for name, read := range modules {
		m, err := read()
		if err != nil || !bytes.HasPrefix(m, []byte("\x00asm\x01\x00\x00\x00")) {
			t.Errorf("%s is not a WebAssembly module: %v", name, err)
		}
		if s := builtin.Summary(name); len(s) < 20 || strings.ContainsAny(s, "\n`*") {
			t.Errorf("%s says of itself %q", name, s)
		}
	}
	for _, unknown := range []string{"", "nothing", "expressions", "../modules/pass"} {
		if _, err := builtin.Module(unknown); !errors.Is(err, builtin.ErrUnknown) {
			t.Errorf("the module of %q: %v", unknown, err)
		}
		if _, err := builtin.Doc(unknown); !errors.Is(err, builtin.ErrUnknown) {
			t.Errorf("the documentation of %q: %v", unknown, err)
		}
	}
}

// TestModulesAreReproducible compiles the plugins again and compares the bytes:
// what is committed is what the source says.
func TestModulesAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the plugins")
	}
	// The go command fetches another toolchain than the local one like a module.
	pinned := append(os.Environ(), "GOTOOLCHAIN="+builtin.Toolchain())
	version := exec.CommandContext(t.Context(), "go", "env", "GOVERSION")
	version.Env = pinned
	if out, err := version.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != builtin.Toolchain() {
		text := "the modules were compiled with " + builtin.Toolchain() + ", which is not to be had: " + strings.TrimSpace(string(out))
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "run", "./build", dir)
	build.Env = pinned
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	seen := map[string]bool{}
	for name, read := range builtin.Modules() {
		committed, err := read()
		if err != nil {
			t.Fatal(err)
		}
		file := builtin.ModuleOf(name)
		built, err := os.ReadFile(filepath.Join(dir, file+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, committed) {
			t.Errorf("%s.wasm is not what its source compiles to: run go generate ./plugins/builtin", file)
		}
		seen[file] = true
	}
	if all, err := filepath.Glob(filepath.Join(dir, "*.wasm")); err != nil || len(all) != len(seen) {
		t.Errorf("%v were built, %v are used: %v", all, seen, err)
	}
}
