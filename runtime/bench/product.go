package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/runtime/freeport"
)

// Product is what the binary does as a user runs it: one Go plugin, one
// pipeline of two partitions, events from a NATS client over TCP.
type Product struct {
	ReadyMS    float64   `json:"ready_ms"` // from start to /readyz 200, modules cached
	IdleMiB    float64   `json:"idle_mib"` // resident, idle
	LoadMiB    float64   `json:"load_mib"` // resident, highest under full load
	BacklogMiB float64   `json:"backlog_mib"`
	Backlog    int       `json:"backlog_events"`
	DrainRate  float64   `json:"backlog_events_per_second"`
	Latency    []Latency `json:"latency"`
	Reload     Reload    `json:"reload"`
	RecoverMS  float64   `json:"recover_ms"` // from the start after a kill -9 to the first output
	Stored     uint64    `json:"recover_stored_events"`
	Exactly    Latency   `json:"exactly_once_latency"`
}

// Latency is from publishing an event to receiving its output.
type Latency struct {
	Rate   int     `json:"rate"` // events/s offered
	Events int     `json:"events"`
	P50MS  float64 `json:"p50_ms"`
	P99MS  float64 `json:"p99_ms"`
	MaxMS  float64 `json:"max_ms"`
	GapMS  float64 `json:"gap_ms"` // longest time between two outputs
}

// Reload is what clients saw while the plugin was replaced again and again.
type Reload struct {
	Rate      int     `json:"rate"`
	Reloads   int     `json:"reloads"`
	Events    int     `json:"events"`
	Lost      int     `json:"lost"`
	Reordered int     `json:"reordered"` // outputs out of the order of their key
	GapMS     float64 `json:"gap_ms"`    // longest time between two outputs
	P99MS     float64 `json:"p99_ms"`
}

func (r *Product) print(p *printer) {
	p.line("")
	p.line("the product, as its own process with one Go plugin (clients are a second process)")
	p.line("  ready after start, modules cached  %8.0f ms      (goal 300)", r.ReadyMS)
	p.line("  resident memory idle               %8.0f MiB     (goal 60)", r.IdleMiB)
	p.line("  resident memory at full load       %8.0f MiB     (goal 150)", r.LoadMiB)
	p.line("  … working off %9d events    %8.0f MiB     (goal 150), %.0f events/s", r.Backlog, r.BacklogMiB, r.DrainRate)
	for _, l := range r.Latency {
		p.line("  publish → output at %6d/s        p50 %6.2f ms  p99 %6.2f ms  max %6.1f ms", l.Rate, l.P50MS, l.P99MS, l.MaxMS)
	}
	p.line("  %d reloads at %d/s: longest gap %.1f ms (goal 50), lost %d, out of order %d of %d",
		r.Reload.Reloads, r.Reload.Rate, r.Reload.GapMS, r.Reload.Lost, r.Reload.Reordered, r.Reload.Events)
	p.line("  first output after kill -9         %8.0f ms      (goal 3000), with %d events in its topic", r.RecoverMS, r.Stored)
	l := r.Exactly
	p.line("  publish → stored exactly once at %d/s  p50 %6.2f ms  p99 %6.2f ms  (goal 60)  max %6.1f ms", l.Rate, l.P50MS, l.P99MS, l.MaxMS)
}

const productTOML = `
[server]
store_dir = "data"
listen    = "%s"
[admin]
listen = "%s"
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[plugins.bench]
path = "bench.wasm"
[pipelines.bench]
from       = "in"
stages     = ["bench"]
to         = "out"
subject    = "out.{subject.2}"
key        = "subject:2"
partitions = 2
delivery   = "%s"
`

func measureProduct(ctx context.Context, o Options) (p *Product, err error) {
	dir := filepath.Join(o.Dir, "product")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the product's directory: %w", err)
	}
	listen, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "wasmill.toml")
	configure := func(delivery string) error {
		return os.WriteFile(file, fmt.Appendf(nil, productTOML, listen, admin, delivery), 0o600)
	}
	if err := configure("at-least-once"); err != nil {
		return nil, err
	}
	module := filepath.Join(dir, "bench.wasm")
	pass, err := o.Modules["pass"]()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(module, pass, 0o600); err != nil {
		return nil, err
	}
	c := &child{exe: o.Executable, file: file, cache: filepath.Join(dir, "modules"), admin: "http://" + admin, nats: "nats://" + listen}
	_, _ = fmt.Fprintln(o.Progress, "starting the product twice (the first start compiles the plugin)")
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	if err := c.stop(); err != nil {
		return nil, err
	}
	ready, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	p = &Product{ReadyMS: float64(ready.Microseconds()) / 1000}
	if err := wait(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	p.IdleMiB = c.resident()
	for _, rate := range []int{1000, 20000} {
		_, _ = fmt.Fprintf(o.Progress, "latency at %d events/s\n", rate)
		l, err := latency(ctx, c.nats, rate, time.Duration(o.Seconds)*time.Second, false)
		if err != nil {
			return nil, err
		}
		p.Latency = append(p.Latency, l)
	}
	_, _ = fmt.Fprintln(o.Progress, "reloading the plugin at 20000 events/s")
	if p.Reload, err = reload(ctx, c.nats, module, pass, 20000, o.Seconds); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(o.Progress, "full load with %d events\n", o.Events)
	if p.LoadMiB, _, err = c.load(ctx, o.Events, false); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(o.Progress, "backlog of %d events\n", o.Backlog)
	p.Backlog = o.Backlog
	if p.BacklogMiB, p.DrainRate, err = c.load(ctx, o.Backlog, true); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintln(o.Progress, "kill -9 and recovery")
	recovered, err := c.recover(ctx)
	if err != nil {
		return nil, err
	}
	p.RecoverMS = ms(recovered)
	if p.Stored, err = c.acked(ctx); err != nil {
		return nil, err
	}
	if err := c.stop(); err != nil {
		return nil, err
	}
	if err := configure("exactly-once"); err != nil {
		return nil, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintln(o.Progress, "exactly once at 10000 events/s")
	p.Exactly, err = latency(ctx, c.nats, 10000, time.Duration(o.Seconds)*time.Second, true)
	return p, err
}

// recover kills the child, starts it again at once and returns how long it takes
// from there until an event has an output.
func (c *child) recover(ctx context.Context) (time.Duration, error) {
	if err := c.cmd.Process.Kill(); err != nil {
		return 0, fmt.Errorf("kill wasmill: %w", err)
	}
	<-c.exited
	begin := time.Now()
	if _, err := c.start(ctx); err != nil {
		return 0, err
	}
	nc, err := nats.Connect(c.nats)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", c.nats, err)
	}
	defer nc.Close()
	outputs, err := nc.SubscribeSync("out.>")
	if err != nil {
		return 0, fmt.Errorf("subscribe to the outputs: %w", err)
	}
	if err := nc.Publish("in.k0", payload(0)); err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	if _, err := outputs.NextMsgWithContext(ctx); err != nil {
		return 0, fmt.Errorf("wait for the first output: %w", err)
	}
	return time.Since(begin), nil
}

// child is a running wasmill.
type child struct {
	exe, file, cache string
	admin, nats      string
	cmd              *exec.Cmd
	exited           chan struct{} // closed when cmd has ended
	log              tail
}

// start runs the binary and returns how long it took to be ready.
func (c *child) start(ctx context.Context) (time.Duration, error) {
	c.cmd = exec.CommandContext(ctx, c.exe, "run", c.file, "--log-level", "warn") //nolint:gosec // our own binary
	c.cmd.Env = append(os.Environ(), "WASMILL_CACHE="+c.cache)
	c.cmd.Stderr = &c.log
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	begin := time.Now()
	if err := c.cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", c.exe, err)
	}
	c.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the process
		_ = cmd.Wait() // its exit code matters less than that it ended
		close(exited)
	}(c.cmd, c.exited)
	for {
		resp, err := http.Get(c.admin + "/readyz") //nolint:noctx // loopback, polled every 2 ms
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(begin), nil
			}
		}
		select {
		case <-c.exited:
			return 0, fmt.Errorf("wasmill run ended before it was ready:\n%s", c.log.String())
		default:
		}
		if err := wait(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// stop drains the child and waits for it.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop wasmill: %w", err)
	}
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-timer.C:
	}
	_ = c.cmd.Process.Kill()
	return errors.New("wasmill did not stop within 30 s")
}

// resident memory of the child in MiB; 0 where the system does not tell.
func (c *child) resident() float64 {
	return float64(resident(c.cmd.Process.Pid)) / (1 << 20)
}

// resident memory of a process in bytes; 0 where the system does not tell.
func resident(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// load publishes events as fast as the broker takes them and returns the
// highest resident memory until all are processed, and the rate from then on.
// With held the pipeline is paused until all of them lie in the topic.
func (c *child) load(ctx context.Context, events int, held bool) (peak, rate float64, err error) {
	if held {
		if err := c.post(ctx, "/api/v1/pipelines/bench/pause"); err != nil {
			return 0, 0, err
		}
	}
	published := make(chan error, 1)
	var last uint64
	go func() {
		var err error
		last, err = flood(ctx, c.nats, events)
		published <- err
	}()
	var begin time.Time
	waiting := true
	for {
		peak = max(peak, c.resident())
		if waiting {
			select {
			case err := <-published:
				if err != nil {
					return 0, 0, err
				}
				waiting, begin = false, time.Now()
				if held {
					if err := c.post(ctx, "/api/v1/pipelines/bench/resume"); err != nil {
						return 0, 0, err
					}
				}
			default:
			}
		} else {
			acked, err := c.acked(ctx)
			if err != nil {
				return 0, 0, err
			}
			if acked >= last {
				return peak, float64(events) / time.Since(begin).Seconds(), nil
			}
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

func (c *child) post(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.admin+path, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, nil)
}

func (c *child) acked(ctx context.Context) (uint64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.admin+"/api/v1/pipelines/bench", nil)
	if err != nil {
		return 0, err
	}
	var s struct {
		AckedSeq uint64 `json:"acked_seq"`
	}
	err = c.do(req, &s)
	return s.AckedSeq, err
}

func (c *child) do(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tail keeps the last 4 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 4096; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
