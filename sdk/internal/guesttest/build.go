package guesttest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
)

// Build builds a plugin of these files as its author does, with the SDK that source
// holds in the folder sdk beside it. It skips the test when this machine has no
// toolchain of the language.
func Build(t testing.TB, language string, source fs.FS, sdk string, files ...string) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "guest")
	if err := os.CopyFS(filepath.Join(dir, sdk), source); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	Toolchain(t, language)
	var out bytes.Buffer
	b := build.Builder{Out: &out}
	module, err := b.Build(t.Context(), dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if out.Len() > 0 {
		t.Errorf("the compiler has something to say:\n%s", out.String())
	}
	content, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Toolchain skips the test when this machine cannot build plugins in a language.
func Toolchain(t testing.TB, language string) {
	t.Helper()
	for _, l := range build.Languages() {
		if l.Name != language {
			continue
		}
		if _, err := l.Toolchain(t.Context()); err != nil {
			t.Skip(err)
		}
		return
	}
	t.Fatalf("there is no language %s", language)
}
