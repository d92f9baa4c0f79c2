package builtin_test

import (
	"bytes"
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
	if got := slices.Sorted(maps.Keys(modules)); !slices.Equal(got, []string{"pass", "threshold"}) {
		t.Errorf("there are %v", got)
	}
	for name, m := range modules {
		if !bytes.HasPrefix(m, []byte("\x00asm\x01\x00\x00\x00")) {
			t.Errorf("%s is not a WebAssembly module", name)
		}
	}
	clear(modules)
	if len(builtin.Modules()) == 0 {
		t.Error("the map is not the caller's own")
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
	for name, committed := range builtin.Modules() {
		built, err := os.ReadFile(filepath.Join(dir, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, committed) {
			t.Errorf("%s.wasm is not what its source compiles to: run go generate ./plugins/builtin", name)
		}
	}
}
