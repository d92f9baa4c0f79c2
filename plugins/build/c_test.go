package build_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/sdk/c"
)

// cPlugin counts in C++, to show that constructors run once.
const cPlugin = `#include "wasmill.h"

struct Start {
    int n;
    Start() : n(LIMIT) {}
};
static Start start;
int helper(void);
static wm_outcome handle(const wm_event *, wm_out *out) {
    wm_pass(out);
    return start.n + helper() > 0 ? WM_DONE : WM_DROP;
}
WM_HANDLE(handle);
`

func TestC(t *testing.T) {
	language(t, "c")
	dir := project(t, map[string]string{"main.cpp": cPlugin, "helper.c": "int helper(void);\nint helper(void) { return 1; }\n", "compile_flags.txt": "# flags\n-DLIMIT=3\n-Wall\n-Wextra\n"})
	if err := os.CopyFS(filepath.Join(dir, ".wasmill", "c"), c.Source); err != nil {
		t.Fatal(err)
	}
	rewrite := func(t *testing.T, file, from, to string) {
		t.Helper()
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, []byte(strings.Replace(read(t, file), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// C++ and C do not share names of functions.
	rewrite(t, "main.cpp", "int helper(void);", `extern "C" int helper(void);`)

	var out bytes.Buffer
	module, err := build.Build(t.Context(), dir, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	first := read(t, module)
	m, lies, err := manifest.Check([]byte(first), module)
	if err != nil || len(lies) > 0 || m.Language != "c" || m.SDK != "wasmill.h 1.0.0" || m.Compiler == "" {
		t.Errorf("manifest is %+v, %v, %v", m, lies, err)
	}
	if out.Len() > 0 {
		t.Errorf("a build without a mistake prints %q", out.String())
	}

	t.Run("the compiler's messages are unchanged and the module stays", func(t *testing.T) {
		rewrite(t, "helper.c", "return 1", "return one")
		out.Reset()
		_, err := build.Build(t.Context(), dir, &out)
		var compile *build.CompileError
		if !errors.As(err, &compile) || compile.Dir != dir {
			t.Errorf("error is %v, want a CompileError of %s", err, dir)
		}
		if want := "helper.c:2:27: error: use of undeclared identifier 'one'\n"; !strings.HasPrefix(out.String(), want) {
			t.Errorf("the compiler's message is not there unchanged:\n%s", out.String())
		}
		if read(t, module) != first {
			t.Error("the module changed")
		}
		rewrite(t, "helper.c", "return one", "return 1")
	})

	t.Run("a function that is nowhere is the linker's to name", func(t *testing.T) {
		rewrite(t, "helper.c", "int helper(void) {", "int other(void) {")
		out.Reset()
		_, err := build.Build(t.Context(), dir, &out)
		var compile *build.CompileError
		if !errors.As(err, &compile) || !strings.Contains(out.String(), "undefined symbol: helper") {
			t.Errorf("error is %v:\n%s", err, out.String())
		}
		rewrite(t, "helper.c", "int other(void) {", "int helper(void) {")
	})

	t.Run("source that registers no plugin is told how", func(t *testing.T) {
		rewrite(t, "main.cpp", "WM_HANDLE(handle);", "wm_guest wm_self; int unused() { return handle(0, 0); }")
		_, err := build.Build(t.Context(), dir, &out)
		var refused *build.ModuleError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "WM_HANDLE") {
			t.Errorf("error is %v", err)
		}
	})
}

// zig is clang under another name, with another name for the target, and refuses
// the one that editors want in the file of flags.
func TestZig(t *testing.T) {
	language(t, "c")
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip("zig is played by a clang of that very name: ", err)
	}
	dir := project(t, map[string]string{"main.cpp": strings.Replace(cPlugin, " + helper()", "", 1), "compile_flags.txt": "--target=wasm32\n-DLIMIT=3\n"})
	if err := os.CopyFS(filepath.Join(dir, ".wasmill", "c"), c.Source); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = version ] && echo 0.17.1 && exit
[ "$1 $2 $3" = "cc -target wasm32-freestanding" ] && shift 3 || exit 1
case "$*" in *--target*) echo "unable to parse target query" >&2; exit 1;; esac
PATH=%q exec %q --target=wasm32 "$@"
`, os.Getenv("PATH"), clang)
	if err := os.WriteFile(filepath.Join(bin, "zig"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	var out bytes.Buffer
	module, err := build.Build(t.Context(), dir, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	m, lies, err := manifest.Check([]byte(read(t, module)), module)
	if err != nil || len(lies) > 0 || !strings.HasPrefix(m.Compiler, "zig 0.17.1") {
		t.Errorf("manifest is %+v, %v, %v", m, lies, err)
	}
}

func TestCToolchain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the compilers of this test are shell scripts")
	}
	dir := project(t, map[string]string{"main.c": ""})
	refused := func(t *testing.T, says ...string) {
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
	for _, c := range []struct{ name, clang, says string }{
		{"no clang", "", "there is no clang and no zig on PATH: on Debian and Ubuntu `apt-get install clang lld`"},
		{"a clang that is too old", `echo clang version 7.0.1`, "is clang version 7.0.1"},
		{"a clang for other machines", `case $1 in --version) echo Apple clang version 17.0.0;; *) echo x86-64;; esac`, "without the target wasm32"},
		{"a clang without a linker", `case $1 in --version) echo clang version 14.0.6;; --print-targets) echo wasm32;; *) echo wasm-ld;; esac`, "finds no wasm-ld"},
		{"a clang that does not start", `echo no libraries >&2; exit 1`, "does not work: no libraries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			if c.clang != "" {
				if err := os.WriteFile(filepath.Join(bin, "clang"), []byte("#!/bin/sh\n"+c.clang+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
			refused(t, c.says, "clang 11 or newer")
		})
	}
}
