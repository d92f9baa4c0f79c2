package broker

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// The loop of these benchmarks is the ground every pipeline stands on: consume
// a 256-byte event, publish it to another topic, acknowledge. One operation is
// one event.
//
//	reference  jetstream.Messages + orbit's fast publisher, AckAll per 500
//	own        Source + Sink
//	header     Source + Sink, with the header Wasmill-Source on every output
//
//	go test ./runtime/broker -run - -bench NativeLoop -benchtime 300000x -count 3
func BenchmarkNativeLoop(b *testing.B) {
	b.Run("reference/pipe", func(b *testing.B) { benchReference(b, true) })
	b.Run("reference/tcp", func(b *testing.B) { benchReference(b, false) })
	for _, header := range []bool{false, true} {
		name := "own"
		if header {
			name = "header"
		}
		for _, in := range []bool{true, false} {
			for _, out := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/source=%s,sink=%s", name, via(in), via(out)), func(b *testing.B) { benchOwn(b, in, out, header) })
			}
		}
	}
}

func via(inProcess bool) string {
	if inProcess {
		return "pipe"
	}
	return "tcp"
}

var ackEvery = flag.Int("ackevery", 500, "events between two acknowledgements in benchmarks")

func benchRig(b *testing.B) *rig {
	r := newRig(b, nil)
	r.stream(b, "IN", nil)
	r.stream(b, "OUT", nil)
	fillTopic(b, r, "IN", b.N, make([]byte, 256))
	return r
}

func fillTopic(tb testing.TB, r *rig, topic string, n int, payload []byte) {
	tb.Helper()
	s := r.sink(tb, SinkConfig{Topics: []string{topic}}, nil)
	ctx := context.Background()
	m := &event.Output{Subject: topic + ".a", Payload: payload}
	for range n {
		if _, err := s.Add(ctx, 0, m); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		tb.Fatal(err)
	}
}

// cpuTime is what the process has used: steadier than elapsed time on a busy machine.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchReference(b *testing.B, inProcess bool) {
	r := benchRig(b)
	ctx := context.Background()
	connect := func() jetstream.JetStream {
		var opts []nats.Option
		if inProcess {
			opts = append(opts, nats.InProcessServer(r.srv))
		}
		nc, err := nats.Connect(r.srv.ClientURL(), opts...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
		if err != nil {
			b.Fatal(err)
		}
		return js
	}
	in, out := connect(), connect()
	cons, err := in.CreateConsumer(ctx, "IN", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 20000})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	it, err := cons.Messages(jetstream.PullMaxMessages(2000))
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	fp, err := jetstreamext.NewFastPublisher(out, jetstreamext.FastPublishFlowControl{Flow: 400, MaxOutstandingAcks: 3})
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		m, err := it.Next()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fp.Add("OUT.a", m.Data()); err != nil {
			b.Fatal(err)
		}
		if (i+1)%*ackEvery == 0 {
			if err := m.Ack(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if _, err := fp.Close(ctx); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func benchOwn(b *testing.B, sourceInProcess, sinkInProcess, header bool) {
	r := benchRig(b)
	ctx := context.Background()
	src, err := openSource(ctx, r.wire(b, sourceInProcess), r.state(b, "bench"), SourceConfig{Pipeline: "p", Topic: "IN"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = src.Close() })
	moved := make(chan struct{}, 1)
	snk, err := openSink(ctx, r.wire(b, sinkInProcess), SinkConfig{Pipeline: "p", Topics: []string{"OUT"}}, func() {
		select {
		case moved <- struct{}{}:
		default:
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = snk.Close(ctx) })
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()

	tokens := make(chan token, 1<<16)
	done := make(chan struct{})
	var pos atomic.Uint64
	go func() { // acknowledges what is confirmed
		defer close(done)
		for t := range tokens {
			for snk.Confirmed(0) < t.pos {
				<-moved
			}
			if err := src.Ack(t.ack); err != nil {
				b.Error(err)
			}
		}
	}()
	var events []event.Event
	var value, headers []byte
	m := event.Output{Subject: "OUT.a"}
	for n := 0; n < b.N; {
		var lag uint64
		events, lag, err = src.Fetch(ctx, events[:0], event.Room{Events: 4096, Bytes: 16 << 20})
		if err != nil {
			b.Fatal(err)
		}
		for i := range events {
			e := &events[i]
			m.Payload = e.Payload
			if header {
				value = append(append(value[:0], "IN"...), '/')
				value = strconv.AppendUint(value, e.Seq, 10)
				value = append(value, "/0"...)
				headers = abi.AppendHeader(headers[:0], "Wasmill-Source", asString(value))
				m.Headers, m.HeaderCount = headers, 1
			}
			p, err := snk.Add(ctx, 0, &m)
			if err != nil {
				b.Fatal(err)
			}
			if n++; n%*ackEvery == 0 || n == b.N {
				tokens <- token{p, e.Ack}
				pos.Store(p)
			}
		}
		if lag == 0 {
			if err := snk.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	close(tokens)
	<-done
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

type token struct {
	pos uint64
	ack string
}
