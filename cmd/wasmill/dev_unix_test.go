//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/wasmill/wasmill/plugins/scaffold"
)

// terminal collects what a program writes to it.
type terminal struct {
	t  *testing.T
	mu sync.Mutex
	b  bytes.Buffer
	at int // what is before has been looked at
}

func (w *terminal) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *terminal) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// until waits for a line that matches, behind the one that was found last.
func (w *terminal) until(pattern string) string {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text := w.text()
		if i := re.FindStringIndex(text[w.at:]); i != nil {
			found := text[w.at+i[0] : w.at+i[1]]
			w.at += i[1]
			return found
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("nothing matches %q behind here:\n%s\n--- before:\n%s", pattern, text[w.at:], text[:w.at])
		}
	}
}

// edit replaces text in a file, as an editor does: a new file over the old one.
func edit(t *testing.T, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		t.Fatalf("%s has no %q", file, from)
	}
	tmp := file + ".swp"
	if err := errors.Join(os.WriteFile(tmp, []byte(strings.ReplaceAll(string(b), from, to)), 0o644), os.Rename(tmp, file)); err != nil {
		t.Fatal(err)
	}
}

// linkBinary gives the test binary the name under which it is the command, as
// for scripts; that takes less time than building the command.
func linkBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "wasmill")
	if os.Link(self, bin) == nil {
		return bin
	}
	b, err := os.ReadFile(self) // another file system
	if err := errors.Join(err, os.WriteFile(bin, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return bin
}

// The loop of an author, in a terminal: an edit that works, one that does not
// compile, and its repair.
func TestDev(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	if err := scaffold.Plugin(dir, "go", "demo"); err != nil {
		t.Fatal(err)
	}
	toml := filepath.Join(dir, "wasmill.toml")
	f, err := os.OpenFile(toml, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "\n[server]\nlisten = %q\n[admin]\nlisten = %q\n", freeAddress(t), freeAddress(t))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	bin := linkBinary(t)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "WASMILL_CACHE="+filepath.Join(dir, "..", "cache"), "TERM=xterm")
		return cmd
	}
	main := filepath.Join(dir, "main.go")

	t.Run("in a terminal", func(t *testing.T) {
		const columns = 90
		cmd := command("dev")
		file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: columns})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		screen := &terminal{t: t}
		ended := make(chan struct{})
		go func() { // ends with the program, which closes its side
			defer close(ended)
			buf := make([]byte, 4096)
			for {
				n, err := file.Read(buf)
				_, _ = screen.Write(buf[:n])
				if err != nil {
					return
				}
			}
		}()

		screen.until(`building demo`)
		screen.until(`ready`)
		screen.until(`demo: 6 events of events.ndjson, run in memory: nothing is stored`)
		screen.until(`results\.us \(the same payload\)`)
		screen.until(`Ctrl-C ends it`)

		t.Run("an edit shows what it changes", func(t *testing.T) {
			edit(t, main, "mag < c.MinMagnitude", "mag < c.MinMagnitude+0.5")
			screen.until(`main\.go saved, building demo`)
			screen.until(`built demo in`)
			screen.until(`6 events of events.ndjson, run again: 1 changed`)
			screen.until(`dropped`)
			screen.until(`before: results\.us`)
		})

		t.Run("one that does not compile shows the compiler's error and changes nothing", func(t *testing.T) {
			edit(t, main, "+0.5", "+five")
			screen.until(`main\.go:\d+:\d+: undefined: five`)
			screen.until(`does not compile`)
			screen.until(`what ran before goes on`)
			if out, err := command("topics", "publish", "events", "--subject", "events.live", `{"properties":{"mag":5.5,"net":"us"}}`, "what?").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			screen.until(`#1 events\.live`)
			screen.until(`results\.us \(the same payload\)`)
			screen.until(`#2 events\.live what\?`)
			screen.until(`dead-lettered: no magnitude`)
		})

		t.Run("its repair takes over, and the stored events are run again", func(t *testing.T) {
			edit(t, main, "+five", "+1.5")
			screen.until(`built demo in`)
			screen.until(`the last 2 events of topic events, run again: 1 changed`)
			screen.until(`#1 events\.live`)
			screen.until(`dropped`)
			screen.until(`before: results\.us`)
		})

		t.Run("a change of the TOML file, and one that the plugin refuses", func(t *testing.T) {
			edit(t, toml, "min_magnitude = 4.5", "min_magnitude = 3")
			screen.until(`run again: 1 changed`)
			screen.until(`before: dropped`)
			edit(t, toml, "min_magnitude = 3", `min_magnitude = "a lot"`)
			screen.until(`wasmill\.toml:\d+:\d+: plugin: the plugin "demo" refuses its configuration: min_magnitude: want a number`)
			screen.until(`what ran before goes on`)
			edit(t, toml, `min_magnitude = "a lot"`, "min_magnitude = 3")
			screen.until(`wasmill\.toml is valid again`)
			edit(t, toml, "min_magnitude = 3", "min_magnitude = 2.9")
			screen.until(`run again: nothing has changed`)
		})

		t.Run("a second one has no place beside it", func(t *testing.T) {
			out, err := command("dev").CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitEnv || !strings.Contains(string(out), "another process") {
				t.Errorf("%v\n%s", err, out)
			}
		})

		t.Run("Ctrl-C drains and ends it", func(t *testing.T) {
			if _, err := file.Write([]byte{3}); err != nil {
				t.Fatal(err)
			}
			screen.until(`draining`)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			file.Close()
			<-ended
		})

		text := screen.text()
		if n := strings.Count(text, "nothing has changed"); n != 1 {
			t.Errorf("%d times nothing has changed, want 1", n)
		}
		if n := strings.Count(text, "building demo"); n != 4 {
			t.Errorf("it was built %d times, want 4: at the start and for each save that changed the source\n%s", n, text)
		}
		if !strings.Contains(text, "\x1b[32m") {
			t.Error("there is no colour")
		}
		for _, line := range strings.Split(text, "\n") {
			line = strings.TrimRight(sgr.ReplaceAllString(line, ""), "\r")
			if strings.Contains(line, " → ") && strings.Contains(line, "events.") && !strings.Contains(line, "pipeline") && utf8.RuneCountInString(line) > columns {
				t.Errorf("a line of %d characters: %s", utf8.RuneCountInString(line), line)
			}
		}
	})

	t.Run("without a terminal, and begun with a source that does not compile", func(t *testing.T) {
		edit(t, main, "+1.5", "+nothing")
		cmd := command("dev", "--events", "events.ndjson", "--subject", "events.mine")
		out := &terminal{t: t}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.until(`undefined: nothing`)
		out.until(`nothing runs yet`)
		edit(t, main, "+nothing", "")
		out.until(`demo: 6 events of events.ndjson, run in memory`)
		out.until(`events\.mine .* → results\.us`)
		out.until(`Ctrl-C ends it`)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, out.text())
		}
		if strings.Contains(out.text(), "\x1b") {
			t.Error("there is colour where there is no terminal")
		}
	})
}
