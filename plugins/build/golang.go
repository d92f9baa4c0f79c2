package build

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// oldestGo is the first release whose compiler knows //go:wasmexport and
// builds reactor modules.
const oldestGo = "go1.24"

// buildGo compiles the main package in dir to the module file.
func buildGo(ctx context.Context, dir, file string, out io.Writer) error {
	tool, err := findGo(ctx, dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool, "build",
		"-trimpath", "-ldflags=-w",
		"-buildmode=c-shared", // a reactor: it exports functions and has no _start
		"-buildvcs=false",     // the same source is the same module, whatever the commit
		"-o", file, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build %s: %w", dir, ctx.Err())
		}
		return &CompileError{Dir: dir, Err: err}
	}
	return nil
}

// findGo returns the path of a go command that is able to build the module in dir.
func findGo(ctx context.Context, dir string) (string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", &ToolchainError{
			Tool: "go", Err: err,
			Message: "building a Go plugin needs Go " + oldestGo[2:] + " or newer, and there is no go command on PATH: install it from https://go.dev/dl",
		}
	}
	answer, err := ask(ctx, tool, dir, "env", "GOVERSION", "GOMOD")
	if err != nil {
		return "", err
	}
	have, mod, _ := strings.Cut(answer, "\n")
	release, _, _ := strings.Cut(have, " ") // "go1.26.1 X:…" with experiments
	if !version.IsValid(release) {
		return tool, nil // a development version
	}
	need := oldestGo
	if filepath.Base(mod) == "go.mod" {
		if asked := askedFor(ctx, tool, mod); version.Compare(asked, need) > 0 {
			need = asked
		}
	}
	if version.Compare(release, need) < 0 {
		return "", &ToolchainError{
			Tool: "go", Err: errors.ErrUnsupported,
			Message: fmt.Sprintf("building the plugin in %s needs Go %s or newer; %s is %s: update it from https://go.dev/dl", dir, need[2:], tool, have),
		}
	}
	return tool, nil
}

// askedFor returns the version in the go line of a go.mod, "" when it cannot be
// read: the compiler will say why.
func askedFor(ctx context.Context, tool, mod string) string {
	answer, err := ask(ctx, tool, filepath.Dir(mod), "mod", "edit", "-json", mod)
	if err != nil {
		return ""
	}
	var parsed struct{ Go string }
	if json.Unmarshal([]byte(answer), &parsed) != nil || parsed.Go == "" {
		return ""
	}
	return "go" + parsed.Go
}

// ask runs the go command in dir and returns what it printed, trimmed.
func ask(ctx context.Context, tool, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("ask %s for its version: %w", tool, ctx.Err())
		}
		// With GOTOOLCHAIN=auto every subcommand fails in a module that wants a
		// newer release which cannot be downloaded.
		return "", &ToolchainError{
			Tool: "go", Err: err,
			Message: fmt.Sprintf("%s does not work in %s: %s", tool, dir, cmp.Or(strings.TrimSpace(stderr.String()), err.Error())),
		}
	}
	return strings.TrimSpace(stdout.String()), nil
}
