package builtin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/sdk/abi"
)

// compiled is where the modules are kept for all tests of the package: each is
// compiled once.
var compiled string //nolint:gochecknoglobals // made before the tests and removed behind them

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wasmill-builtin-")
	if err != nil {
		panic(err)
	}
	compiled = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func openHost(t testing.TB) *host.Host {
	t.Helper()
	h := host.New(host.Options{CacheDir: compiled})
	if err := h.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// plugin is a ready-made plugin in the sandbox.
type plugin struct {
	instance *host.Instance
	outputs  []string
}

// tryOpen opens a plugin with a configuration, as JSON.
func tryOpen(t testing.TB, h *host.Host, name, config string, outputs ...string) (*plugin, error) {
	t.Helper()
	return tryOpenAs(t, h, name, name, config, outputs...)
}

// tryOpenAs opens the module of one plugin as another.
func tryOpenAs(t testing.TB, h *host.Host, name, as, config string, outputs ...string) (*plugin, error) {
	t.Helper()
	module, err := builtin.Module(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	g, err := h.Load(ctx, host.Spec{Name: "p", Builtin: as, Module: module, Config: json.RawMessage(config)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if len(outputs) == 0 {
		outputs = []string{"default"}
	}
	i, err := g.NewInstance(ctx, host.InstanceSpec{Pipeline: "q", Outputs: outputs})
	if err != nil {
		return nil, err
	}
	t.Cleanup(i.Discard)
	return &plugin{i, outputs}, nil
}

func open(t testing.TB, h *host.Host, name, config string, outputs ...string) *plugin {
	t.Helper()
	p, err := tryOpen(t, h, name, config, outputs...)
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	return p
}

// event is an event for a plugin.
type event struct {
	subject, key, payload string
	headers               []string // names and values in turn
	seq                   uint64
	time                  time.Time
}

func (e *event) view() abi.Event {
	v := abi.Event{Seq: e.seq, Attempt: 1, Subject: []byte(e.subject), Key: []byte(e.key), Payload: []byte(e.payload)}
	if !e.time.IsZero() {
		v.Time = e.time.UnixNano()
	}
	for i := 0; i < len(e.headers); i += 2 {
		v.Headers = abi.AppendHeader(v.Headers, e.headers[i], e.headers[i+1])
		v.HeaderCount++
	}
	return v
}

// process returns what becomes of events: "N out OUTPUT [SUBJECT] [key=KEY]
// [NAME=VALUE …] PAYLOAD", "N drop REASON" and so on, N counted from 0.
func (p *plugin) process(t testing.TB, events ...event) []string {
	t.Helper()
	views := make([]abi.Event, len(events))
	for i := range events {
		views[i] = events[i].view()
	}
	var r abi.Result
	if err := p.instance.Process(context.Background(), abi.BatchHeader{ID: 1}, views, &r); err != nil {
		t.Fatal(err)
	}
	outcomes := map[uint32]string{}
	for _, o := range r.Outcomes {
		outcomes[o.Index] = map[abi.Code]string{abi.CodeDrop: "drop", abi.CodeRetry: "retry", abi.CodeDeadLetter: "dead-letter"}[o.Code] + " " + string(o.Reason)
	}
	var lines []string
	for i := range events {
		for k := range r.Outputs {
			if r.Outputs[k].Source == uint32(i) {
				lines = append(lines, fmt.Sprintf("%d out %s", i, p.output(&r.Outputs[k], &views[i])))
			}
		}
		if o, ok := outcomes[uint32(i)]; ok {
			lines = append(lines, fmt.Sprintf("%d %s", i, o))
		}
	}
	return lines
}

func (p *plugin) output(o *abi.Output, source *abi.Event) string {
	parts := []string{p.outputs[o.ID]}
	if len(o.Subject) > 0 {
		parts = append(parts, string(o.Subject))
	}
	if len(o.Key) > 0 {
		parts = append(parts, "key="+string(o.Key))
	}
	if o.Flags&abi.FlagKeepHeaders != 0 {
		parts = appendHeaders(parts, source.Headers)
	}
	parts = appendHeaders(parts, o.Headers)
	payload := o.Payload
	if o.Flags&abi.FlagPayloadRef != 0 {
		payload = source.Payload
	}
	return strings.Join(append(parts, string(payload)), " ")
}

func appendHeaders(parts []string, block []byte) []string {
	for {
		name, value, rest, ok := abi.NextHeader(block)
		if !ok {
			return parts
		}
		text := string(value)
		if strings.ContainsAny(text, ` "`) {
			text = strconv.Quote(text)
		}
		parts = append(parts, string(name)+"="+text)
		block = rest
	}
}
