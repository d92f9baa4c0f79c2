package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The commands in the README of each example work as written, with the real
// binary, in a copy of its directory. (`make run` is the one of the earthquakes.)
func TestExampleCommands(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	bin, cache := buildBinary(t), t.TempDir() // the examples share plugins, which are compiled once
	for name, wants := range map[string][]string{
		"flights":     {"wasmill.toml is valid", "hubs.atlanta", `"from":"SEA"`},
		"webhooks":    {"wasmill.toml is valid", "commits.hello-world", `"starred_at"`},
		"access-logs": {"wasmill.toml is valid", "requests failed, most at /v1/stock", `"host":"api.shop.example","from":"2018-02-06T18:11:00Z"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "examples", name))); err != nil {
				t.Fatal(err)
			}
			asModule(t, dir)
			atFreePorts(t, filepath.Join(dir, "wasmill.toml"))
			readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(readme), "\n```sh\n")
			block, _, ok := strings.Cut(after, "\n```")
			if !ok {
				t.Fatal("the README has no commands")
			}
			script := "set -euo pipefail\n"
			for _, line := range strings.Split(block, "\n") {
				script += runnable(line) + "\n"
			}
			script += "kill -INT %1 && wait %1\n"
			cmd := exec.CommandContext(t.Context(), "bash", "-c", script) //nolint:gosec // the README is ours
			cmd.Dir = dir
			cmd.Env = append(os.Environ(),
				"HOME="+filepath.Join(dir, "home"), "XDG_CACHE_HOME="+cache,
				"PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
				"GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOPROXY=off", "GOFLAGS=-mod=mod")
			cmd.Cancel = func() error { return cmd.Process.Kill() }
			cmd.WaitDelay = 10 * time.Second
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range wants {
				if !strings.Contains(string(out), want) {
					t.Errorf("the output does not mention %q:\n%s", want, out)
				}
			}
		})
	}
}

// asModule makes a Go module of a directory that uses the packages of this one.
func asModule(t *testing.T, dir string) {
	t.Helper()
	root := moduleRootDir(t)
	mod := fmt.Sprintf("module example\n\ngo 1.26.0\n\nrequire github.com/wasmill/wasmill v0.0.0\n\nreplace github.com/wasmill/wasmill => %s\n", root)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600); err != nil {
		t.Fatal(err)
	}
}

func moduleRootDir(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// atFreePorts gives a configuration addresses that nothing else uses.
func atFreePorts(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("127.0.0.1:4222", freeAddress(t), "127.0.0.1:7422", freeAddress(t)).Replace(string(b))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
