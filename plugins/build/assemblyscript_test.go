package build_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/sdk/assemblyscript"
)

// colors are what the compiler paints with where CI is set.
var colors = regexp.MustCompile("\x1b\\[[0-9;]*m")

const assemblyPlugin = `import { Event, Out, Outcome, handle } from "wasmill";

handle((e: Event, out: Out): Outcome => {
  console.log("printed");
  return Outcome.Drop;
});
`

func TestAssemblyScript(t *testing.T) {
	language(t, "assemblyscript")
	// The SDK lies above the plugin, as in a project of several.
	root := project(t, map[string]string{"plugins/small/main.ts": assemblyPlugin, "plugins/small/package.json": `{"version":"1.2.3"}`})
	dir := filepath.Join(root, "plugins", "small")
	if err := os.CopyFS(filepath.Join(root, ".wasmill", "assemblyscript", "wasmill"), assemblyscript.Source); err != nil {
		t.Fatal(err)
	}
	write := func(t *testing.T, file, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	module, err := build.Build(t.Context(), dir, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	first := read(t, module)
	m, lies, err := manifest.Check([]byte(first), module)
	if err != nil || len(lies) > 0 || m.Language != "assemblyscript" || m.Version != "1.2.3" || m.SDK != "wasmill 1.0.0" || !strings.HasPrefix(m.Compiler, "AssemblyScript 0.") {
		t.Errorf("manifest is %+v, %v, %v", m, lies, err)
	}
	if out.Len() > 0 {
		t.Errorf("a build without a mistake prints %q", out.String())
	}

	t.Run("the compiler's messages are unchanged and the module stays", func(t *testing.T) {
		write(t, "main.ts", assemblyPlugin+"let x: i32 = \"\";\n")
		out.Reset()
		_, err := build.Build(t.Context(), dir, &out)
		var compile *build.CompileError
		if !errors.As(err, &compile) || compile.Dir != dir {
			t.Errorf("error is %v, want a CompileError of %s", err, dir)
		}
		for _, want := range []string{"ERROR TS2322: Type '~lib/string/String' is not assignable to type 'i32'.\n", "└─ in plugins/small/main.ts(7,14)"} {
			if !strings.Contains(colors.ReplaceAllString(out.String(), ""), want) {
				t.Errorf("the compiler's message is not there unchanged:\n%s", out.String())
			}
		}
		if read(t, module) != first {
			t.Error("the module changed")
		}
	})

	t.Run("a compiler that is kept makes the same module, and says the same", func(t *testing.T) {
		refused := out.String()
		kept := build.Builder{Out: &out, Keep: true}
		defer func() {
			if err := kept.Close(); err != nil {
				t.Error(err)
			}
		}()
		write(t, "main.ts", assemblyPlugin)
		if err := kept.WarmUp(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if read(t, module) != first {
			t.Error("to warm the compiler up changed the module")
		}
		write(t, "main.ts", assemblyPlugin+"let x: i32 = \"\";\n")
		out.Reset()
		_, err := kept.Build(t.Context(), dir)
		var compile *build.CompileError
		if !errors.As(err, &compile) || compile.Dir != dir || out.String() != refused {
			t.Errorf("error is %v and the message, instead of %q, %q", err, refused, out.String())
		}
		out.Reset()
		write(t, "main.ts", strings.Replace(assemblyPlugin, "printed", "written", 1))
		if _, err := kept.Build(t.Context(), dir); err != nil || out.Len() > 0 || read(t, module) == first {
			t.Errorf("error is %v, the compiler printed %q, or the module did not change", err, out.String())
		}
		write(t, "main.ts", assemblyPlugin)
		if _, err := kept.Build(t.Context(), dir); err != nil || read(t, module) != first {
			t.Errorf("error is %v, or the module is another one", err)
		}

		t.Run("what a build that is given up leaves does not matter to the next", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := kept.Build(ctx, dir); !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			if _, err := kept.Build(t.Context(), dir); err != nil || read(t, module) != first {
				t.Errorf("error is %v, or the module is another one", err)
			}
		})

		t.Run("a change of a transform counts", func(t *testing.T) {
			write(t, "asconfig.json", `{"options":{"transform":["./say.mjs"]}}`)
			defer os.Remove(filepath.Join(dir, "asconfig.json"))
			for _, word := range []string{"one", "two"} {
				write(t, "say.mjs", `export default class { afterParse() { console.log("`+word+`"); } }`)
				out.Reset()
				if _, err := kept.Build(t.Context(), dir); err != nil || out.String() != word+"\n" {
					t.Errorf("error is %v and the compiler printed %q, want %q", err, out.String(), word)
				}
			}
		})
	})

	t.Run("several files of which none is main", func(t *testing.T) {
		write(t, "a.ts", "")
		if err := os.Rename(filepath.Join(dir, "main.ts"), filepath.Join(dir, "b.ts")); err != nil {
			t.Fatal(err)
		}
		if _, err := build.Build(t.Context(), dir, &out); err == nil || !strings.Contains(err.Error(), "has 2 files of source and none of them is main.ts") {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("a plugin without the SDK is told where to get it", func(t *testing.T) {
		alone := project(t, map[string]string{"main.ts": assemblyPlugin})
		_, err := build.Build(t.Context(), alone, &out)
		var refused *build.ModuleError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "wasmill new plugin NAME --lang assemblyscript") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAssemblyScriptToolchain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands of this test are shell scripts")
	}
	for _, c := range []struct {
		name, node, version string
		says                []string
	}{
		{"no node", "", "", []string{"there is no node command on PATH", "https://nodejs.org"}},
		{"a node that is too old", "echo v16.20.2", "", []string{"is v16.20.2", "Node.js 20 or newer"}},
		{"no compiler", "echo v22.1.0", "", []string{"there is no AssemblyScript in ", "nor on PATH: run `npm install` in the plugin's directory"}},
		{"a compiler that is too old", "echo v22.1.0", "0.19.23", []string{"asc.js is 0.19.23", "AssemblyScript 0.28 or newer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := project(t, map[string]string{"main.ts": ""})
			if c.version != "" {
				pkg := filepath.Join(dir, "node_modules", "assemblyscript")
				if err := os.MkdirAll(filepath.Join(pkg, "bin"), 0o755); err != nil {
					t.Fatal(err)
				}
				for file, content := range map[string]string{"bin/asc.js": "", "package.json": `{"version":"` + c.version + `"}`} {
					if err := os.WriteFile(filepath.Join(pkg, file), []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			bin := t.TempDir()
			if c.node != "" {
				if err := os.WriteFile(filepath.Join(bin, "node"), []byte("#!/bin/sh\n"+c.node+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
			_, err := build.Build(t.Context(), dir, nil)
			var toolchain *build.ToolchainError
			if !errors.As(err, &toolchain) {
				t.Fatalf("error is %v, want a ToolchainError", err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
		})
	}
}
