package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// CacheDir is where the tests with real modules keep what they compile.
var CacheDir string

// CompileWorker is the argument that makes the test binary a worker.
const CompileWorker = "compile-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == CompileWorker {
		os.Exit(host.CompileWorker(os.Args[2], os.Stdin, os.Stdout))
	}
	dir, err := os.MkdirTemp("", "wasmill-engine-test-")
	if err != nil {
		panic(err)
	}
	CacheDir = filepath.Join(dir, "cache")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// world is a broker and a host in memory: topics are slices, modules are
// words. The pipelines between them are the real ones.
type world struct {
	t      *testing.T
	dir    string
	engine *Engine

	mu       sync.Mutex
	topics   map[string][]record
	ensured  map[string]broker.TopicConfig
	acked    map[string]uint64
	moved    chan struct{} // closed and replaced when anything changes
	live     map[string]int
	states   map[string][]string
	reloads  []string
	external bool
	records  map[string][]byte
	broken   error // of the server
	logged   lines

	// What a test may change before or while the engine runs.
	ensure     func(broker.TopicConfig) error
	removal    func(broker.TopicConfig, []broker.Follower) (*status.Removal, error)
	openSource func(pipeline string) error
	stuck      map[string]bool // pipelines whose outputs are never confirmed
	sinks      []*memSink      // all that were opened
	unrecorded error           // why records cannot be read or written
	leases     func(ctx context.Context, pipeline string) (lease, error)
}

type record struct {
	subject, payload string
	headers          []byte
	count            int
	deleted          bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(),
		topics: map[string][]record{}, ensured: map[string]broker.TopicConfig{}, acked: map[string]uint64{},
		live: map[string]int{}, states: map[string][]string{}, stuck: map[string]bool{}, moved: make(chan struct{}),
	}
	w.records = map[string][]byte{}
	w.engine = w.newEngine()
	t.Cleanup(func() {
		if err := w.engine.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		for module, n := range w.live {
			if n != 0 {
				t.Errorf("%d of module or its instances %q left open", n, module)
			}
		}
	})
	return w
}

// newEngine returns an engine that is not open yet.
func (w *world) newEngine() *Engine {
	e := &Engine{
		topics: w, data: w, messages: w, records: w, loader: w, log: slog.New(slog.NewTextHandler(&w.logged, nil)),
		newRunner: func(cfg pipeline.Config, deps pipeline.Deps) (runner, error) { return pipeline.New(cfg, deps) },
		deps: Deps{
			Version: "test", DrainTimeout: 5 * time.Second, Probation: time.Minute,
			ModuleDir: filepath.Join(w.dir, "modules"),
			Listener: event.Listener{
				PipelineState: func(name, state string, _ error) {
					w.change(func() { w.states[name] = append(w.states[name], state) })
				},
				Reload: func(_, name, _, result string, _ error) {
					w.change(func() { w.reloads = append(w.reloads, name+" "+result) })
				},
			},
		},
	}
	e.init()
	return e
}

// restart ends the process, as it were, and starts another one.
func (w *world) restart(toml string) {
	w.t.Helper()
	if err := w.engine.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.engine = w.newEngine()
	w.open(toml)
}

func (w *world) Record(_ context.Context, name string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records[name], w.unrecorded
}

func (w *world) SaveRecord(_ context.Context, name string, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unrecorded == nil {
		w.records[name] = data
	}
	return w.unrecorded
}

// change does f under the lock and wakes who waits.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.moved)
	w.moved = make(chan struct{})
}

// look reads something of the world while nothing changes it.
func look[T any](w *world, read func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return read()
}

// alive counts modules and instances that are loaded.
func (w *world) alive(names ...string) int {
	return look(w, func() (n int) {
		for _, name := range names {
			n += w.live[name]
		}
		return n
	})
}

// until waits until ok, which is called under the lock, returns true.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		done, moved := ok(), w.moved
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			w.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// module writes a plugin file whose behaviour is told by words, see instance.
func (w *world) module(name, words string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name+".wasm"), []byte(words), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// plan reads a configuration; files are relative to the world's directory.
func (w *world) plan(toml string) *plan.Plan {
	w.t.Helper()
	file := filepath.Join(w.dir, "wasmill.toml")
	cfg, findings := config.Parse(file, []byte(toml))
	if len(findings) > 0 {
		w.t.Fatal(findings)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) open(toml string) {
	w.t.Helper()
	if err := w.engine.Open(w.t.Context(), w.plan(toml)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) send(topic string, payloads ...string) {
	w.change(func() {
		for _, p := range payloads {
			w.topics[topic] = append(w.topics[topic], record{subject: topic + ".x", payload: p})
		}
	})
}

// got returns the payloads of a topic.
func (w *world) got(topic string) []string {
	var out []string
	for _, r := range w.topics[topic] {
		if !r.deleted {
			out = append(out, r.payload)
		}
	}
	return out
}

// wait until a topic holds exactly these payloads.
func (w *world) wait(topic string, payloads ...string) {
	w.t.Helper()
	var got []string
	w.until(fmt.Sprintf("topic %s to hold %q", topic, payloads), func() bool {
		got = w.got(topic)
		return slices.Equal(got, payloads) || len(got) > len(payloads)
	})
	if len(got) > len(payloads) {
		w.t.Fatalf("topic %s holds %q, want %q", topic, got, payloads)
	}
}

func (w *world) state(name, state string) {
	w.t.Helper()
	w.until(name+" to be "+state, func() bool {
		s := w.states[name]
		return len(s) > 0 && s[len(s)-1] == state
	})
}

// The host. A module is a list of words: the first is its tag, which it appends
// to each payload. "noload" and "noopen" refuse; "noopen:PIPELINE" refuses one
// pipeline; "fault" faults on every call, "fault:TEXT" on that payload.

type memModule struct {
	w     *world
	spec  host.Spec
	words []string
}

func (w *world) Load(_ context.Context, spec host.Spec) (module, error) {
	words := strings.Fields(string(spec.Module))
	if slices.Contains(words, "noload") {
		return nil, &host.LoadError{Plugin: spec.Name, Message: "is not a WebAssembly module"}
	}
	if pin := spec.SHA256; pin != "" && pin != digestOf(spec.Module) {
		return nil, &host.LoadError{Plugin: spec.Name, Message: "has another sha256 than its pin"}
	}
	w.change(func() { w.live[words[0]]++ })
	return &memModule{w: w, spec: spec, words: words}, nil
}

func (m *memModule) Digest() string          { return digestOf(m.spec.Module) }
func (m *memModule) Memory() int64           { return 1 }
func (m *memModule) LoadTime() time.Duration { return time.Millisecond }

func (m *memModule) Close(context.Context) error {
	m.w.change(func() { m.w.live[m.words[0]]-- })
	return nil
}

func (m *memModule) NewInstance(_ context.Context, spec host.InstanceSpec) (pipeline.Processor, error) {
	if slices.Contains(m.words, "noopen") || slices.Contains(m.words, "noopen:"+spec.Pipeline) {
		return nil, testFault("wasmill_open returned -22")
	}
	m.w.change(func() { m.w.live[m.words[0]+" instance"]++ })
	return &memInstance{m: m}, nil
}

type memInstance struct {
	m    *memModule
	done bool
}

func (i *memInstance) Process(_ context.Context, _ abi.BatchHeader, events []abi.Event, res *abi.Result) error {
	res.Reset()
	if i.done {
		panic("a discarded instance was called")
	}
	for n := range events {
		payload := string(events[n].Payload)
		if slices.Contains(i.m.words, "fault") || slices.Contains(i.m.words, "fault:"+payload) {
			return testFault(i.m.words[0] + " traps on " + payload)
		}
		res.Outputs = append(res.Outputs, abi.Output{Source: uint32(n), Payload: []byte(payload + "-" + i.m.words[0])})
	}
	return nil
}

func (i *memInstance) Close(context.Context, *abi.Result) error { return nil }

func (i *memInstance) Discard() {
	if i.done {
		panic("an instance was discarded twice")
	}
	i.done = true
	i.m.w.change(func() { i.m.w.live[i.m.words[0]+" instance"]-- })
}

type testFault string

func (f testFault) Error() string       { return string(f) }
func (f testFault) FaultKind() string   { return abi.FaultTrap }
func (f testFault) FaultDetail() string { return "stack" }
