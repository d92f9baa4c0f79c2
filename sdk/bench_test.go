package sdk

import (
	"strconv"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// The benchmarks run in WebAssembly, too: GOOS=wasip1 GOARCH=wasm go test -c.

func benchmarkBatch(payload string, n int) []byte {
	e := abi.Event{Seq: 1, Attempt: 1, Subject: []byte("quakes.raw.uw"), Payload: []byte(payload)}
	frame := make([]byte, abi.BatchHeaderSize+n*abi.EventSize(&e))
	abi.PutBatchHeader(frame, abi.BatchHeader{Count: uint32(n)}, len(frame))
	for at := abi.BatchHeaderSize; at < len(frame); {
		at += abi.PutEvent(frame[at:], &e)
	}
	return frame
}

const benchmarkEvent = `{"type":"Feature","properties":{"mag":4.51,"place":"37km NNE of Amboy, Washington","time":1517363399650,"felt":null,"tsunami":0,"net":"uw"},"geometry":{"type":"Point","coordinates":[-122.197,46.2035,3.28]},"id":"uw61345682"}`

func BenchmarkProcess(b *testing.B) {
	handlers := map[string]Handler{
		"nothing": func(*Event, *Out) error { return nil },
		"drop":    func(*Event, *Out) error { return Drop },
		"pass":    func(_ *Event, out *Out) error { out.Pass(); return nil },
		"emit": func(e *Event, out *Out) error {
			out.Emit(Message{Subject: "alerts.uw", Payload: e.Payload(), Headers: []Header{{"Region", "west"}}})
			return nil
		},
		"filter": func(e *Event, out *Out) error {
			if m, ok := e.Find("/properties/mag").Float(); !ok || m < 4.5 {
				return Drop
			}
			out.Pass()
			return nil
		},
	}
	for _, name := range []string{"nothing", "drop", "pass", "emit", "filter"} {
		for _, n := range []int{1, 512} {
			b.Run(name+"/batch="+strconv.Itoa(n), func(b *testing.B) {
				g := guest{opener: func(*Instance) (Handler, error) { return handlers[name], nil }}
				frame := benchmarkBatch(benchmarkEvent, n)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := g.process(frame); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
			})
		}
	}
}
