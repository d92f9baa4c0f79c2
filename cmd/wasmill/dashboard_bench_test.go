package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/freeport"
)

const watchedTOML = `
[server]
listen = %q
[admin]
listen = %q
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[plugins.pass]
builtin = "pass"
[pipelines.p]
from = "in"
stages = ["pass"]
to = "out"
subject = "out.{subject.2}"
`

// BenchmarkDashboard is what an open dashboard with three tails costs a pipeline,
// in turns with none in the same run: the events a second it can do, and its
// processor time per event at 5,000 events a second.
func BenchmarkDashboard(b *testing.B) {
	dir := b.TempDir()
	bin := filepath.Join(dir, "wasmill")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil { //nolint:gosec // the go command
		b.Fatalf("%v\n%s", err, out)
	}
	natsAddr, err := freeport.Address(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	adminAddr, err := freeport.Address(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, watchedTOML, natsAddr, adminAddr), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "run", file) //nolint:gosec // built above
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	w := &watched{b: b, admin: "http://" + adminAddr, pid: cmd.Process.Pid}
	w.wait(func() bool { return w.get("/readyz") != "" })

	const events, rounds = 200_000, 5
	lines := bytes.Repeat([]byte(strings.Repeat("x", 255)+"\n"), 50_000)
	for range events / 50_000 {
		w.post("/api/v1/topics/in/publish?subject=in.a", "application/x-ndjson", lines)
	}
	drain := func() float64 {
		w.post("/api/v1/pipelines/p/reset", "application/json", []byte(`{"to":"all"}`))
		begin := time.Now()
		w.wait(func() bool { return strings.Contains(w.get("/api/v1/pipelines/p"), `"lag":0,`) })
		return events / time.Since(begin).Seconds()
	}
	steady := func() float64 {
		some := bytes.Repeat([]byte(strings.Repeat("x", 255)+"\n"), 500)
		begin, cpu, n := time.Now(), w.cpu(), 0
		for tick := time.NewTicker(100 * time.Millisecond); time.Since(begin) < 4*time.Second; n += 500 {
			w.post("/api/v1/topics/in/publish?subject=in.a", "application/x-ndjson", some)
			<-tick.C
		}
		return (w.cpu() - cpu).Seconds() / float64(n) * 1e6
	}
	for b.Loop() {
		var rate, cost [2]float64
		drain() // warm
		for round := range 2 * rounds {
			stop := func() {}
			if round%2 == 1 {
				stop = w.look()
			}
			// The best of all rounds is the one that other work has disturbed least.
			rate[round%2] = max(rate[round%2], drain())
			if c := steady(); cost[round%2] == 0 || c < cost[round%2] {
				cost[round%2] = c
			}
			stop()
		}
		b.ReportMetric(rate[0], "alone-events/s")
		b.ReportMetric(rate[1], "watched-events/s")
		b.ReportMetric(100*(1-rate[1]/rate[0]), "%slower")
		b.ReportMetric(cost[0], "alone-cpu-µs/event")
		b.ReportMetric(cost[1], "watched-cpu-µs/event")
	}
}

type watched struct {
	b     *testing.B
	admin string
	pid   int
}

// look opens what the page opens: the feed, and three tails.
func (w *watched) look() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, path := range []string{"/api/v1/events", "/api/v1/topics/in/watch", "/api/v1/topics/out/watch", "/api/v1/pipelines/p/watch"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.admin+path, nil)
		if err != nil {
			w.b.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			w.b.Fatalf("%s: %v", path, err)
		}
		wg.Go(func() {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		})
	}
	return func() { cancel(); wg.Wait() }
}

func (w *watched) get(path string) string {
	code, body, err := fetch(w.admin + path)
	if err != nil || code != http.StatusOK {
		return ""
	}
	return body
}

func (w *watched) post(path, mediaType string, body []byte) {
	res, err := http.Post(w.admin+path, mediaType, bytes.NewReader(body))
	if err != nil {
		w.b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if answer, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		w.b.Fatalf("%s: %s %s", path, res.Status, answer)
	}
}

func (w *watched) wait(ok func() bool) {
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.b.Fatal("gave up after two minutes")
		}
	}
}

// cpu is the processor time of the process.
func (w *watched) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid))
	if err != nil {
		w.b.Skip("needs /proc")
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			w.b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}
