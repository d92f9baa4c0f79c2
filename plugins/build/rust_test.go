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
	"github.com/wasmill/wasmill/plugins/manifest"
)

// rustPlugin is the least that a host loads, without the SDK.
const rustPlugin = `#[no_mangle]
pub extern "C" fn wasmill_abi_v1() -> i32 { 1 << 16 }
#[no_mangle]
pub extern "C" fn wasmill_buffer(_: i32) -> i32 { 0 }
#[no_mangle]
pub extern "C" fn wasmill_process(_: i32, _: i32) -> i64 { -1 }
`

const cargoToml = `[package]
name = "my-demo"
version = "1.2.3"
edition = "2021"
[lib]
crate-type = ["cdylib"]
`

// language returns the language of that name, and skips the test when its
// toolchain is not here.
func language(t *testing.T, name string) *build.Language {
	t.Helper()
	for _, l := range build.Languages() {
		if l.Name == name {
			if _, err := l.Toolchain(t.Context()); err != nil {
				t.Skip(err)
			}
			return l
		}
	}
	t.Fatalf("there is no language %s", name)
	return nil
}

func TestRust(t *testing.T) {
	language(t, "rust")
	dir := project(t, map[string]string{"Cargo.toml": cargoToml, "src/lib.rs": rustPlugin})
	source := filepath.Join(dir, "src", "lib.rs")
	write := func(t *testing.T, file, content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	module, err := build.Build(t.Context(), dir, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	first := read(t, module)
	if m, lies, err := manifest.Check([]byte(first), module); err != nil || len(lies) > 0 || m.Language != "rust" || m.Version != "1.2.3" || !strings.HasPrefix(m.Compiler, "rustc 1.") {
		t.Errorf("manifest is %+v, %v, %v", m, lies, err)
	}
	if out.Len() > 0 {
		t.Errorf("a build without a mistake prints %q", out.String())
	}

	t.Run("the compiler's messages are unchanged and the module stays", func(t *testing.T) {
		write(t, source, rustPlugin+"const X: i32 = \"\";\n")
		out.Reset()
		_, err := build.Build(t.Context(), dir, &out)
		var compile *build.CompileError
		if !errors.As(err, &compile) || compile.Dir != dir {
			t.Errorf("error is %v, want a CompileError of %s", err, dir)
		}
		for _, want := range []string{"error[E0308]: mismatched types\n", "--> src/lib.rs:7:16\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the compiler's message is not there unchanged:\n%s", out.String())
			}
		}
		if read(t, module) != first {
			t.Error("the module changed")
		}
	})

	t.Run("a crate that registers no plugin is told how", func(t *testing.T) {
		write(t, source, "pub fn nothing() {}\n")
		_, err := build.Build(t.Context(), dir, &out)
		var refused *build.ModuleError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "wasmill_abi_v1") || !strings.Contains(err.Error(), "wasmill::handler!") {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("a library that cannot be loaded is told how", func(t *testing.T) {
		write(t, source, rustPlugin)
		write(t, filepath.Join(dir, "Cargo.toml"), strings.Replace(cargoToml, "cdylib", "rlib", 1))
		_, err := build.Build(t.Context(), dir, &out)
		var refused *build.ModuleError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), `crate-type = ["cdylib"]`) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestRustToolchain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the compilers of this test are shell scripts")
	}
	dir := project(t, map[string]string{"Cargo.toml": cargoToml, "src/lib.rs": rustPlugin})
	refused := func(t *testing.T, says ...string) {
		t.Helper()
		_, err := build.Build(t.Context(), dir, nil)
		var toolchain *build.ToolchainError
		if !errors.As(err, &toolchain) {
			t.Fatalf("error is %v, want a ToolchainError", err)
		}
		for _, s := range append(says, "building a plugin in Rust needs rustc 1.63 or newer", "rustup target add wasm32-unknown-unknown") {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("error %q does not say %q", err, s)
			}
		}
	}
	fake := func(t *testing.T, script string) string {
		t.Helper()
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "rustc"), []byte("#!/bin/sh\n"+script), 0o755); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		return bin
	}
	path := func(t *testing.T, bins ...string) {
		t.Helper()
		t.Setenv("RUSTC", "")
		t.Setenv("PATH", strings.Join(bins, string(os.PathListSeparator)))
	}
	const there = "case $1 in --version) echo rustc 1.80.0;; *) echo /;; esac\n"

	t.Run("no rustc on PATH", func(t *testing.T) {
		path(t, t.TempDir())
		refused(t, "there is no rustc on PATH")
	})
	t.Run("one that is too old and one without the target", func(t *testing.T) {
		old, without := fake(t, "echo rustc 1.62.1"), fake(t, "case $1 in --version) echo rustc 1.80.0;; *) echo /nowhere;; esac")
		path(t, old, without)
		refused(t, filepath.Join(old, "rustc")+" is rustc 1.62.1", filepath.Join(without, "rustc")+" is rustc 1.80.0 without that target")
	})
	t.Run("one that does not work", func(t *testing.T) {
		path(t, fake(t, "echo no toolchain is installed >&2; exit 1"))
		refused(t, "no toolchain is installed")
	})
	t.Run("no cargo", func(t *testing.T) {
		path(t, fake(t, there))
		refused(t, "there is no cargo for ")
	})
}
