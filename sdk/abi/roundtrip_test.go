package abi_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/sdk/abi"
)

func encodeBatch(h abi.BatchHeader, events []abi.Event) []byte {
	size := abi.BatchHeaderSize
	for i := range events {
		size += abi.EventSize(&events[i])
	}
	frame := make([]byte, size)
	putBatch(frame, h, events)
	return frame
}

func putBatch(frame []byte, h abi.BatchHeader, events []abi.Event) {
	abi.PutBatchHeader(frame, h, len(frame))
	at := abi.BatchHeaderSize
	for i := range events {
		at += abi.PutEvent(frame[at:], &events[i])
	}
}

func decodeBatch(frame []byte) (abi.BatchHeader, []abi.Event, error) {
	r, err := abi.ReadBatch(frame)
	if err != nil {
		return r.Header, nil, err
	}
	var events []abi.Event
	for {
		var e abi.Event
		ok, err := r.Next(&e)
		if !ok || err != nil {
			return r.Header, events, err
		}
		events = append(events, e)
	}
}

func sameEvents(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []abi.Event,
) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Flags != w.Flags || g.Attempt != w.Attempt || g.Seq != w.Seq || g.Time != w.Time || g.HeaderCount != w.HeaderCount ||
			!bytes.Equal(g.Subject, w.Subject) || !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Headers, w.Headers) || !bytes.Equal(g.Payload, w.Payload) {
			t.Fatalf("event %d: got %+v, want %+v", i, g, w)
		}
	}
}

var (
	anyBytes    = rapid.SliceOfN(rapid.Byte(), 0, 40)
	headerName  = rapid.StringMatching(`[!-9;-~]{1,12}`)
	headerValue = rapid.StringMatching(`[ -~é]{0,12}`)
)

func drawHeaders(t *rapid.T) (block []byte, count int) {
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		block = abi.AppendHeader(block, headerName.Draw(t, "name"), headerValue.Draw(t, "value"))
		count++
	}
	return block, count
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := make([]abi.Event, rapid.IntRange(0, 8).Draw(t, "events"))
		for i := range events {
			block, count := drawHeaders(t)
			events[i] = abi.Event{
				Attempt: rapid.Uint32().Draw(t, "attempt"), Seq: rapid.Uint64().Draw(t, "seq"), Time: rapid.Int64().Draw(t, "time"),
				HeaderCount: uint32(count), Headers: block,
				Subject: anyBytes.Draw(t, "subject"), Key: anyBytes.Draw(t, "key"), Payload: anyBytes.Draw(t, "payload"),
			}
		}
		header := abi.BatchHeader{
			Kind: abi.Kind(rapid.IntRange(0, 2).Draw(t, "kind")), Count: uint32(len(events)),
			ID: rapid.Uint64().Draw(t, "id"), Now: rapid.Int64().Draw(t, "now"),
		}
		got, gotEvents, err := decodeBatch(encodeBatch(header, events))
		if err != nil {
			t.Fatal(err)
		}
		if got != header {
			t.Fatalf("header: got %+v, want %+v", got, header)
		}
		sameEvents(t, gotEvents, events)
	})
}

// TestResponseRoundTrip plays a handler: for each event it writes outputs, takes
// some back and decides; the host must read just what was left.
func TestResponseRoundTrip(t *testing.T) {
	var w abi.ResponseWriter // one for all, as in a guest
	rapid.Check(t, func(t *rapid.T) {
		w.Reset()
		events := rapid.IntRange(0, 6).Draw(t, "events")
		var outputs []abi.Output
		var outcomes []abi.Outcome
		for index := range events {
			bytes, records := w.Mark()
			before := len(outputs)
			for range rapid.IntRange(0, 3).Draw(t, "outputs") {
				o := drawOutput(t, uint32(index))
				outputs = append(outputs, o)
				w.Output(&o)
			}
			switch rapid.IntRange(0, 3).Draw(t, "decision") {
			case 0: // the outputs stand
			case 1: // and one more, as it is
				w.Pass(uint32(index), 1)
				outputs = append(outputs, abi.Output{Source: uint32(index), Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders, ID: 1})
			default:
				w.Rollback(bytes, records)
				outputs = outputs[:before]
				o := abi.Outcome{
					Index: uint32(index), Code: abi.Code(rapid.IntRange(1, 3).Draw(t, "code")),
					Delay: rapid.Uint32().Draw(t, "delay"), Reason: anyBytes.Draw(t, "reason"),
				}
				outcomes = append(outcomes, o)
				w.Outcome(o.Index, o.Code, o.Delay, string(o.Reason))
			}
		}
		if rapid.Bool().Draw(t, "closing") {
			o := drawOutput(t, abi.NoSource)
			o.Flags = 0
			outputs = append(outputs, o)
			w.Output(&o)
		}
		var r abi.Result
		if err := abi.DecodeResponse(w.Bytes(), abi.ResponseLimits{Events: events, Outputs: 4}, &r); err != nil {
			t.Fatal(err)
		}
		sameResult(t, r, abi.Result{Outputs: outputs, Outcomes: outcomes})
	})
}

func drawOutput(t *rapid.T, source uint32) abi.Output {
	block, count := drawHeaders(t)
	o := abi.Output{
		Source: source, ID: uint16(rapid.IntRange(0, 3).Draw(t, "id")), HeaderCount: uint16(count), Headers: block,
		Flags: rapid.Uint32Range(0, 3).Draw(t, "flags"), Subject: anyBytes.Draw(t, "subject"), Key: anyBytes.Draw(t, "key"),
	}
	if o.Flags&abi.FlagPayloadRef == 0 {
		o.Payload = anyBytes.Draw(t, "payload")
	}
	return o
}

func sameResult(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want abi.Result,
) {
	t.Helper()
	if len(got.Outputs) != len(want.Outputs) || len(got.Outcomes) != len(want.Outcomes) {
		t.Fatalf("got %d outputs and %d outcomes, want %d and %d", len(got.Outputs), len(got.Outcomes), len(want.Outputs), len(want.Outcomes))
	}
	for i, g := range got.Outputs {
		w := want.Outputs[i]
		if g.Source != w.Source || g.Flags != w.Flags || g.ID != w.ID || g.HeaderCount != w.HeaderCount ||
			!bytes.Equal(g.Subject, w.Subject) || !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Headers, w.Headers) || !bytes.Equal(g.Payload, w.Payload) {
			t.Fatalf("output %d: got %+v, want %+v", i, g, w)
		}
	}
	for i, g := range got.Outcomes {
		w := want.Outcomes[i]
		if g.Index != w.Index || g.Code != w.Code || g.Delay != w.Delay || !bytes.Equal(g.Reason, w.Reason) {
			t.Fatalf("outcome %d: got %+v, want %+v", i, g, w)
		}
	}
}

func TestALongReasonIsCut(t *testing.T) {
	var w abi.ResponseWriter
	w.Reset()
	w.Outcome(0, abi.CodeDrop, 0, string(make([]byte, 1<<16)))
	w.Outcome(1, abi.CodeDrop, 0, "whole")
	var r abi.Result
	if err := abi.DecodeResponse(w.Bytes(), abi.ResponseLimits{Events: 2, Outputs: 1}, &r); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Outcomes[0].Reason); n != 1<<16-1 {
		t.Errorf("%d bytes are left", n)
	}
	if got := string(r.Outcomes[1].Reason); got != "whole" {
		t.Errorf("the next reason is %q", got)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	header, events := batchOfLayout()
	frame := encodeBatch(header, events)
	var w abi.ResponseWriter
	out := abi.Output{Subject: []byte("x.y"), Headers: abi.AppendHeader(nil, "H", "v"), HeaderCount: 1, Payload: []byte("p")}
	response := append([]byte(nil), writeResponseLayout(&w)...)
	result := abi.Result{Outputs: make([]abi.Output, 0, 8), Outcomes: make([]abi.Outcome, 0, 8)}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"write a batch", func() { putBatch(frame, header, events) }},
		{"read a batch", func() {
			r, err := abi.ReadBatch(frame)
			var e abi.Event
			for ok := true; ok && err == nil; {
				ok, err = r.Next(&e)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"write a response", func() {
			w.Reset()
			w.Pass(0, 0)
			w.Output(&out)
			w.Outcome(1, abi.CodeDrop, 0, "reason")
			_ = w.Bytes()
		}},
		{"read a response", func() {
			if err := abi.DecodeResponse(response, abi.ResponseLimits{Events: 3, Outputs: 3}, &result); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, c.do); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	events := make([]abi.Event, 512)
	for i := range events {
		events[i] = abi.Event{Seq: uint64(i), Attempt: 1, Subject: []byte("quakes.raw.uw"), Payload: bytes.Repeat([]byte("x"), 256)}
	}
	header := abi.BatchHeader{Count: uint32(len(events))}
	frame := encodeBatch(header, events)
	perEvent := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
	}
	b.Run("put batch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			putBatch(frame, header, events)
		}
		perEvent(b)
	})
	b.Run("read batch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, _ := abi.ReadBatch(frame)
			var e abi.Event
			for ok := true; ok; {
				ok, _ = r.Next(&e)
			}
		}
		perEvent(b)
	})
	b.Run("pass and decode response", func(b *testing.B) {
		var w abi.ResponseWriter
		var r abi.Result
		b.ReportAllocs()
		for b.Loop() {
			w.Reset()
			for i := range events {
				w.Pass(uint32(i), 0)
			}
			if err := abi.DecodeResponse(w.Bytes(), abi.ResponseLimits{Events: len(events), Outputs: 1}, &r); err != nil {
				b.Fatal(err)
			}
		}
		perEvent(b)
	})
}
