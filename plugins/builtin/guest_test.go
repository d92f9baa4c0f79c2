package builtin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/sdk/abi"
)

// guest is a module on a bare engine: no limits, no checks, only the ABI. It
// shows what the SDK does, where package host shows what the runtime does.
type guest struct {
	t      testing.TB
	ctx    context.Context
	module api.Module
	stderr strings.Builder
	logs   []string
	result abi.Result
}

func start(t testing.TB, module []byte) *guest {
	t.Helper()
	g := &guest{t: t, ctx: context.Background()}
	engine := wazero.NewRuntime(g.ctx)
	t.Cleanup(func() { _ = engine.Close(g.ctx) })
	wasi_snapshot_preview1.MustInstantiate(g.ctx, engine)
	_, err := engine.NewHostModuleBuilder(abi.ImportModule).
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, level int32, ptr, size uint32) {
		line, _ := m.Memory().Read(ptr, size)
		g.logs = append(g.logs, string(line))
	}).Export(abi.ImportLog).
		NewFunctionBuilder().WithFunc(func(ptr, size uint32, kind int32) int32 { return 0 }).Export(abi.ImportMetricDefine).
		NewFunctionBuilder().WithFunc(func(id int32, n int64) {}).Export(abi.ImportMetricAdd).
		NewFunctionBuilder().WithFunc(func(id int32, v float64) {}).Export(abi.ImportMetricObserve).
		Instantiate(g.ctx)
	if err != nil {
		t.Fatal(err)
	}
	config := wazero.NewModuleConfig().WithStartFunctions(abi.ExportInitialize).WithStderr(&g.stderr).WithSysNanotime()
	if g.module, err = engine.InstantiateWithConfig(g.ctx, module, config); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guest) call(name string, params ...uint64) uint64 {
	g.t.Helper()
	results, err := g.module.ExportedFunction(name).Call(g.ctx, params...)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", name, err, g.stderr.String())
	}
	return results[0]
}

// send puts b into the guest's buffer and returns its address.
func (g *guest) send(b []byte) uint64 {
	g.t.Helper()
	at := g.call(abi.ExportBuffer, uint64(len(b)))
	if at == 0 || at%8 != 0 || !g.module.Memory().Write(uint32(at), b) {
		g.t.Fatalf("the buffer is at %#x", at)
	}
	return at
}

func (g *guest) open(doc string) int32 {
	g.t.Helper()
	return int32(g.call(abi.ExportOpen, g.send([]byte(doc)), uint64(len(doc))))
}

func (g *guest) process(events []abi.Event) *abi.Result {
	g.t.Helper()
	frame := batch(events)
	packed := int64(g.call(abi.ExportProcess, g.send(frame), uint64(len(frame))))
	if packed < 0 {
		g.t.Fatalf("the batch failed: %s", g.stderr.String())
	}
	response, ok := g.module.Memory().Read(uint32(packed>>32), uint32(packed))
	if !ok {
		g.t.Fatalf("the response is at %#x", packed)
	}
	if err := abi.DecodeResponse(response, abi.ResponseLimits{Events: len(events), Outputs: 8}, &g.result); err != nil {
		g.t.Fatal(err)
	}
	return &g.result
}

func batch(events []abi.Event) []byte {
	size := abi.BatchHeaderSize
	for i := range events {
		size += abi.EventSize(&events[i])
	}
	frame := make([]byte, size)
	abi.PutBatchHeader(frame, abi.BatchHeader{Count: uint32(len(events)), ID: 1}, size)
	at := abi.BatchHeaderSize
	for i := range events {
		at += abi.PutEvent(frame[at:], &events[i])
	}
	return frame
}

func payloads(payloads ...string) []abi.Event {
	events := make([]abi.Event, len(payloads))
	for i, p := range payloads {
		events[i] = abi.Event{Seq: uint64(i + 1), Attempt: 1, Subject: []byte("quakes.raw.uw"), Payload: []byte(p)}
	}
	return events
}

func module(t testing.TB, name string) []byte {
	t.Helper()
	m, err := builtin.Module(name)
	if err != nil {
		t.Fatalf("%v: run go generate ./plugins/builtin", err)
	}
	return m
}

func TestPass(t *testing.T) {
	g := start(t, module(t, "pass"))
	if v := g.call(abi.ExportABI); v != abi.Version {
		t.Errorf("the ABI is %#x, want %#x", v, abi.Version)
	}
	if code := g.open(`{"config":{},"grants":[],"plugin":"p","pipeline":"q","partition":0,"outputs":["default"]}`); code != 0 {
		t.Fatalf("open = %d: %s", code, g.stderr.String())
	}
	for round := range 100 {
		r := g.process(payloads("a", "", "c"))
		if len(r.Outputs) != 3 || len(r.Outcomes) != 0 {
			t.Fatalf("round %d: %d outputs, %d outcomes", round, len(r.Outputs), len(r.Outcomes))
		}
		for i, o := range r.Outputs {
			if o.Source != uint32(i) || o.Flags != abi.FlagPayloadRef|abi.FlagKeepHeaders || o.ID != 0 {
				t.Errorf("output %d is %+v", i, o)
			}
		}
	}
	if r := int64(g.call(abi.ExportClose)); r <= 0 {
		t.Errorf("close = %d", r)
	}
}

func TestThreshold(t *testing.T) {
	events := payloads(`{"m":4.4}`, `{"m":4.5}`, `{"m":5}`, `{"m":5.1}`, `{"m":"5"}`, `{}`, ``)
	for _, c := range []struct{ name, config, want string }{
		{"a lower bound", `{"pointer":"/m","min":4.5}`, "outside pass pass pass no-number no-number no-number"},
		{"both bounds", `{"pointer":"/m","min":4.5,"max":5}`, "outside pass pass outside no-number no-number no-number"},
		{"an output for the others", `{"pointer":"/m","min":4.5,"else":"weak"}`, "weak pass pass pass no-number no-number no-number"},
		{"no bound keeps every number", `{"pointer":"/m"}`, "pass pass pass pass no-number no-number no-number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := start(t, module(t, "threshold"))
			if code := g.open(`{"config":` + c.config + `,"outputs":["default","weak"]}`); code != 0 {
				t.Fatalf("open = %d: %s", code, g.stderr.String())
			}
			r := g.process(events)
			became := make([]string, len(events))
			for _, o := range r.Outputs {
				became[o.Source] = []string{"pass", "weak"}[o.ID]
			}
			for _, o := range r.Outcomes {
				if o.Code != abi.CodeDrop {
					t.Errorf("event %d has the code %d", o.Index, o.Code)
				}
				became[o.Index] = map[string]string{"no number at the pointer": "no-number", "outside the bounds": "outside"}[string(o.Reason)]
			}
			if got := strings.Join(became, " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("says why it refuses", func(t *testing.T) {
		g := start(t, module(t, "threshold"))
		if code := g.open(`{"config":{"pointer":"m"}}`); code >= 0 {
			t.Fatalf("open = %d", code)
		}
		want := "config.pointer: JSON pointer \"m\" must be empty or begin with /\n"
		if got := g.stderr.String(); got != want {
			t.Errorf("stderr is %q, want %q", got, want)
		}
	})
}
