package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
)

// Every command in the README's sh blocks works as written, in one shell, in
// an empty directory with a fresh home. (`make run` and `make test` are what CI
// itself runs.)
func TestReadmeCommands(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	blocks := 0
	for rest := string(readme); ; blocks++ {
		_, after, ok := strings.Cut(rest, "\n```sh\n")
		if !ok {
			break
		}
		block, tail, ok := strings.Cut(after, "\n```")
		if !ok {
			t.Fatal("a code block does not end")
		}
		for _, line := range strings.Split(block, "\n") {
			script.WriteString("echo '$ " + strings.ReplaceAll(line, "'", `'\''`) + "'\n")
			script.WriteString(runnable(line) + "\n")
			if line == "cd demo" { // the README's ports may be in use on this machine
				fmt.Fprintf(&script, "printf '\\n[server]\\nlisten = %q\\n[admin]\\nlisten = %q\\n' >> wasmill.toml\n", freeAddress(t), freeAddress(t))
			}
		}
		rest = tail
	}
	if blocks < 3 {
		t.Fatalf("only %d sh blocks found", blocks)
	}
	script.WriteString("kill -INT %1 && wait %1\n")

	dir := t.TempDir()
	bin := buildBinary(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String()) //nolint:gosec // the README is ours
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"HOME="+filepath.Join(dir, "home"), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"),
		"PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOCACHE="+goEnv(t, "GOCACHE"), "GOPROXY=off")
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"results.us", "not JSON", "dead-letter"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output does not mention %q:\n%s", want, out)
		}
	}
	t.Logf("%s", out)
}

// The pipeline that the README shows is one that validates.
func TestReadmePipeline(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "\n```toml\n")
	doc, _, ended := strings.Cut(after, "\n```")
	if !ok || !ended {
		t.Fatal("the README shows no pipeline")
	}
	file := filepath.Join(t.TempDir(), "wasmill.toml")
	module := filepath.Join(filepath.Dir(file), "plugins", "strong.wasm")
	if err := errors.Join(os.Mkdir(filepath.Dir(module), 0o750), os.WriteFile(module, nil, 0o600), os.WriteFile(file, []byte(doc), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(file); err != nil {
		t.Error(err)
	}
}

// runnable adds the waiting that a reader does by looking: a command in the
// background is ready when status answers, a rebuilt plugin when it is taken.
func runnable(line string) string {
	switch {
	case strings.HasSuffix(line, "&"):
		// A process group of its own, so that the interrupt reaches it.
		return "set -m; " + line + "\nset +m; for i in $(seq 600); do wasmill status >/dev/null 2>&1 && break; sleep 0.1; done"
	case strings.HasPrefix(line, "wasmill plugins history"):
		return "for i in $(seq 600); do " + line + " | grep -q active && [ \"$(" + line + " | wc -l)\" -ge 3 ] && break; sleep 0.1; done\n" + line
	case strings.HasPrefix(line, "wasmill dlq list"):
		return "for i in $(seq 600); do " + line + " | grep -q demo && break; sleep 0.1; done\n" + line
	case strings.HasPrefix(line, "sed -i ") && runtime.GOOS == "darwin":
		return strings.Replace(line, "sed -i", "sed -i ''", 1)
	default:
		return line
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output() //nolint:gosec // the go command
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
