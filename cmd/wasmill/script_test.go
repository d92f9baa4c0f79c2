package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wasmill/wasmill/runtime/certificate/certtest"

	"github.com/wasmill/wasmill/runtime/freeport"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wasmill": main})
}

// TestScript runs the command-line documentation against the real binary. Every
// script has free addresses in $NATS and $ADMIN ($NATS2 and $ADMIN2 for a second
// instance) and shares the cache of compiled modules with the others.
func TestScript(t *testing.T) {
	cache := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"NATS", "ADMIN", "NATS2", "ADMIN2"} {
				addr, err := freeport.Address(t.Context())
				if err != nil {
					return err
				}
				e.Setenv(name, addr)
			}
			e.Setenv("WASMILL_CACHE", cache)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("BIN", filepath.SplitList(e.Getenv("PATH"))[0]) // the commands under test and nothing else
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       cmdExits,
			"expand":      cmdExpand,
			"ready":       cmdReady,
			"busy":        cmdBusy,
			"get":         cmdGet,
			"until":       cmdUntil,
			"signal":      cmdSignal,
			"module":      cmdModule,
			"certificate": cmdCertificate,
			"plan":        cmdPlan,
		},
	})
}

// cmdExits runs a command that must end with an exit code: exits 2 wasmill run.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code is %d, want %d", code, want)
	}
}

// cmdExpand replaces $NAME in files by the environment's values.
func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE…")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// cmdReady waits until /readyz of an address answers 200.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready ADDRESS")
	}
	last := ""
	pollScript(ts, func() (bool, string) {
		code, body, err := fetch("http://" + args[0] + "/readyz")
		if err != nil {
			last = err.Error()
		} else {
			last = fmt.Sprint(code, " ", body)
		}
		return code == http.StatusOK, last
	})
}

// cmdUntil runs a command again and again until its stdout has a text. The
// command "metrics ADDRESS [TOKEN]" fetches the metrics.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT COMMAND…")
	}
	pollScript(ts, func() (bool, string) {
		if args[1] == "metrics" {
			_, body, err := fetch("http://"+args[2]+"/metrics", args[3:]...)
			return err == nil && strings.Contains(body, args[0]), "no such metric"
		}
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		return err == nil && strings.Contains(out, args[0]), out
	})
}

// cmdSignal sends a signal to every command in the background.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	if neg || len(args) != 1 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal TERM|INT|HUP")
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}

// cmdPlan puts the hash of a plan into a variable: plan NAME [FILE].
func cmdPlan(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: plan NAME [FILE]")
	}
	ts.Check(ts.Exec("wasmill", append([]string{"plan", "-o", "json"}, args[1:]...)...))
	var p status.Plan
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &p))
	ts.Setenv(args[0], p.Hash)
}

// cmdBusy takes an address until the script ends.
func cmdBusy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: busy ADDRESS")
	}
	ln, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
}

// cmdCertificate writes a certificate and its key: certificate FILE KEY HOST…
func cmdCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: certificate FILE KEY HOST…")
	}
	ts.Check(certtest.Write(ts.MkAbs(args[0]), ts.MkAbs(args[1]), time.Now().Add(24*time.Hour), args[2:]...))
}

// cmdGet fetches a URL and writes the body to a file: get URL FILE.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: get URL FILE [TOKEN]")
	}
	code, body, err := fetch(args[0], args[2:]...)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), fmt.Appendf(nil, "%d %s", code, body), 0o600))
}

func pollScript(ts *testscript.TestScript, done func() (bool, string)) {
	timeout := time.NewTimer(60 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := done()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			ts.Fatalf("gave up after a minute; last: %s", last)
		}
	}
}

// fetch gets a URL, with a bearer token if one is given.
func fetch(url string, token ...string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	for _, t := range token {
		req.Header.Set("Authorization", "Bearer "+t)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}
