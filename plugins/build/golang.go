package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// oldestGo is the release that the SDK asks for.
const oldestGo = "go1.26"

var golang = &Language{
	Name: "go", Title: "Go",
	needs:    "Go " + oldestGo[2:] + " or newer",
	get:      "install it from https://go.dev/dl",
	register: "a plugin is a main package that calls sdk.Handle, sdk.HandleOpen or sdk.HandleConfig of github.com/wasmill/wasmill/sdk in an init function",
	signs:    []string{"*.go"},
	find:     findGo,
}

// findGo returns a go command that is able to build the module in dir.
func findGo(ctx context.Context, l *Language, dir string) (*Toolchain, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, l.missing("go", "there is no go command on PATH", err)
	}
	gocmd := tool{path: path, dir: dir}
	answer, err := gocmd.ask(ctx, "env", "GOVERSION", "GOMOD")
	if err != nil {
		return nil, err
	}
	have, mod, _ := strings.Cut(answer, "\n")
	found := &Toolchain{Path: path, Version: have, flags: goFlags(), compile: func(ctx context.Context, dir, file string, out io.Writer) error {
		return buildGo(ctx, path, dir, file, out)
	}}
	found.sdk = func(ctx context.Context) string { return goSDK(ctx, gocmd) }
	release, _, _ := strings.Cut(have, " ") // "go1.26.1 X:…" with experiments
	if !version.IsValid(release) {
		return found, nil // a development version
	}
	need, what := oldestGo, "a plugin in Go"
	if dir != "" && filepath.Base(mod) == "go.mod" {
		what = "the plugin in " + dir
		if asked := askedFor(ctx, path, mod); version.Compare(asked, need) > 0 {
			need = asked
		}
	}
	if version.Compare(release, need) < 0 {
		return nil, &ToolchainError{
			Tool: "go", Err: errors.ErrUnsupported,
			Message: fmt.Sprintf("building %s needs Go %s or newer; %s is %s: update it from https://go.dev/dl", what, need[2:], path, have),
		}
	}
	return found, nil
}

// buildGo compiles the main package in dir to the module file.
func buildGo(ctx context.Context, path, dir, file string, out io.Writer) error {
	gocmd := tool{path: path, dir: dir, env: []string{"GOOS=wasip1", "GOARCH=wasm"}}
	return gocmd.compile(ctx, out, nil, slices.Concat([]string{"build"}, goFlags(), []string{"-o", file, "."})...)
}

func goFlags() []string {
	return []string{
		"-trimpath", "-ldflags=-w",
		"-buildmode=c-shared", // a reactor: it exports functions and has no _start
		"-buildvcs=false",     // the same source is the same module, whatever the commit
	}
}

// goSDK says which SDK the module that gocmd works in has: "" when it speaks the
// ABI by itself, without a version in the SDK's own repository.
func goSDK(ctx context.Context, gocmd tool) string {
	const sdk = "github.com/wasmill/wasmill"
	version, err := gocmd.ask(ctx, "list", "-m", "-f", "{{if .Replace}}copy{{else}}{{.Version}}{{end}}", sdk)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(sdk + " " + version)
}

// askedFor returns the version in the go line of a go.mod, "" when it cannot be
// read: the compiler will say why.
func askedFor(ctx context.Context, path, mod string) string {
	answer, err := tool{path: path, dir: filepath.Dir(mod)}.ask(ctx, "mod", "edit", "-json", mod)
	if err != nil {
		return ""
	}
	var parsed struct{ Go string }
	if json.Unmarshal([]byte(answer), &parsed) != nil || parsed.Go == "" {
		return ""
	}
	return "go" + parsed.Go
}
