package c_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wasmill/wasmill/sdk/internal/guesttest"
)

func compile(t *testing.T, file string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.CommandContext(t.Context(), "clang", "--target=wasm32", "-nostdlib", "-O2", "-mbulk-memory", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.", "-Wl,--no-entry", "-Wl,--strip-debug", "-o", out, file)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", file, err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestGuest(t *testing.T) {
	g := guesttest.Guest{Module: compile(t, "testdata/guest.c"), Panic: []string{"handle (guest.c:"}, Trap: []string{"unreachable"}}
	g.Run(t)
}
