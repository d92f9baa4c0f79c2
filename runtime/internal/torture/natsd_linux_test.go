package torture

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsd is a NATS server that is not Wasmill's: this test binary, run as a
// process of its own so that it can be killed.
type natsd struct {
	t     *testing.T
	spec  natsdSpec
	cmd   *exec.Cmd
	alive io.Closer // its standard input: it ends when that does
}

type natsdSpec struct {
	Name, Addr, Dir string
	Cluster         string   // where the others of its cluster reach it; "" = there are none
	Routes          []string // the addresses of all of them
}

const natsdEnv = "TORTURE_NATSD"

// serveNATS is what the process does.
func serveNATS(spec string) {
	var s natsdSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		natsdFailed(err)
	}
	host, port, err := split(s.Addr)
	if err != nil {
		natsdFailed(err)
	}
	o := &server.Options{
		ServerName: s.Name, Host: host, Port: port, NoSigs: true, LogFile: filepath.Join(s.Dir, "nats.log"),
		JetStream: true, StoreDir: s.Dir, JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 2 << 30,
	}
	if s.Cluster != "" {
		host, port, err := split(s.Cluster)
		if err != nil {
			natsdFailed(err)
		}
		o.Cluster = server.ClusterOpts{Name: "torture", Host: host, Port: port, PoolSize: 1}
		for _, r := range s.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
		}
	}
	srv, err := server.NewServer(o)
	if err != nil {
		natsdFailed(err)
	}
	srv.ConfigureLogger()
	srv.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is gone
	srv.Shutdown()
}

func natsdFailed(err error) {
	fmt.Fprintln(os.Stderr, "NATS server:", err)
	os.Exit(1)
}

func split(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	return host, port, err
}

func (n *natsd) start() {
	n.t.Helper()
	spec, err := json.Marshal(n.spec)
	if err != nil {
		n.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(self) //nolint:gosec // this binary
	n.cmd.Env = append(os.Environ(), natsdEnv+"="+string(spec))
	n.cmd.Stderr = os.Stderr
	if n.alive, err = n.cmd.StdinPipe(); err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", n.spec.Addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("NATS server %s is not there: %v", n.spec.Name, err)
		}
	}
}

// end shuts it down, or kills it.
func (n *natsd) end(kill bool) {
	if n.cmd == nil {
		return
	}
	if kill {
		_ = n.cmd.Process.Kill() // Wait says whether it has ended
	}
	_ = n.alive.Close()
	_ = n.cmd.Wait() // "signal: killed"
	n.cmd = nil
}
