//go:build !wasip1

package sdk_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// compile builds a guest as a plugin author does and returns the module.
func compile(t *testing.T, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-w", "-buildmode=c-shared", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", dir, err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestThePackagesCompileForWebAssembly(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", ".", "./abi", "./jsonptr")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestWhatAPluginLinks keeps what makes modules large out of the plain ones.
func TestWhatAPluginLinks(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(text)) {
		switch dep {
		case "fmt", "os", "encoding/json", "embed", "context", "net", "log", "log/slog":
			t.Errorf("sdk imports %s in a guest", dep)
		}
	}
}

// TestGuest runs the plugin in testdata/guest on the real host.
func TestGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a plugin")
	}
	module := compile(t, "testdata/guest")
	h := host.New(host.Options{CacheDir: filepath.Join(t.TempDir(), "cache")})
	if err := h.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(t.Context()) })

	var mu sync.Mutex
	var lines []string
	metrics := map[string]float64{}
	load := func(t *testing.T, config string) *host.Generation {
		t.Helper()
		g, err := h.Load(t.Context(), host.Spec{
			Name: "guest", Module: module, Grants: []string{"clock", "random", "secret"}, Config: json.RawMessage(config),
			Secrets: map[string]string{"long": strings.Repeat("s", 1000)},
			Log: func(_ string, _, level int, line string) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, fmt.Sprint(level, " ", line))
			},
			Metric: func(_, name string, _ int, value float64) {
				mu.Lock()
				defer mu.Unlock()
				metrics[name] += value
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close(t.Context()) })
		return g
	}
	spec := host.InstanceSpec{Pipeline: "line", Partition: 2, Outputs: []string{"default", "other"}}

	t.Run("conforms to the ABI", func(t *testing.T) {
		checks := hosttest.Run(t, module, hosttest.Options{
			Host: h, Name: "guest", Config: json.RawMessage(`{"greeting":"hello","wait":"1m30s"}`), Outputs: []string{"other"},
			Grants: []string{"clock", "random", "secret"}, Steady: 20_000,
			Events: hosttest.Payloads([]byte("greet"), []byte("panic"), []byte("dead"), []byte("later"), []byte("else"), []byte("goroutine")),
		})
		for _, c := range checks {
			if c.Result == hosttest.NotExercised && slices.Contains([]string{"answer: own payload", "answer: named outputs", "answer: retry", "answer: dead letter", "answer: own headers", "close"}, c.Name) {
				t.Errorf("%s: %s", c.Name, c.Reason)
			}
		}
	})
	t.Run("refuses its configuration in words", func(t *testing.T) {
		for config, want := range map[string]string{
			`{"greting":1}`:   `config: unknown key "greting"; there is greeting, wait, refuse`,
			`{"wait":5}`:      `config.wait: want a duration such as "1.5s", got 5`,
			`{"refuse":true}`: `greeting is rude; wait is long`,
		} {
			_, err := load(t, config).NewInstance(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", config, err, want)
			}
		}
	})

	instance, err := load(t, `{"greeting":"hello","wait":"1m30s"}`).NewInstance(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(instance.Discard)
	var result abi.Result
	process := func(t *testing.T, payloads ...string) *abi.Result {
		t.Helper()
		events := make([]abi.Event, len(payloads))
		for i, p := range payloads {
			events[i] = abi.Event{
				Seq: uint64(i + 1), Attempt: 1, Subject: []byte("a.b"), Key: []byte("k"), HeaderCount: 1,
				Headers: abi.AppendHeader(nil, "A", "1"), Payload: []byte(p),
			}
		}
		if err := instance.Process(t.Context(), abi.BatchHeader{ID: 1}, events, &result); err != nil {
			t.Fatal(err)
		}
		return &result
	}
	for payload, want := range map[string]string{
		"greet":     "hello 1m30s guest line 2",
		"random":    "true",
		"secret":    "1000 true false",
		"goroutine": "from a goroutine",
	} {
		t.Run(payload, func(t *testing.T) {
			if r := process(t, payload); len(r.Outputs) != 1 || string(r.Outputs[0].Payload) != want {
				t.Errorf("got %+v, want %q", r, want)
			}
		})
	}
	t.Run("reads the clock", func(t *testing.T) {
		if r := process(t, "now"); len(r.Outputs) != 1 || string(r.Outputs[0].Payload) < "2025" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("copies events of any size", func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 8, 1 << 10, 1 << 20, 100} {
			body := strings.Repeat("x", n)
			r := process(t, body, body)
			if len(r.Outputs) != 2 {
				t.Fatalf("%d bytes: %d outputs", n, len(r.Outputs))
			}
			for _, o := range r.Outputs {
				if string(o.Payload) != body || o.ID != 1 || string(o.Subject) != "copied" || string(o.Key) != "k" || o.Flags != abi.FlagKeepHeaders || o.HeaderCount != 1 {
					t.Errorf("%d bytes: output %d of %d bytes to %q with the flags %d", n, o.ID, len(o.Payload), o.Subject, o.Flags)
				}
			}
		}
	})
	t.Run("a panic fails its event and names the line", func(t *testing.T) {
		r := process(t, "", "panic", "later", "dead", "")
		if len(r.Outputs) != 2 || r.Outputs[1].Source != 4 || len(r.Outcomes) != 3 {
			t.Fatalf("got %+v", r)
		}
		panicked, later, dead := r.Outcomes[0], r.Outcomes[1], r.Outcomes[2]
		for _, part := range []string{"panic: runtime error: index out of range [2] with length 0", "; at main.", "(main.go:"} {
			if panicked.Index != 1 || panicked.Code != abi.CodeRetry || !strings.Contains(string(panicked.Reason), part) {
				t.Errorf("got the code %d and %q, want %q in it", panicked.Code, panicked.Reason, part)
			}
		}
		if later.Index != 2 || later.Code != abi.CodeRetry || later.Delay != 1000 || string(later.Reason) != "busy" {
			t.Errorf("got %+v", later)
		}
		if dead.Index != 3 || dead.Code != abi.CodeDeadLetter || string(dead.Reason) != "no use" {
			t.Errorf("got %+v", dead)
		}
	})
	t.Run("logs and counts", func(t *testing.T) {
		mu.Lock()
		before := metrics["seen_total"]
		mu.Unlock()
		process(t, "log", "log")
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(lines, "\n"); !strings.Contains(got, "4 careful seq=2") {
			t.Errorf("the log is %s", got)
		}
		if metrics["seen_total"]-before != 2 || metrics["size_bytes"] == 0 || metrics["level"] == 0 || len(metrics) != 3 {
			t.Errorf("the metrics are %v", metrics)
		}
	})
	t.Run("gives the collector its turn", func(t *testing.T) {
		for range 200 { // of 4 MiB each
			process(t, "garbage")
		}
		r := process(t, "heap")
		var mib int
		if _, err := fmt.Sscan(string(r.Outputs[0].Payload), &mib); err != nil || mib > 48 {
			t.Errorf("the heap of the guest is %d MiB (%v)", mib, err)
		}
	})
	t.Run("emits when it closes", func(t *testing.T) {
		if err := instance.Close(t.Context(), &result); err != nil {
			t.Fatal(err)
		}
		if len(result.Outputs) != 1 || string(result.Outputs[0].Subject) != "bye" || result.Outputs[0].Source != abi.NoSource {
			t.Errorf("got %+v", result)
		}
	})
}
