package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
)

// patience is how long anything may take that has to come in the end.
const patience = 3 * time.Minute

// process is the binary, run again and again on one configuration. What it says
// of itself is appended to wasmill.log.
type process struct {
	t         *testing.T
	bin, file string
	env       []string
	admin     *admin.Client

	cmd  *exec.Cmd
	dead chan struct{} // closed when it has ended
	err  error         // then: how
}

// start runs it; with a failpoint, "NAME:COUNT", until it kills itself there.
func (p *process) start(failpoint string, flags ...string) {
	p.t.Helper()
	log, err := os.OpenFile(p.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	fmt.Fprintf(log, "==== %s start %s %v\n", time.Now().Format(time.TimeOnly), failpoint, flags)
	cmd := exec.Command(p.bin, append(append([]string{"run"}, flags...), p.file)...) //nolint:gosec // built by the test
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), p.env...)
	if failpoint != "" {
		cmd.Env = append(cmd.Env, "WASMILL_FAILPOINT="+failpoint)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	dead := make(chan struct{})
	p.cmd, p.dead = cmd, dead
	go func() { // ends with the process, which close waits for
		p.err = cmd.Wait()
		close(dead)
	}()
}

func (p *process) log() string { return filepath.Join(filepath.Dir(p.file), "wasmill.log") }

// tail is the end of the log.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s: %v (the process: %v)\n%s", s, err, p.err, p.tail())
	}
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	_ = p.ends() // "signal: killed"
}

// stop ends it as an operator does, and wants it to have finished its work.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		p.t.Errorf("after SIGTERM: %v\n%s", err, p.tail())
	}
}

// diesAtFailpoint waits until it has killed itself.
func (p *process) diesAtFailpoint() {
	p.t.Helper()
	err := p.ends()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		p.t.Fatalf("the process was not killed at its failpoint: %v\n%s", err, p.tail())
	}
}

func (p *process) ends() error {
	p.t.Helper()
	select {
	case <-p.dead:
		return p.err
	case <-time.After(patience):
		p.t.Fatalf("not within %s: the process ends\n%s", patience, p.tail())
		return nil
	}
}

// running is whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.dead:
		return false
	default:
		return true
	}
}

// close ends it, whatever state it is in.
func (p *process) close() {
	p.admin.Close()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails when it has ended
	<-p.dead
}

// await polls until ok, as long as the process lives.
func (p *process) await(what string, ok func(ctx context.Context) bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
		done := ok(ctx)
		cancel()
		switch {
		case done:
			return
		case !p.running():
			p.t.Fatalf("the process has ended (%v) while this was waited for: %s\n%s", p.err, what, p.tail())
		case time.Now().After(deadline):
			st, err := p.admin.Status(p.t.Context())
			p.t.Fatalf("not within %s: %s\nstatus: %+v %v\n%s", patience, what, st, err, p.tail())
		}
		<-tick.C
	}
}
