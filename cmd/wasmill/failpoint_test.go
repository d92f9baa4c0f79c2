package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// The process kills itself under load at every failpoint, one after the other.
// No event may be lost and none may be out of order.
func TestKilledAtEveryFailpointLosesNothing(t *testing.T) {
	dir := t.TempDir()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, killTOML, natsAddr, adminAddr), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t, "-tags", "torture")}
	p.start()
	ledger := &ledger{acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ledger.publish(ctx, t, "nats://"+natsAddr) })
	ledger.waitFor(t, 1000)
	p.kill()
	for _, name := range event.Failpoints() {
		if strings.HasPrefix(name, "exact.") {
			continue // see TestExactlyOnceOverEveryFailpoint
		}
		p.dieAt(name, 1+rand.IntN(20)) //nolint:gosec // a test's choice of moments
	}
	p.start()
	ledger.waitFor(t, ledger.count()+1000)
	stop()
	wg.Wait()
	deaths := 1 + len(event.Failpoints())
	if repeated := p.drainAndStop(t, "nats://"+natsAddr, ledger); repeated > deaths*inFlight {
		t.Errorf("%d outputs repeat another; %d deaths explain %d at most", repeated, deaths, deaths*inFlight)
	}
}

// dieAt runs the process until it has passed a failpoint for the count-th time.
func (p *victim) dieAt(name string, count int) {
	p.t.Helper()
	p.log = &strings.Builder{}
	p.cmd = exec.Command(p.bin, "run", p.file) //nolint:gosec // built by the test
	p.cmd.Stderr = p.log
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("WASMILL_FAILPOINT=%s:%d", name, count))
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Exited() {
			p.t.Fatalf("failpoint %s:%d: the process was not killed: %v\n%s", name, count, err, p.log)
		}
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		p.t.Fatalf("failpoint %s was not passed %d times within a minute: %v\n%s", name, count, <-ended, p.log)
	}
}
