// Command build compiles the built-in plugins into plugins/builtin/modules, each
// with its manifest, compressed, and notes the toolchain that did it. It runs from any folder of
// the module; with a folder as its argument it writes the modules there, as they
// are. They are reproducible: the same source and the same toolchain give the
// same bytes.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/wasmill/wasmill/plugins/manifest"
)

// flags are those of the compiler.
var flags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-buildmode=c-shared"}

func main() {
	out := ""
	if len(os.Args) > 1 {
		out = os.Args[1]
	}
	if err := run(out, out == ""); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(out string, pack bool) error {
	root, err := output(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/wasmill/wasmill"))
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	builtin := filepath.Join(root, "plugins", "builtin")
	if out == "" {
		out = filepath.Join(builtin, "modules")
	}
	if out, err = filepath.Abs(out); err != nil {
		return fmt.Errorf("find the output folder: %w", err)
	}
	version, err := output(exec.Command("go", "env", "GOVERSION"))
	if err != nil {
		return fmt.Errorf("ask for the version of Go: %w", err)
	}
	var mains []string
	for _, pattern := range []string{"*", "guest/*"} {
		found, err := filepath.Glob(filepath.Join(builtin, filepath.FromSlash(pattern), "main.go"))
		if err != nil {
			return fmt.Errorf("find the plugins: %w", err)
		}
		mains = append(mains, found...)
	}
	for _, file := range mains {
		dir := filepath.Dir(file)
		name := filepath.Base(dir)
		if name == "build" {
			continue
		}
		file := filepath.Join(out, name+".wasm")
		cmd := exec.Command("go", slices.Concat([]string{"build"}, flags, []string{"-o", file, "."})...)
		cmd.Dir = dir
		// Whatever the environment says about the build must not show in the bytes.
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWASM=", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
		if _, err := output(cmd); err != nil {
			return fmt.Errorf("compile %s: %w", name, err)
		}
		if err := label(file, name, version); err != nil {
			return fmt.Errorf("label %s: %w", name, err)
		}
		if pack {
			if err := compress(file); err != nil {
				return fmt.Errorf("compress %s: %w", name, err)
			}
		}
	}
	return os.WriteFile(filepath.Join(out, "TOOLCHAIN"), []byte(version+"\n"), 0o644)
}

// label writes the manifest of a module into it. A revision of the source would
// make the module another one with each commit; the version is the binary's.
func label(file, name, compiler string) error {
	module, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	labelled, err := manifest.Write(module, manifest.Manifest{
		Name: name, Language: "go", Compiler: compiler, SDK: "github.com/wasmill/wasmill", Flags: flags,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, labelled, 0o644)
}

// compress puts a compressed file in the place of one, unless the one that is
// there has the same content: another version of the library would give other
// bytes for it.
func compress(file string) error {
	module, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer d.Close()
	if packed, err := os.ReadFile(file + ".zst"); err == nil {
		if was, err := d.DecodeAll(packed, nil); err == nil && bytes.Equal(was, module) {
			return nil
		}
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	defer e.Close()
	return os.WriteFile(file+".zst", e.EncodeAll(module, nil), 0o644)
}

// output runs cmd and returns what it printed; its errors hold its complaints.
func output(cmd *exec.Cmd) (string, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	printed, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, complaints.String())
	}
	return strings.TrimSpace(string(printed)), nil
}
