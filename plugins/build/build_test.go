package build_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
)

// plugin is the least that a host loads: the ABI by hand, without the SDK.
const plugin = `package main

//go:wasmexport wasmill_abi_v1
func abi() int32 { return 1 << 16 }

//go:wasmexport wasmill_buffer
func buffer(int32) int32 { return 0 }

//go:wasmexport wasmill_process
func process(int32, int32) int64 { return -1 }

func main() {}
`

const goMod = "module example.com/p\n\ngo 1.26\n"

// project writes files, by slash-separated path, to a new directory.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	for name, content := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// noLeftovers fails when dir holds a temporary file.
func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	if found, _ := filepath.Glob(filepath.Join(dir, ".*")); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

func TestBuild(t *testing.T) {
	t.Run("puts the module beside the source, under the directory's name", func(t *testing.T) {
		dir := project(t, map[string]string{"go.mod": goMod, "main.go": plugin})
		var out bytes.Buffer
		module, err := build.Build(t.Context(), dir, &out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if want := filepath.Join(dir, "demo.wasm"); module != want {
			t.Errorf("module is %s, want %s", module, want)
		}
		if content := read(t, module); !strings.HasPrefix(content, "\x00asm") {
			t.Errorf("module begins with %q", content[:4])
		}
		if info, err := os.Stat(module); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("mode is %v (%v), want 0644 for others to read", info.Mode(), err)
		}
		noLeftovers(t, dir)

		t.Run("and the same source gives the same module", func(t *testing.T) {
			first := read(t, module)
			if _, err := build.Build(t.Context(), dir, &out); err != nil {
				t.Fatal(err)
			}
			if read(t, module) != first {
				t.Error("two builds differ")
			}
		})

		t.Run("and source that does not compile leaves it alone", func(t *testing.T) {
			first := read(t, module)
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(plugin+"\nvar x int = \"\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			out.Reset()
			_, err := build.Build(t.Context(), dir, &out)
			var compile *build.CompileError
			if !errors.As(err, &compile) || compile.Dir != dir {
				t.Errorf("error is %v, want a CompileError of %s", err, dir)
			}
			if want := "./main.go:14:13: cannot use \"\" (untyped string constant) as int value in variable declaration\n"; !strings.Contains(out.String(), want) {
				t.Errorf("the compiler's message is not there unchanged:\n%s", out.String())
			}
			if read(t, module) != first {
				t.Error("the module changed")
			}
			noLeftovers(t, dir)
		})

		t.Run("and source that is no plugin leaves it alone", func(t *testing.T) {
			first := read(t, module)
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := build.Build(t.Context(), dir, &out)
			var refused *build.ModuleError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "wasmill_abi_v1") || !strings.Contains(err.Error(), "calls sdk.Handle") {
				t.Errorf("error is %v, want a ModuleError that names the missing export and what makes it", err)
			}
			if read(t, module) != first {
				t.Error("the module changed")
			}
			noLeftovers(t, dir)
		})
	})

	t.Run("puts the module where the wasmill.toml above names it", func(t *testing.T) {
		dir := project(t, map[string]string{
			"go.mod":                 goMod,
			"wasmill.toml":           "[plugins.x]\npath = \"plugins/strong.wasm\"\n",
			"plugins/strong/main.go": plugin,
		})
		module, err := build.Build(t.Context(), filepath.Join(dir, "plugins", "strong"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(dir, "plugins", "strong.wasm"); module != want {
			t.Errorf("module is %s, want %s", module, want)
		}
	})

	t.Run("refuses a directory without source", func(t *testing.T) {
		dir := project(t, map[string]string{"README.md": "nothing"})
		if _, err := build.Build(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "no plugin source in "+dir) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("says which language it cannot build", func(t *testing.T) {
		dir := project(t, map[string]string{"plugin.py": ""})
		if _, err := build.Build(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "written in Python, which") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAll(t *testing.T) {
	t.Run("builds every plugin that has its source beside its module", func(t *testing.T) {
		dir := project(t, map[string]string{
			"go.mod": goMod,
			"wasmill.toml": `[plugins.a]
path = "plugins/a.wasm"
[plugins.a-again]
path = "plugins/a.wasm"
[plugins.b]
path = "plugins/b.wasm"
[plugins.elsewhere]
path = "modules/elsewhere.wasm"
[plugins.ready]
builtin = "pass"
`,
			"plugins/a/main.go": plugin, "plugins/b/main.go": plugin, "notes.py": "",
		})
		var b build.Builder
		modules, err := b.All(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{filepath.Join(dir, "plugins", "a.wasm"), filepath.Join(dir, "plugins", "b.wasm")}
		if strings.Join(modules, "\n") != strings.Join(want, "\n") {
			t.Errorf("built %q, want %q", modules, want)
		}
	})

	t.Run("builds the one plugin of a directory without a wasmill.toml", func(t *testing.T) {
		dir := project(t, map[string]string{"go.mod": goMod, "main.go": plugin})
		var b build.Builder
		modules, err := b.All(t.Context(), dir)
		if err != nil || len(modules) != 1 || modules[0] != filepath.Join(dir, "demo.wasm") {
			t.Errorf("built %q, %v", modules, err)
		}
	})

	t.Run("reports a wasmill.toml that is not TOML", func(t *testing.T) {
		dir := project(t, map[string]string{"wasmill.toml": "[plugins", "main.go": plugin})
		var b build.Builder
		if _, err := b.All(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "wasmill.toml") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestToolchain(t *testing.T) {
	dir := project(t, map[string]string{"go.mod": goMod, "main.go": plugin})
	refused := func(t *testing.T, dir string, says ...string) {
		t.Helper()
		_, err := build.Build(t.Context(), dir, nil)
		var toolchain *build.ToolchainError
		if !errors.As(err, &toolchain) {
			t.Fatalf("error is %v, want a ToolchainError", err)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("error %q does not say %q", err, s)
			}
		}
	}

	t.Run("no Go on PATH", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		refused(t, dir, "no go command on PATH", "https://go.dev/dl")
	})

	t.Run("a Go that is too old", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("the old Go of this test is a shell script")
		}
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\necho go1.21.13\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin)
		refused(t, dir, "needs Go 1.26 or newer", "go1.21.13")
	})

	t.Run("a Go that is too old for the plugin's module", func(t *testing.T) {
		t.Setenv("GOTOOLCHAIN", "local")
		newer := project(t, map[string]string{"go.mod": "module example.com/p\n\ngo 1.999\n", "main.go": plugin})
		refused(t, newer, newer, "1.999")
	})
}
