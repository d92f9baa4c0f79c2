package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/status"
)

const standbyTOML = `
[server]
url = %q
[admin]
listen = %q
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[plugins.pass]
builtin = "pass"
[pipelines.ledger]
from       = "in"
stages     = ["pass"]
to         = "out"
subject    = "out.{subject.2}"
key        = "subject:2"
partitions = 2
`

// inFlight is what may be processed twice after an owner has vanished: the
// default of max_in_flight.
const inFlight = 4096

// Two processes run the same file on a NATS server of somebody else's, while
// events are published. One works and the other stands by, ready; when the
// owner is killed, when it is stopped, and when the server itself goes away for
// a while, the work goes on: nothing is lost, the order of each key is kept, and
// only what was in flight is done twice.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	nsAddr, dir := freeAddress(t), t.TempDir()
	url := "nats://" + nsAddr
	ns := operatorsServer(t, nsAddr, dir)
	bin := buildBinary(t)
	process := func(name string) *victim {
		addr := freeAddress(t)
		file := filepath.Join(t.TempDir(), name+".toml")
		if err := os.WriteFile(file, fmt.Appendf(nil, standbyTOML, url, addr), 0o600); err != nil {
			t.Fatal(err)
		}
		return &victim{t: t, file: file, admin: "http://" + addr, bin: bin}
	}
	one, two := process("one"), process("two")
	one.start()
	one.reaches(status.StateRunning)
	two.start()
	two.reaches(status.StateStandby)

	book := &ledger{acked: map[string]bool{}, every: time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { book.publish(ctx, t, url) })
	more := func() {
		t.Helper()
		book.waitFor(t, book.count()+300)
	}
	more()

	one.kill()
	took := time.Now()
	two.reaches(status.StateRunning)
	t.Logf("taken over %s after the owner was killed", time.Since(took).Round(time.Millisecond))
	more()
	one.start()
	one.reaches(status.StateStandby)

	if err := two.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	took = time.Now()
	one.reaches(status.StateRunning)
	t.Logf("taken over %s after the owner was stopped", time.Since(took).Round(time.Millisecond))
	if err := two.cmd.Wait(); err != nil {
		t.Errorf("the stopped owner: %v\n%s", err, two.log)
	}
	more()
	two.start()
	two.reaches(status.StateStandby)

	ns.Shutdown()
	ns.WaitForShutdown()
	poll(t, 30*time.Second, "not ready without its server", func() bool {
		code, _, err := fetch(one.admin + "/readyz")
		return err == nil && code == http.StatusServiceUnavailable
	})
	operatorsServer(t, nsAddr, dir)
	poll(t, 60*time.Second, "one running and one standing by", func() bool {
		a, b := one.pipeline().State, two.pipeline().State
		return a == status.StateRunning && b == status.StateStandby || a == status.StateStandby && b == status.StateRunning
	})
	more()
	stop()
	wg.Wait()

	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	in := readTopic(t, js, "in")
	poll(t, 60*time.Second, "all events finished", func() bool {
		last := in[len(in)-1].seq
		return one.pipeline().AckedSeq == last || two.pipeline().AckedSeq == last
	})
	if repeated := book.compare(t, in, readTopic(t, js, "out")); repeated > 2*inFlight {
		t.Errorf("%d outputs repeat another; a killed owner and a lost server explain %d at most", repeated, 2*inFlight)
	}
	for _, p := range []*victim{one, two} {
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("after SIGINT: %v\n%s", err, p.log)
		}
	}
}

// operatorsServer is a NATS server with JetStream that knows nothing of Wasmill.
func operatorsServer(t *testing.T, addr, dir string) *server.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: host, Port: number, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server is not ready")
	}
	return s
}

// pipeline is what the process says of the only pipeline; zero when it does not answer.
func (p *victim) pipeline() (st status.Pipeline) {
	code, body, err := fetch(p.admin + "/api/v1/pipelines/ledger")
	if err != nil || code != http.StatusOK {
		return st
	}
	_ = json.Unmarshal([]byte(body), &st) // an answer cut short is none
	return st
}

// reaches waits until the pipeline is in a state.
func (p *victim) reaches(state string) {
	p.t.Helper()
	poll(p.t, 60*time.Second, "the pipeline is "+state, func() bool { return p.pipeline().State == state })
}
