package earthquakes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The whole example, as `make run` runs it: the plugins are compiled, an
// embedded server and the engine run wasmill.toml, the whole week is published,
// and every message of every topic is compared with the second computation.
func TestEveryOutput(t *testing.T) {
	lines := feed(t)
	want := compute(t, lines)
	e := start(t)
	e.publish(t, "quakes.raw", lines)
	e.await(t, map[string]int{"parse": len(lines), "alerts": len(want.parsed), "california": len(want.parsed)})

	t.Run("the reference finds something of everything", func(t *testing.T) {
		for name, n := range map[string]int{
			"parsed": len(want.parsed), "alerts": len(want.alerts), "tsunami": len(want.tsunami),
			"california": len(want.california), "dead letters": len(want.dead), "dropped": want.dropped,
		} {
			if n == 0 {
				t.Errorf("it expects no %s", name)
			}
		}
	})

	for topic, messages := range map[string][]message{
		"parsed": want.parsed, "alerts": want.alerts, "tsunami": want.tsunami, "california": want.california,
	} {
		t.Run("topic "+topic+" holds what the file says, in the order of each network", func(t *testing.T) {
			if diff := cmp.Diff(byNetwork(messages), byNetwork(e.messages(t, topic))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}

	t.Run("dead letters hold what was wrong, with the reason and the original", func(t *testing.T) {
		var got []deadLetter
		for _, m := range e.read(t, plan.DeadLetters) {
			header := func(name string) string { return strings.Join(m.Headers[name], "|") }
			if m.Subject != "wasmill.dead.parse.parse" || header("Wasmill-Fault") != "handler_error" || header("Wasmill-Plugin") != "parse" {
				t.Errorf("%s has the headers %v", m.Subject, m.Headers)
			}
			got = append(got, deadLetter{"parse", header("Wasmill-Cause"), header("Wasmill-Source-Subject"), m.Payload})
		}
		order := func(a, b deadLetter) int { return strings.Compare(a.Cause+a.Payload, b.Cause+b.Payload) }
		slices.SortFunc(got, order)
		slices.SortFunc(want.dead, order)
		if diff := cmp.Diff(want.dead, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})

	t.Run("the plugins conform to the ABI, on events of their own", func(t *testing.T) {
		for _, plugin := range e.plan.Plugins {
			module, err := os.ReadFile(plugin.Path)
			if err != nil {
				t.Fatal(err)
			}
			events := lines
			if plugin.Name != "parse" {
				events = nil
				for _, m := range want.parsed {
					events = append(events, []byte(m.Payload))
				}
			}
			t.Run(plugin.Name, func(t *testing.T) {
				hosttest.Run(t, module, hosttest.Options{
					Host: e.host, Name: plugin.Name, Config: plugin.Config, Outputs: []string{"tsunami"}, Events: hosttest.Payloads(events...), Steady: 20_000,
				})
			})
		}
	})

	t.Run("its cases pass", func(t *testing.T) {
		if err := os.CopyFS(filepath.Join(e.plan.Dir, cases.Dir), os.DirFS(cases.Dir)); err != nil {
			t.Fatal(err)
		}
		files, err := cases.Find(e.plan.Dir)
		if err != nil || len(files) < 2 {
			t.Fatalf("found %q, %v", files, err)
		}
		r := cases.New(cases.Options{Host: e.host})
		reports, err := r.Run(t.Context(), files)
		if err := errors.Join(err, r.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, report := range reports {
			if !report.Passed() {
				t.Errorf("%s: %v %+v", report.File, report.Err, report.Differences)
			}
		}
	})

	t.Run("the counters agree", func(t *testing.T) {
		for _, c := range []struct {
			pipeline                string
			in, out, dropped, faint int
		}{
			{"parse", len(lines), len(want.parsed), want.dropped, len(want.dead)},
			{"alerts", len(want.parsed), len(want.alerts) + len(want.tsunami), len(want.parsed) - len(want.alerts), 0},
			{"california", len(want.parsed), len(want.california), len(want.parsed) - len(want.california), 0},
		} {
			s, err := e.engine.Pipeline(c.pipeline)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(s.In, s.Out, s.Dropped, s.DeadLettered, s.Retried)
			if wanted := fmt.Sprint(c.in, c.out, c.dropped, c.faint, 0); got != wanted {
				t.Errorf("%s: in, out, dropped, dead-lettered, retried are %s, want %s", c.pipeline, got, wanted)
			}
		}
	})
}

// byNetwork groups messages by the network, which is the second token of every
// subject here: the order within a network is promised, the one between them is not.
func byNetwork(messages []message) map[string][]message {
	groups := map[string][]message{}
	for _, m := range messages {
		network := strings.Split(m.Subject, ".")[1]
		groups[network] = append(groups[network], m)
	}
	return groups
}

// example is the running example.
type example struct {
	plan   *plan.Plan
	host   *host.Host
	broker *broker.Broker
	engine *engine.Engine

	mu struct {
		sync.Mutex
		done map[string]int // events finished, by pipeline
	}
	progress chan struct{} // something was finished; capacity 1
}

// start builds the plugins and runs wasmill.toml with its store in a temporary
// directory and nothing listening.
func start(t *testing.T) *example {
	t.Helper()
	ctx := t.Context()
	file := copyConfig(t)
	for _, name := range []string{"parse", "strong", "route"} {
		var out strings.Builder
		b := build.Builder{Out: &out}
		if err := b.BuildTo(ctx, filepath.Join("plugins", name), filepath.Join(filepath.Dir(file), "plugins", name+".wasm")); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("wasmill.toml has warnings: %v", cfg.Warnings)
	}
	p, err := plan.From(cfg, file)
	if err != nil {
		t.Fatal(err)
	}

	e := &example{plan: p, progress: make(chan struct{}, 1)}
	e.mu.done = map[string]int{}
	listener := event.Listener{Done: e.finished}
	e.broker = broker.New(broker.Config{StoreDir: t.TempDir(), Durability: p.Server.Durability, MaxStore: p.Server.MaxStore}, broker.Options{Listener: listener})
	if err := e.broker.Open(ctx); err != nil {
		t.Fatal(err)
	}
	cleanup(t, e.broker.Close)
	h := host.New(host.Options{})
	if err := h.Open(ctx); err != nil {
		t.Fatal(err)
	}
	cleanup(t, func() error { return h.Close(context.Background()) })
	e.host = h
	e.engine = engine.New(engine.Deps{Broker: e.broker, Host: h, Listener: listener, Version: "test", ModuleDir: t.TempDir()})
	if err := e.engine.Open(ctx, p); err != nil {
		t.Fatal(err)
	}
	cleanup(t, func() error { return e.engine.Close(context.Background()) })
	return e
}

// copyConfig copies wasmill.toml to a temporary directory with room for the
// modules that it names, so that a test leaves nothing in the source tree.
func copyConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, err := os.ReadFile("wasmill.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "wasmill.toml")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func cleanup(t *testing.T, end func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

func (e *example) finished(pipeline string, n, _ int, _ time.Duration) {
	e.mu.Lock()
	e.mu.done[pipeline] += n
	e.mu.Unlock()
	select {
	case e.progress <- struct{}{}:
	default:
	}
}

// await waits until every pipeline has finished that many events.
func (e *example) await(t *testing.T, events map[string]int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		e.mu.Lock()
		missing := 0
		for pipeline, n := range events {
			missing += max(0, n-e.mu.done[pipeline])
		}
		now := fmt.Sprint(e.mu.done)
		e.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-e.progress:
		case <-deadline:
			t.Fatalf("finished %s, want %v\n%+v", now, events, e.engine.Status(t.Context()).Pipelines)
		}
	}
}

func (e *example) publish(t *testing.T, subject string, payloads [][]byte) {
	t.Helper()
	p, err := e.broker.NewPublisher(t.Context(), "quakes")
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range payloads {
		if _, err := p.Add(t.Context(), &event.Output{Subject: subject, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// read returns all messages of a topic, in order.
func (e *example) read(t *testing.T, topic string) []status.Message {
	t.Helper()
	info, err := e.broker.Topic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var all []status.Message
	for seq := info.FirstSeq; seq <= info.LastSeq; seq++ {
		m, err := e.broker.Get(t.Context(), topic, seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func (e *example) messages(t *testing.T, topic string) []message {
	t.Helper()
	var all []message
	for _, m := range e.read(t, topic) {
		all = append(all, message{m.Subject, m.Payload})
	}
	return all
}
