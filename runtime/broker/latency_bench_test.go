package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// BenchmarkLatency publishes at a steady rate to one topic and measures from
// there until the copy in another topic is confirmed, through Source and Sink.
// Events are published one by one, as applications do.
//
//	go test ./runtime/broker -run - -bench Latency -benchtime 20000x
func BenchmarkLatency(b *testing.B) {
	for _, rate := range []int{1_000, 20_000} {
		for _, in := range []bool{true, false} {
			for _, out := range []bool{true, false} {
				b.Run(fmt.Sprintf("%d/source=%s,sink=%s", rate, via(in), via(out)), func(b *testing.B) { benchLatency(b, rate, in, out) })
			}
		}
	}
}

func benchLatency(b *testing.B, rate int, sourceInProcess, sinkInProcess bool) {
	r := newRig(b, nil)
	r.stream(b, "IN", nil)
	r.stream(b, "OUT", nil)
	ctx := context.Background()
	src, err := openSource(ctx, r.wire(b, sourceInProcess), r.state(b, "bench"), SourceConfig{Pipeline: "p", Topic: "IN"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = src.Close() })
	p := make(progress, 1)
	snk, err := openSink(ctx, r.wire(b, sinkInProcess), SinkConfig{Pipeline: "p", Topics: []string{"OUT"}}, p.moved)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = snk.Close(ctx) })
	start := time.Now()
	b.ResetTimer()
	go func() { // an application
		payload := make([]byte, 256)
		for i := range b.N {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate)))) // the pace
			binary.LittleEndian.PutUint64(payload, uint64(time.Since(start)))
			if err := r.nc.Publish("IN.a", payload); err != nil {
				b.Error(err)
			}
		}
	}()
	sent := make(chan time.Duration, 1<<16)
	took := make([]time.Duration, 0, b.N)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var at time.Duration
		for pos := uint64(1); pos <= uint64(b.N); pos++ {
			at = <-sent
			for snk.Confirmed(0) < pos {
				<-p
			}
			took = append(took, time.Since(start)-at)
		}
	}()
	var events []event.Event
	for n := 0; n < b.N; n += len(events) {
		var lag uint64
		if events, lag, err = src.Fetch(ctx, events[:0], wide); err != nil {
			b.Fatal(err)
		}
		for i := range events {
			sent <- time.Duration(binary.LittleEndian.Uint64(events[i].Payload))
			if _, err := snk.Add(ctx, 0, &event.Output{Subject: "OUT.a", Payload: events[i].Payload}); err != nil {
				b.Fatal(err)
			}
		}
		if lag == 0 {
			if err := snk.Flush(); err != nil {
				b.Fatal(err)
			}
		}
		if err := src.Ack(events[len(events)-1].Ack); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
