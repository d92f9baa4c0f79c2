//go:build unix

package builtin_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// BenchmarkPlugins measures an event in each plugin, in the sandbox, in batches
// of 512. threshold is what a plugin written in Go for the purpose takes.
func BenchmarkPlugins(b *testing.B) {
	h := openHost(b)
	doc := `{"type":"Feature","properties":{"mag":4.31,"place":"37km NNE of Amboy, Washington","time":1517363399650,"felt":null,"net":"uw"},"list":[{"a":1},{"a":2}],"pad":"` + strings.Repeat("x", 80) + `"}`
	for _, c := range []struct{ what, name, config string }{
		{"pass", "pass", `{}`},
		{"threshold", "threshold", `{"pointer":"/properties/mag","min":4.5}`},
		{"filter/number", "filter", `{"where":"payload.properties.mag >= 4.5"}`},
		{"filter/number-and-text", "filter", `{"where":"payload.properties.mag >= 4 and payload.properties.net in ['us', 'uw']"}`},
		{"filter/computed", "filter", `{"where":"payload.properties.mag * 2 >= 9"}`},
		{"filter/default", "filter", `{"where":"(payload.properties.mag ?? 0) >= 4.5"}`},
		{"filter/decoded", "filter", `{"where":"any(payload.list, .a > 1)"}`},
		{"route/3-rules", "route", `{"rules":[{"when":"payload.properties.net == 'a'","to":"default"},{"when":"payload.properties.net == 'b'","to":"default"},{"when":"payload.properties.net == 'uw'","to":"default"}]}`},
		{"map/payload", "map", `{"payload":{"mag":"payload.properties.mag","net":"payload.properties.net","at":"fromUnixMilli(payload.properties.time)"}}`},
		{"map/set", "map", `{"set":{"region":"'west'"}}`},
		{"explode", "explode", `{"array":"/list"}`},
		{"redact/paths", "redact", `{"remove":["/pad"],"mask":["/properties/place"]}`},
		{"redact/any-depth", "redact", `{"mask":["/**/place"]}`},
		{"redact/text", "redact", `{"text":["[\\w.+-]+@[\\w.-]+"]}`},
		{"sample", "sample", `{"rate":0.5,"by":"json:/properties/net"}`},
		{"validate", "validate", `{"schema":{"type":"object","required":["properties"],"properties":{"properties":{"type":"object","required":["mag"],"properties":{"mag":{"type":"number","minimum":0},"net":{"type":"string"}}}}}}`},
	} {
		b.Run(c.what, func(b *testing.B) {
			p := open(b, h, c.name, c.config)
			e := event{subject: "quakes.raw.uw", payload: doc, seq: 1}
			events := make([]abi.Event, 512)
			for i := range events {
				events[i] = e.view()
			}
			var r abi.Result
			before := processorTime(b)
			for b.Loop() {
				if err := p.instance.Process(context.Background(), abi.BatchHeader{ID: 1}, events, &r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N*len(events)), "cpu-ns/event")
		})
	}
}

// processorTime is what the process has used: other than the clock's, it means
// something on a busy machine.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
