package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// When the disk fills up under load the process says so and is not ready. It
// does not start again before there is space; then every event that was
// acknowledged is there and has its output.
func TestFullDiskIsSaidAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("needs the right to mount a small file system:", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(t.TempDir(), "wasmill.toml")
	toml := strings.Replace(fmt.Sprintf(killTOML, natsAddr, adminAddr), `"data"`, fmt.Sprintf("%q", filepath.Join(dir, "data")), 1)
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t)}
	p.start()

	book := &ledger{acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { book.publish(ctx, t, "nats://"+natsAddr) })
	poll(t, 60*time.Second, "not ready on account of the disk", func() bool {
		code, body, err := fetch(p.admin + "/readyz")
		return err == nil && code == http.StatusServiceUnavailable && strings.Contains(body, "is full")
	})
	p.kill()
	stop()
	wg.Wait()

	if code, said := p.refuses(); code != exitEnv || strings.Count(said, "\n") != 1 || !strings.Contains(said, "is full") {
		t.Errorf("a start on a full disk: exit code %d, %q", code, said)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	p.start()
	if book.count() == 0 {
		t.Fatal("nothing was acknowledged before the disk was full")
	}
	p.drainAndStop(t, "nats://"+natsAddr, book)
}

// refuses starts a process that must not, and returns its exit code and what it said.
func (p *victim) refuses() (code int, said string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.bin, "run", p.file)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		p.t.Fatalf("it ran: %v\n%s", err, out)
	}
	return exit.ExitCode(), string(out)
}
