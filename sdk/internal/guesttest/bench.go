package guesttest

import (
	"encoding/json"
	"testing"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Bench measures what an event costs in a module, in batches of 64: one that the
// plugin passes, or whatever else it does with an earthquake.
func Bench(b *testing.B, module []byte, config string) {
	h := host.New(host.Options{CacheDir: b.TempDir()})
	if err := h.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Close(b.Context()) }()
	g, err := h.Load(b.Context(), host.Spec{Name: "bench", Module: module, Config: json.RawMessage(config), Limits: host.Limits{Memory: memory}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = g.Close(b.Context()) }()
	instance, err := g.NewInstance(b.Context(), host.InstanceSpec{Pipeline: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer instance.Discard()
	events := make([]abi.Event, 64)
	for i := range events {
		events[i] = abi.Event{Seq: uint64(i), Attempt: 1, Subject: []byte("quakes.us"), Payload: []byte(
			`{"type":"Feature","properties":{"mag":5.3,"place":"50km NNW of Sangiang, Indonesia","time":1517364031800,"updated":1517423633040,"tz":480,"felt":4,"cdi":9.1},"id":"us2000crkq"}`)}
	}
	var res abi.Result
	b.ReportAllocs()
	for b.Loop() {
		if err := instance.Process(b.Context(), abi.BatchHeader{}, events, &res); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(events)), "ns/event")
	b.ReportMetric(float64(instance.Memory()), "B-of-memory")
	if len(res.Outputs) != len(events) {
		b.Errorf("%d outputs", len(res.Outputs))
	}
}
