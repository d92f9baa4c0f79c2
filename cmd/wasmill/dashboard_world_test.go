package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
)

const dashboardTOML = `
[server]
listen = %q
[admin]
listen = %q
[topics.readings]
subjects = ["readings.>"]
[topics.checked]
subjects = ["checked.>"]
[topics.slow]
subjects = ["slow.>"]
[topics.quiet]
subjects = ["quiet.>"]
[plugins.check]
path = "check.wasm"
[plugins.check.config]
api_token = "not to be seen"
[plugins.pass]
builtin = "pass"
[plugins.narrow]
builtin = "pass"
[plugins.narrow.limits]
rate = "10/s"
max_in_flight = 16

[pipelines.check]
from = "readings"
filter = ["readings.ok.>"]
stages = ["check", "pass"]
to = "checked"
subject = "checked.{subject.3}"
retry = { attempts = 1 }
[pipelines.narrow]
from = "checked"
stages = ["narrow"]
to = "slow"
subject = "slow.{subject.2}"
[pipelines.idle]
from = "quiet"
stages = ["pass"]
to = "slow"
subject = "slow.quiet"
[pipelines.broken]
from = "readings"
filter = ["readings.halt"]
stages = ["check"]
to = "slow"
subject = "slow.never"
on_failure = "halt"
retry = { attempts = 1 }
`

// station is a running binary under load, and a browser that looks at it.
type station struct {
	bin, dir, file, admin, nats string
	token                       string // of the test itself, "" = none is needed
	cmd                         *exec.Cmd
	rate                        atomic.Int64 // events a second of the load
	ctx                         context.Context

	mu       sync.Mutex
	requests []string // of the page
	said     []string // errors and exceptions of the page
}

// newStation starts everything, or skips the test when there is no browser.
func newStation(t *testing.T) *station {
	t.Helper()
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("Chromium is not installed")
	}
	s := &station{bin: buildBinary(t), dir: t.TempDir()}
	s.file = filepath.Join(s.dir, "wasmill.toml")
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	s.admin, s.nats = "http://"+adminAddr, "nats://"+natsAddr
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath", "-o", filepath.Join(s.dir, "check.wasm"), "./testdata/dashboard/check")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	if err := os.WriteFile(s.file, fmt.Appendf(nil, dashboardTOML, natsAddr, adminAddr), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.load(t)
	s.openBrowser(t, browser)
	return s
}

func (s *station) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "run.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()         // the child has its own
	s.cmd = exec.Command(s.bin, "run", s.file) //nolint:gosec // built above
	s.cmd.Env = append(os.Environ(), "WASMILL_CACHE="+filepath.Join(s.dir, "cache"))
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, time.Minute, "the pipelines run", func() bool {
		var list []struct{ State string }
		if s.get("/api/v1/pipelines", &list) != nil || len(list) != 4 {
			return false
		}
		running := 0
		for _, p := range list {
			if p.State == "running" || p.State == "halted" {
				running++
			}
		}
		return running == len(list)
	})
}

func (s *station) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("the process ended with %v", err)
	}
}

func (s *station) get(path string, out any) error {
	req, err := http.NewRequest(http.MethodGet, s.admin+path, nil)
	if err != nil {
		return err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, res.Status, body)
	}
	return json.Unmarshal(body, out)
}

// load publishes readings, at the station's rate, until the test ends.
func (s *station) load(t *testing.T) {
	t.Helper()
	nc, err := nats.Connect(s.nats, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s.rate.Store(200)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for range s.rate.Load() / 20 {
				n++
				m := nats.NewMsg("readings.ok.oslo")
				m.Header.Set("Station", fmt.Sprint(n%7))
				m.Data = fmt.Appendf(nil, `{"value":%d,"note":"<script>window.pwned=1</script><img src=x onerror='window.pwned=2'>"}`, n%100-2)
				_ = nc.PublishMsg(m) // lost while the server restarts, which is no matter here
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		nc.Close()
	})
}

// publish stores one event through the API.
func (s *station) publish(t *testing.T, subject string, payload []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.admin+"/api/v1/topics/readings/publish?subject="+subject, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Wasmill-Request", "1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("publish: %s %s", res.Status, body)
	}
}

func (s *station) openBrowser(t *testing.T, path string) {
	t.Helper()
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1360, 900),
	}
	alloc, endAlloc := chromedp.NewExecAllocator(t.Context(), opts...)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser
		end()
		endAlloc()
	})
	s.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // its context is that of the tab
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Listen(ctx, func(ev any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch e := ev.(type) {
		case *network.EventRequestWillBeSent:
			s.requests = append(s.requests, e.Request.URL)
		case *runtime.EventExceptionThrown:
			s.said = append(s.said, e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				s.said = append(s.said, e.Entry.Text+" "+e.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	s.theme(t, "light")
}

// complaints returns what the page has said since the last call.
func (s *station) complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

func (s *station) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("%v\n%s", err, s.text())
	}
}

// theme is what the system prefers.
func (s *station) theme(t *testing.T, name string) {
	t.Helper()
	p := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(s.ctx, emulation.SetEmulatedMedia, p); err != nil {
		t.Fatal(err)
	}
}

// text is what the page shows.
func (s *station) text() string {
	text, err := chromedp.Run(s.ctx, chromedp.Evaluate[string]("document.body?.innerText ?? ''"))
	if err != nil {
		return err.Error()
	}
	return text
}

// eval returns the value of an expression in the page.
func eval[T any](t *testing.T, s *station, js string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v\n%s", js, err, s.text())
	}
	return v
}

// until waits for an expression to be true.
func (s *station) until(t *testing.T, what, js string) time.Duration {
	t.Helper()
	begin := time.Now()
	for deadline := begin.Add(time.Minute); ; {
		if eval[bool](t, s, "!!("+js+")") {
			return time.Since(begin)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute not: %s\n%s", what, s.text())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.ctx.Done():
			t.Fatal(s.ctx.Err())
		}
	}
}

// view goes to a view and waits for its title.
func (s *station) view(t *testing.T, hash, title string) {
	t.Helper()
	eval[string](t, s, fmt.Sprintf("location.hash = %q", hash))
	s.until(t, title+" is shown", fmt.Sprintf("document.querySelector('h1')?.textContent === %q", title))
}

// click clicks the first element that a selector finds, as a person does.
func (s *station) click(t *testing.T, selector string) {
	t.Helper()
	s.do(t, chromedp.Click(selector, chromedp.NodeVisible))
}

// button clicks the button with that text.
func (s *station) button(t *testing.T, text string) {
	t.Helper()
	js := fmt.Sprintf("[...document.querySelectorAll('main button')].find(b => b.textContent.trim() === %q && !b.disabled)", text)
	s.until(t, "there is a button "+text, js)
	eval[bool](t, s, "("+js+".click(), true)")
}

// fill types into a field.
func (s *station) fill(t *testing.T, selector, value string) {
	t.Helper()
	eval[bool](t, s, fmt.Sprintf(`(() => { const f = document.querySelector(%q); f.value = %q; f.dispatchEvent(new Event("input", {bubbles: true})); return true })()`, selector, value))
}

// cli runs the binary against the station.
func (s *station) cli(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.bin, append(args, "--admin", s.admin)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("wasmill %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}
