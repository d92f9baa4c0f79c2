// Package exampletest runs the wasmill.toml of an example in a test: on an
// embedded server with its store in a temporary directory and nothing listening.
package exampletest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Example is a running example.
type Example struct {
	Plan   *plan.Plan
	Host   *host.Host
	Engine *engine.Engine
	broker *broker.Broker

	mu struct {
		sync.Mutex
		done   map[string]int // events finished, by pipeline
		closed bool
	}
	progress chan struct{} // something was finished; capacity 1
}

// Start compiles the plugins in plugins/* of the working directory and runs its
// wasmill.toml. It leaves nothing there, and ends with the test.
func Start(t *testing.T) *Example {
	t.Helper()
	ctx := t.Context()
	file := copyConfig(t)
	mains, err := filepath.Glob(filepath.Join("plugins", "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mains {
		var out strings.Builder
		b := build.Builder{Out: &out}
		dir := filepath.Dir(m)
		if err := b.BuildTo(ctx, dir, filepath.Join(filepath.Dir(file), dir+".wasm")); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	cfg, err := config.Load(file, builtin.Names()...)
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
	e := &Example{Plan: p, progress: make(chan struct{}, 1)}
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
	e.Host = h
	e.Engine = engine.New(engine.Deps{
		Broker: e.broker, Host: h, Builtins: builtin.Modules(), Listener: listener, Version: "test", ModuleDir: t.TempDir(),
	})
	if err := e.Engine.Open(ctx, p); err != nil {
		t.Fatal(config.Place(file, err))
	}
	cleanup(t, func() error { return e.close(context.Background()) })
	return e
}

// Stop drains the pipelines and closes the plugins, so that what they publish at
// their end can be read.
func (e *Example) Stop(t *testing.T) {
	t.Helper()
	if err := e.close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (e *Example) close(ctx context.Context) error {
	e.mu.Lock()
	closed := e.mu.closed
	e.mu.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	return e.Engine.Close(ctx)
}

// Cases runs the files in cases/ of the example, at least one.
func (e *Example) Cases(t *testing.T) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(e.Plan.Dir, cases.Dir), os.DirFS(cases.Dir)); err != nil {
		t.Fatal(err)
	}
	files, err := cases.Find(e.Plan.Dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("found %q, %v", files, err)
	}
	r := cases.New(cases.Options{Host: e.Host, Builtins: builtin.Modules()})
	reports, err := r.Run(t.Context(), files)
	if err := errors.Join(err, r.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, report := range reports {
		if !report.Passed() {
			t.Errorf("%s: %v %+v", report.File, report.Err, report.Differences)
		}
	}
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

func (e *Example) finished(pipeline string, n, _ int, _ time.Duration, _ event.TraceID) {
	e.mu.Lock()
	e.mu.done[pipeline] += n
	e.mu.Unlock()
	select {
	case e.progress <- struct{}{}:
	default:
	}
}

// Await waits until every pipeline has finished that many events.
func (e *Example) Await(t *testing.T, events map[string]int) {
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
			t.Fatalf("finished %s, want %v\n%+v", now, events, e.Engine.Status(t.Context()).Pipelines)
		}
	}
}

// Publish publishes payloads to a topic, all under one subject and with the same
// headers (names and values in turn).
func (e *Example) Publish(t *testing.T, topic, subject string, payloads [][]byte, headers ...string) {
	t.Helper()
	p, err := e.broker.NewPublisher(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range payloads {
		o := event.Output{Subject: subject, Payload: payload}
		for i := 0; i < len(headers); i += 2 {
			o.Headers = abi.AppendHeader(o.Headers, headers[i], headers[i+1])
			o.HeaderCount++
		}
		if _, err := p.Add(t.Context(), &o); err != nil {
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

// Read returns all messages of a topic, in order.
func (e *Example) Read(t *testing.T, topic string) []status.Message {
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

// Message is one message of a topic, as far as an example fixes it.
type Message struct{ Subject, Payload string }

// Messages returns all messages of a topic, in order.
func (e *Example) Messages(t *testing.T, topic string) []Message {
	t.Helper()
	var all []Message
	for _, m := range e.Read(t, topic) {
		all = append(all, Message{m.Subject, m.Payload})
	}
	return all
}

// Lines reads the lines of a file.
func Lines(t *testing.T, file string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range strings.Lines(string(b)) {
		lines = append(lines, []byte(strings.TrimSuffix(line, "\n")))
	}
	return lines
}
