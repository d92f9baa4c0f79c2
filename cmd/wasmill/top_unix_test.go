//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wasmill/wasmill/runtime/status"
)

// emulated is a command in a terminal that draws what it writes.
type emulated struct {
	t        *testing.T
	cmd      *exec.Cmd
	file     *os.File
	screen   *vt.SafeEmulator
	drawn    chan struct{} // closed when the command has ended and all is drawn
	answered sync.WaitGroup
}

func emulate(t *testing.T, cmd *exec.Cmd, columns, rows int) *emulated {
	t.Helper()
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)}) //nolint:gosec // they are small
	if err != nil {
		t.Fatal(err)
	}
	e := &emulated{t: t, cmd: cmd, file: file, screen: vt.NewSafeEmulator(columns, rows), drawn: make(chan struct{})}
	go func() { // ends with the command, which closes its side
		defer close(e.drawn)
		_, _ = io.Copy(e.screen, file)
	}()
	e.answered.Go(func() { _, _ = io.Copy(file, e.screen) }) // what a terminal answers; ends when it is closed
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-e.drawn
		_ = e.screen.Close()
		_ = file.Close()
		e.answered.Wait()
	})
	return e
}

func (e *emulated) text() string { return ansi.Strip(e.screen.Render()) }

// until waits until the screen has every text, and none that begins with "!".
func (e *emulated) until(texts ...string) {
	e.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now := e.text()
		missing := ""
		for _, text := range texts {
			if not, ok := strings.CutPrefix(text, "!"); ok == strings.Contains(now, strings.TrimPrefix(text, "!")) {
				missing = fmt.Sprintf("%q (%s)", text, not)
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("in vain for %s on\n%s", missing, now)
		}
	}
}

func (e *emulated) press(keys string) {
	e.t.Helper()
	if _, err := e.file.WriteString(keys); err != nil {
		e.t.Fatal(err)
	}
}

// The screen in a real terminal, of an instance with a pipeline that works and
// one that does not.
func TestTop(t *testing.T) {
	dir := t.TempDir()
	toml := fmt.Sprintf(`
[server]
listen = %q
[admin]
listen = %q
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[plugins.strong]
builtin = "pass"
[pipelines.works]
from = "in"
filter = ["in.good"]
stages = ["strong"]
to = "out"
subject = "out.x"
[pipelines.broken]
from = "in"
filter = ["in.bad"]
stages = ["strong"]
to = "out"
subject = "out.{header.Where}"
on_failure = "halt"
retry = { attempts = 1 }
`, freeAddress(t), freeAddress(t))
	if err := os.WriteFile(filepath.Join(dir, "wasmill.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := linkBinary(t)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "WASMILL_CACHE="+filepath.Join(dir, "cache"), "TERM=xterm-256color")
		return cmd
	}
	run := command("run")
	out := &terminal{t: t}
	run.Stdout, run.Stderr = out, out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Process.Kill() })
	out.until(`ready in`)
	publish := func(subject, payload string) {
		t.Helper()
		if out, err := command("topics", "publish", "in", "--subject", subject, payload).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	top := command("top", "--every", "100ms")
	e := emulate(t, top, 80, 24)
	e.until("2 pipelines: ", ", ready, ", "PIPELINE", "STATE▾", "broken ", "works ", "q quit")
	publish("in.good", `{"mag":5}`)
	publish("in.bad", "no header")
	e.until("not ready", "> broken", "halted", `pipeline "broken" is halted`)
	e.press("/work")
	e.until("filter: work█ (1 of 2;", "> works", "!> broken")
	e.press("\r")
	e.until("filter: work (1 of 2)")
	e.press("\r")
	e.until("works: in → strong → out, at-least-once", "strong: in ")
	e.press("\x1b")
	e.until("!filter:", "> works", "  broken", "!strong: in ")
	e.press("\x1b[A")
	e.until("> broken")
	e.press("s")
	e.until("IN/S▾", "!STATE▾")
	e.press("SS") // to the one before
	e.until("PIPELINE▾")

	t.Run("the numbers are those of status", func(t *testing.T) {
		text, err := command("top", "--once", "--sort", "pipeline").Output()
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(string(text), "\n"); len(lines) != 5 || !strings.HasPrefix(lines[2], "broken") || !strings.HasPrefix(lines[3], "works") {
			t.Errorf("got\n%s", text)
		}
		var shown topped
		var whole status.Status
		for verb, v := range map[string]any{"top --once -o json": &shown, "status -o json": &whole} {
			text, err := command(strings.Fields(verb)...).Output()
			if err := errors.Join(err, json.Unmarshal(text, v)); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(topList(whole.Pipelines, "state", "", false), shown.Pipelines, cmpopts.IgnoreFields(status.Pipeline{}, "Rates", "EndToEnd", "StageStats", "Blocked")); d != "" || len(shown.Pipelines) != 2 {
			t.Errorf("(-status +top):\n%s", d)
		}
	})

	if err := pty.Setsize(e.file, &pty.Winsize{Rows: 30, Cols: 130}); err != nil {
		t.Fatal(err)
	}
	e.screen.Resize(130, 30)
	e.until("DEAD", "HELD")

	// The instance goes and comes back; the screen stays.
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Error(err)
	}
	e.until("these numbers are ", "no Wasmill answers at")
	run = command("run")
	run.Stdout, run.Stderr = out, out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Process.Kill(); _ = run.Wait() })
	e.until("!these numbers are", "works ")

	e.press("q")
	if err := top.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	<-e.drawn
	if e.screen.Emulator.IsAltScreen() {
		t.Error("the terminal is not as it was")
	}

	t.Run("a signal ends it as q does", func(t *testing.T) {
		cmd := command("top")
		e := emulate(t, cmd, 80, 24)
		e.until("q quit")
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ends with %v", err)
		}
	})
}
