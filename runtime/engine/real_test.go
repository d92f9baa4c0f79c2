package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// guest builds the test plugin, once.
var guest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "wasmill-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-w", "-buildmode=c-shared", "-o", path, "./testdata/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(path)
})

// version is the test plugin told to do something.
func version(t *testing.T, word string) []byte {
	t.Helper()
	module, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	const marker = "mode=first"
	if bytes.Count(module, []byte(marker)) != 1 {
		t.Fatal("the module does not hold its mode once")
	}
	return bytes.Replace(module, []byte(marker+strings.Repeat(" ", len(word))), []byte("mode="+word+strings.Repeat(" ", len("first"))), 1)
}

// fixture is an engine on an embedded server and a real host.
type fixture struct {
	*engine.Engine
	t      *testing.T
	dir    string
	broker *broker.Broker
	states chan string
}

const realConfig = `
[server]
listen = ""
[topics.in]
subjects = ["in.>"]
[topics.out]
subjects = ["out.>"]
[topics.other]
subjects = ["other.>"]
[plugins.p]
path = "p.wasm"
[plugins.q]
path = "q.wasm"
[pipelines.one]
from = "in"
stages = ["p"]
to = "out"
subject = "out.{subject.2}"
key = "subject:2"
partitions = 2
retry = { attempts = 1 }
[pipelines.two]
from = "in"
stages = ["q"]
to = "other"
subject = "other.{subject.2}"
retry = { attempts = 1 }
on_failure = "halt"
`

func newReal(t *testing.T) *fixture {
	t.Helper()
	r := newFixture(t, "")
	r.file("p", version(t, "v1"))
	r.file("q", version(t, "v1"))
	if err := r.Open(t.Context(), r.plan(realConfig)); err != nil {
		t.Fatal(err)
	}
	r.state("one running", "two running")
	return r
}

// newFixture returns one whose engine is not open. listen is the server's
// address for other clients; "" is none.
func newFixture(t *testing.T, listen string) *fixture {
	t.Helper()
	r := &fixture{t: t, dir: t.TempDir(), states: make(chan string, 100)}
	r.broker = broker.New(broker.Config{StoreDir: filepath.Join(r.dir, "data"), Listen: listen}, broker.Options{})
	if err := r.broker.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	worker, err := host.Executable(engine.CompileWorker)
	if err != nil {
		t.Fatal(err)
	}
	h := host.New(host.Options{CacheDir: engine.CacheDir, Worker: worker}) // as the product does
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Engine = engine.New(engine.Deps{
		Broker: r.broker, Host: h, Version: "test", Probation: time.Minute,
		Listener: event.Listener{PipelineState: func(name, state string, _ error) { r.states <- name + " " + state }},
	})
	t.Cleanup(func() {
		for _, err := range []error{r.Close(context.Background()), h.Close(context.Background()), r.broker.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *fixture) file(name string, module []byte) {
	r.t.Helper()
	path := filepath.Join(r.dir, name+".wasm")
	if err := os.WriteFile(path+".new", module, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

func (r *fixture) plan(toml string) *plan.Plan {
	r.t.Helper()
	file := filepath.Join(r.dir, "wasmill.toml")
	cfg, findings := config.Parse(file, []byte(toml))
	if err := findings.Err(); err != nil {
		r.t.Fatal(err)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// state waits until all of these have been reported.
func (r *fixture) state(want ...string) {
	r.t.Helper()
	for deadline := time.After(30 * time.Second); len(want) > 0; {
		select {
		case got := <-r.states:
			want = slices.DeleteFunc(want, func(s string) bool { return s == got })
		case <-deadline:
			r.t.Fatalf("waited in vain for %q", want)
		}
	}
}

func (r *fixture) publish(key, payload string) {
	r.t.Helper()
	if _, err := r.broker.Publish(r.t.Context(), "in", event.Output{Subject: "in." + key, Payload: []byte(payload)}); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the next n messages of a topic from seq on, waiting for them.
func (r *fixture) read(topic string, seq uint64, n int) []status.Message {
	r.t.Helper()
	var out []status.Message
	deadline := time.Now().Add(30 * time.Second)
	for len(out) < n {
		m, err := r.broker.Next(r.t.Context(), topic, seq, "")
		if errors.Is(err, broker.ErrNotFound) && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			r.t.Fatalf("topic %q has %d messages, want %d: %v", topic, len(out), n, err)
		}
		out = append(out, m)
		seq = m.Seq + 1
	}
	return out
}

func (r *fixture) want(topic string, seq uint64, payloads ...string) {
	r.t.Helper()
	for i, m := range r.read(topic, seq, len(payloads)) {
		if m.Payload != payloads[i] {
			r.t.Errorf("message %d of %q is %q, want %q", m.Seq, topic, m.Payload, payloads[i])
		}
	}
}

func (r *fixture) history(name string) string {
	var lines []string
	for _, p := range r.Plugins(context.Background()) {
		if p.Name == name {
			for _, g := range p.History {
				lines = append(lines, fmt.Sprintf("%d %s %s", g.Number, g.Origin, g.State))
			}
		}
	}
	return strings.Join(lines, ", ")
}

// WASMILL_RELOADS overrides the number of reloads of TestReloadUnderLoad.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	const keys = 16
	versions, burst := 3, 20
	if s := os.Getenv("WASMILL_RELOADS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		versions, burst = n+1, 2
	}
	r := newReal(t)
	reloaded := make(chan struct{}) // closed after the last reload
	events := 0
	published := make(chan error, 1)
	pub, err := r.broker.NewPublisher(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // a burst every 2 ms, until half a second after the last reload
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for left := 250; left > 0; {
			select {
			case <-reloaded:
				left--
			default:
			}
			for range burst {
				m := event.Output{Subject: fmt.Sprintf("in.k%d", events%keys), Payload: fmt.Appendf(nil, "%d", events)}
				if _, err := pub.Add(context.Background(), &m); err != nil {
					published <- err
					return
				}
				events++
			}
			if err := pub.Flush(context.Background()); err != nil { // or they would wait for more
				published <- err
				return
			}
			<-tick.C
		}
		published <- errors.Join(pub.Flush(context.Background()), pub.Close(context.Background()))
	}()
	r.read("out", 1000, 1)
	var reloads []time.Time
	for v := 2; v <= versions; v++ {
		r.file("p", version(t, fmt.Sprintf("v%d", v)))
		reloads = append(reloads, time.Now())
		if err := r.ReloadPlugin(t.Context(), "p"); err != nil {
			t.Error(err)
		}
	}
	close(reloaded)
	if err := <-published; err != nil {
		t.Fatal(err)
	}

	next := make([]int, keys)
	newest := make([]int, keys)
	seen := map[int]int{}
	for i := range next {
		next[i] = i
	}
	var last time.Time
	gaps := make([]time.Duration, len(reloads)) // the longest from one reload to the next
	for _, m := range r.read("out", 1, events) {
		if at, _ := slices.BinarySearchFunc(reloads, m.Time, time.Time.Compare); at > 0 && !last.IsZero() {
			gaps[at-1] = max(gaps[at-1], m.Time.Sub(last))
		}
		last = m.Time
		var n, tag int
		if _, err := fmt.Sscanf(m.Payload, "%d v%d", &n, &tag); err != nil {
			t.Fatal(err)
		}
		k := n % keys
		if n != next[k] {
			t.Fatalf("key %d: event %d comes after %d", k, n, next[k]-keys)
		}
		if tag < newest[k] {
			t.Fatalf("key %d: event %d ran on v%d after v%d", k, n, tag, newest[k])
		}
		next[k], newest[k] = n+keys, tag
		seen[tag]++
	}
	if _, err := r.broker.Next(t.Context(), "out", uint64(events)+1, ""); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("there are more outputs than events: %v", err)
	}
	if len(seen) != versions {
		t.Errorf("versions seen: %v", seen)
	}
	slices.Sort(gaps)
	t.Logf("%d reloads, %d events, lost 0; longest gap between outputs by reload: median %s, p99 %s, largest %s",
		len(gaps), events, gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1])
}

func TestRealReload(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	r.publish("a", "1")
	r.want("out", 1, "1 v1")

	for _, broken := range [][]byte{[]byte("this is not WebAssembly"), version(t, "v2")[:100000]} {
		r.file("p", broken)
		if err := r.ReloadPlugin(t.Context(), "p"); err == nil {
			t.Error("a broken file was taken")
		} else {
			t.Log(err)
		}
	}
	r.publish("a", "2")
	r.want("out", 2, "2 v1")

	// A version that dies at every event, which the one before does not.
	r.file("p", version(t, "exit"))
	if err := r.ReloadPlugin(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		r.publish("a", fmt.Sprint(i))
		r.want("out", uint64(3+i), fmt.Sprintf("%d v1", i))
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		got := r.history("p")
		if strings.HasPrefix(got, "5 rollback active, 4 file rolled back, ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("history: %s", got)
		}
	}
	r.file("p", version(t, "v2"))
	if err := r.ReloadPlugin(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	r.publish("a", "x")
	r.want("out", 11, "x v2")
	g, err := r.Rollback(t.Context(), "p")
	if err != nil || g.Number != 7 {
		t.Errorf("got %+v, %v", g, err)
	}
	r.publish("a", "y")
	r.want("out", 12, "y v1")
	if s := r.Status(t.Context()); !s.Ready || s.Plugins[0].Generation.Memory == 0 {
		t.Errorf("status %+v", s)
	}
}

func TestRealFailure(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	r.publish("a", "1")
	r.want("other", 1, "1 v1")
	r.publish("a", "poison")
	r.publish("a", "2")
	r.state("two halted") // on_failure = "halt"
	r.want("out", 1, "1 v1", "2 v1")

	dead := r.DeadLetters()
	var list []status.DeadLetter
	for deadline := time.Now().Add(30 * time.Second); len(list) == 0 && time.Now().Before(deadline); {
		var err error
		if list, err = dead.List(t.Context(), status.DeadLetterFilter{Pipeline: "one"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(list) != 1 || list[0].Payload != "poison" || list[0].Plugin != "p" || list[0].SourceSubject != "in.a" || list[0].SourceSeq != 2 || list[0].Fault == "" {
		t.Fatalf("dead letters: %+v", list)
	}

	// An operator moves the halted pipeline past the event, and redrives the other's.
	if _, err := r.Reset(t.Context(), "two", "seq:3"); err != nil {
		t.Fatal(err)
	}
	r.want("other", 2, "2 v1")
	if err := r.Pause(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	r.state("two paused")
	if n, err := dead.Redrive(t.Context(), []uint64{list[0].ID}, status.DeadLetterFilter{}); n != 1 || err != nil {
		t.Errorf("redrive: %d, %v", n, err)
	}
	again := r.read("dead-letters", list[0].ID+1, 1)
	if again[0].Payload != "poison" || again[0].Headers["Wasmill-Source-Seq"][0] != "4" {
		t.Errorf("got %+v", again)
	}
	if in := r.read("in", 4, 1); in[0].Subject != "in.a" || in[0].Headers["Wasmill-Redrive"] == nil {
		t.Errorf("redriven as %+v", in)
	}
}

func TestRealApply(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	changes, err := r.Apply(t.Context(), r.plan(strings.NewReplacer(
		`subject = "out.{subject.2}"`, `subject = "out.new"`,
		"[topics.out]", "[topics.out]\nmax_messages = 3",
		"[plugins.q]", "[plugins.q]\nlimits = { memory = \"32MiB\" }",
	).Replace(realConfig)))
	if err != nil || len(changes) != 3 {
		t.Errorf("got %+v, %v", changes, err)
	}
	r.state("one stopped", "one running")
	for i := range 5 {
		r.publish("a", fmt.Sprint(i))
	}
	r.want("other", 1, "0 v1", "1 v1", "2 v1", "3 v1", "4 v1")
	r.read("out", 5, 1)
	topic, err := r.broker.Topic(t.Context(), "out")
	if err != nil || topic.Messages != 3 {
		t.Errorf("topic %+v, %v", topic, err)
	}
	if m := r.read("out", 3, 1)[0]; m.Subject != "out.new" {
		t.Errorf("got %+v", m)
	}
	if got := r.history("q"); got != "2 config active, 1 start retired" {
		t.Errorf("history of q: %s", got)
	}
}
