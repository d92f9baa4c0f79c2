package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/freeport"
)

// kills is how often TestKilledUnderLoadLosesNothing kills the process;
// WASMILL_KILLS overrides it.
const kills = 4

const killTOML = `
[server]
store_dir = "data"
listen    = %q
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

// A client publishes and notes each event that the broker acknowledged, while
// the process is killed with SIGKILL again and again. In the end every
// acknowledged event must lie in the input topic, every stored event must have
// its output, and the outputs of each key must be in the order of their inputs.
// Outputs may repeat: that is at-least-once, and the test says how often.
func TestKilledUnderLoadLosesNothing(t *testing.T) {
	n := kills
	if s := os.Getenv("WASMILL_KILLS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's choice of moments
	dir := t.TempDir()
	natsAddr, adminAddr := freeAddress(t), freeAddress(t)
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, killTOML, natsAddr, adminAddr), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &victim{t: t, file: file, admin: "http://" + adminAddr, bin: buildBinary(t)}
	p.start()

	ledger := &ledger{acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ledger.publish(ctx, t, "nats://"+natsAddr) })
	for i := range n {
		ledger.waitFor(t, (i+1)*500+rng.IntN(3000))
		p.kill()
		p.start()
	}
	ledger.waitFor(t, ledger.count()+1000)
	stop()
	wg.Wait()
	repeated := p.drainAndStop(t, "nats://"+natsAddr, ledger)
	t.Logf("%d kills, %d repeated per kill", n, repeated/max(n, 1))
	if repeated > n*inFlight {
		t.Errorf("%d outputs repeat another; %d kills explain %d at most", repeated, n, n*inFlight)
	}
}

// victim is the process under test.
type victim struct {
	t                *testing.T
	bin, file, admin string
	cmd              *exec.Cmd
	log              *strings.Builder
}

// buildBinary builds the command, with further flags of go build if there are any.
func buildBinary(t *testing.T, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "wasmill")
	args := append(append([]string{"build", "-o", bin}, flags...), ".")
	out, err := exec.Command("go", args...).CombinedOutput() //nolint:gosec // the go command
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := freeport.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func (p *victim) start() {
	p.t.Helper()
	p.log = &strings.Builder{}
	p.cmd = exec.Command(p.bin, "run", p.file) //nolint:gosec // built above
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	poll(p.t, 30*time.Second, "ready", func() bool {
		resp, err := http.Get(p.admin + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode == http.StatusOK
	})
}

func (p *victim) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // "signal: killed"
}

// drainAndStop waits until every stored event has its output, compares, and
// checks that SIGTERM ends the process with 0.
// It returns how many outputs repeat another.
func (p *victim) drainAndStop(t *testing.T, url string, l *ledger) (repeated int) {
	t.Helper()
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
	p.finish(t, in)
	out := readTopic(t, js, "out")
	repeated = l.compare(t, in, out)
	p.interrupt(t)
	return repeated
}

// finish waits until the last of the stored events is finished.
func (p *victim) finish(t *testing.T, in []message) {
	t.Helper()
	status := ""
	defer func() {
		if t.Failed() {
			t.Logf("the pipeline:\n%s\nthe log:\n%s", status, p.log)
		}
	}()
	poll(t, 3*time.Minute, "all events finished", func() bool {
		resp, err := http.Get(p.admin + "/api/v1/pipelines/ledger")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		status = string(body)
		return strings.Contains(strings.ReplaceAll(string(body), " ", ""), fmt.Sprintf(`"acked_seq":%d,`, in[len(in)-1].seq))
	})
}

// interrupt wants SIGINT to end the process with 0.
func (p *victim) interrupt(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v\n%s", err, p.log)
	}
}

// compare wants every acknowledged event in the input topic, for every event
// there an output, and the first outputs of each key in the order of their
// events. It returns how many outputs repeat another.
func (l *ledger) compare(t *testing.T, in, out []message) (repeated int) {
	t.Helper()
	stored := map[string]bool{}
	for _, m := range in {
		stored[m.payload] = true
	}
	for id := range l.acked {
		if !stored[id] {
			t.Errorf("event %s was acknowledged and is not in the topic", id)
		}
	}
	outputs := map[uint64]int{}
	last := map[string]uint64{}
	reordered := 0
	for _, m := range out {
		topic, rest, _ := strings.Cut(m.source, "/")
		num, nth, _ := strings.Cut(rest, "/")
		seq, err := strconv.ParseUint(num, 10, 64)
		if err != nil || topic != "in" || nth != "0" {
			t.Fatalf("Wasmill-Source is %q", m.source)
		}
		if outputs[seq]++; outputs[seq] > 1 {
			repeated++
			continue
		}
		if seq < last[m.subject] {
			reordered++
		}
		last[m.subject] = seq
	}
	lost := 0
	for _, m := range in {
		if outputs[m.seq] == 0 {
			lost++
		}
	}
	t.Logf("%d acknowledged, %d stored, %d outputs: lost %d, out of order %d, repeated %d", len(l.acked), len(in), len(out), lost, reordered, repeated)
	if lost > 0 || reordered > 0 {
		t.Errorf("lost %d, out of order %d", lost, reordered)
	}
	return repeated
}

type message struct {
	seq              uint64
	subject, payload string
	source           string
}

// readTopic returns everything a topic holds, by an ordered consumer of the
// application's own.
func readTopic(t *testing.T, js jetstream.JetStream, topic string) []message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := js.Stream(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	events := stream.CachedInfo().Config.Subjects[0] // the runtime's own records lie on others
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(events))
	if err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for _, n := range info.State.Subjects {
		total += n
	}
	cons, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{events}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	all := make([]message, 0, total)
	for uint64(len(all)) < total {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		source := m.Headers().Get("Wasmill-Source")
		if topic, ok := m.Headers()["Wasmill-Source-Topic"]; ok { // a dead letter
			source = topic[0] + "/" + m.Headers().Get("Wasmill-Source-Seq") + "/0"
		}
		all = append(all, message{meta.Sequence.Stream, m.Subject(), string(m.Data()), source})
	}
	return all
}

// ledger publishes events and notes those that were acknowledged.
type ledger struct {
	every time.Duration // between two events; 0 is as fast as can be
	// event makes the n-th event; nil is one of 16 keys with the number as payload.
	event func(n int) (subject, payload string)
	mu    sync.Mutex
	acked map[string]bool
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *ledger) waitFor(t *testing.T, n int) {
	t.Helper()
	poll(t, 60*time.Second, fmt.Sprintf("%d events acknowledged", n), func() bool { return l.count() >= n })
}

// publish goes on, over lost connections, until ctx ends. An event whose
// acknowledgement did not come is not in the ledger and not sent again.
func (l *ledger) publish(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(512))
	if err != nil {
		t.Error(err)
		return
	}
	var pace <-chan time.Time
	if l.every > 0 {
		tick := time.NewTicker(l.every)
		defer tick.Stop()
		pace = tick.C
	}
	var wg sync.WaitGroup
	for n := 0; ctx.Err() == nil; n++ {
		if pace != nil {
			<-pace
		}
		subject, id := "in.k"+strconv.Itoa(n%16), strconv.Itoa(n)
		if l.event != nil {
			subject, id = l.event(n)
		}
		f, err := js.PublishAsync(subject, []byte(id))
		if err != nil {
			continue // not connected
		}
		wg.Go(func() {
			select {
			case <-f.Ok():
				l.mu.Lock()
				l.acked[id] = true
				l.mu.Unlock()
			case err := <-f.Err():
				_ = err // not acknowledged: not in the ledger
			case <-time.After(5 * time.Second):
			}
		})
	}
	wg.Wait()
}

// poll waits for a condition of another process.
func poll(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-tick.C
	}
}
