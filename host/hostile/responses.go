package hostile

import (
	"encoding/binary"
	"fmt"
	"strings"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Events is how many events the batch of a case has, with sequences from 1; each
// has a payload of PayloadBytes and one header.
const (
	Events       = 3
	PayloadBytes = 600
)

// frame is a response by hand: its header's fields, then what follows.
func frame(magic string, header, outcomes, records, total, zero uint32, body ...byte) []byte {
	b := []byte(magic)
	for _, v := range []uint32{header, outcomes, records, total, zero} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, body...)
}

// words are numbers as they stand in a frame.
func words(list ...uint32) []byte {
	var b []byte
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// record frames one output record of these words and data.
func record(data []byte, fields ...uint32) []byte {
	body := append(words(fields...), data...)
	return frame("WMR1", 24, 0, 1, uint32(24+len(body)), 0, body...)
}

func outcomes(n int, body ...byte) []byte {
	return frame("WMR1", 24, uint32(n), 0, uint32(24+len(body)), 0, body...)
}

func outcome(index uint32, code, zero byte, reasonLen uint16, reasonAt uint32) []byte {
	b := append(words(index), code, zero)
	b = binary.LittleEndian.AppendUint16(b, reasonLen)
	return append(b, words(0, reasonAt)...)
}

// answering answers batches with events with response, said to be of n bytes at at.
func answering(response []byte, at, n uint32) func() []byte {
	return func() []byte {
		m := new(wt.Module)
		m.Data(wt.FreeAt, response)
		return m.Plugin(wt.Plugin{Limits: wt.Limits(4), Process: wt.OnData(wt.Answer(at, n))}).Bytes()
	}
}

// responses are all that can be wrong with a response, and with where it lies.
func responses() []Case {
	const end = 4 << 16
	var list []Case
	add := func(name, says string, module func() []byte) {
		list = append(list, Case{
			Name: name, Group: "response", Tries: "to have the host read what is not there", Module: module,
			Outcome: Faulty, Kinds: []string{abi.FaultBadResponse}, Says: says,
		})
	}
	whole := func(name, says string, b []byte) { add(name, says, answering(b, wt.FreeAt, uint32(len(b)))) }
	at := func(name string, p, n uint32) { add(name, "", answering(wt.EmptyResponse(), p, n)) }

	for _, size := range []uint32{0, 1, 23} {
		at(fmt.Sprintf("a response of %d bytes", size), wt.FreeAt, size)
	}
	for _, p := range []uint32{0, 1, end - 24 + 1, end - 1, end, end + 1, 1<<31 - 24, 1<<31 - 1} {
		at(fmt.Sprintf("a response at %d", p), p, 24)
	}
	for _, n := range []uint32{end, end + 1, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 8, 1<<32 - 1} {
		at(fmt.Sprintf("a response of %d bytes", n), wt.FreeAt, n)
	}
	at("a response that wraps around 2^32", 1<<31-1, 1<<32-1)
	add("a response in the batch itself", "", func() []byte {
		return wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Answer(wt.BufferAt, 512))})
	})

	whole("a frame of the wrong magic", "WMR1", frame("WMB1", 24, 0, 0, 24, 0))
	whole("a frame of the wrong endian", "", []byte("1RMW\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x00\x00\x00"))
	whole("lengths of the wrong endian", "", []byte("WMR1\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x00\x00\x00"))
	for _, v := range []uint32{0, 23, 25, 1 << 31, 1<<32 - 8, 1<<32 - 1} {
		whole(fmt.Sprintf("a header of %d bytes", v), "", frame("WMR1", v, 0, 0, 24, 0))
		if v != 25 {
			whole(fmt.Sprintf("a total of %d bytes", v), "total", frame("WMR1", 24, 0, 0, v, 0))
		}
	}
	for _, v := range []uint32{1, 1 << 20, 1 << 31, 1<<32 - 1} {
		whole(fmt.Sprintf("%d records where none are", v), "count", frame("WMR1", 24, 0, v, 24, 0))
		whole(fmt.Sprintf("%d outcomes where none are", v), "count", frame("WMR1", 24, v, 0, 24, 0))
		whole(fmt.Sprintf("a reserved word of %d", v), "reserved", frame("WMR1", 24, 0, 0, 24, v))
		whole(fmt.Sprintf("%d records and as many outcomes", v), "count", frame("WMR1", 24, v, v, 24, 0))
	}
	for _, v := range []uint32{0, 8, 31, 33, 48, 1 << 31, 1<<32 - 8, 1<<32 - 1} {
		whole(fmt.Sprintf("a record of %d bytes", v), "record length", record(nil, v, 0, 0, 0, 0, 0, 0, 0))
	}
	for _, v := range []uint32{1, 1 << 31, 1<<32 - 1} {
		for i, part := range []string{"subject", "key", "headers", "payload"} {
			f := []uint32{32, 0, 0, 0, 0, 0, 0, 0}
			f[4+i] = v
			whole(fmt.Sprintf("a %s of %d bytes in a record without any", part, v), "", record(nil, f...))
		}
		whole(fmt.Sprintf("four parts of %d bytes", v), "exceed", record(nil, 32, 0, 0, 0, v, v, v, v))
	}
	for _, v := range []uint32{Events, 1 << 31, 1<<32 - 2} {
		whole(fmt.Sprintf("an output of event %d", v), "source index", record(nil, 32, v, 0, 0, 0, 0, 0, 0))
		whole(fmt.Sprintf("an outcome of event %d", v), "outcome index", outcomes(1, outcome(v, 1, 0, 0, 0)...))
	}
	for bit := 2; bit < 32; bit += 5 {
		whole(fmt.Sprintf("unknown flag %d", bit), "flags", record(nil, 32, 0, 1<<bit, 0, 0, 0, 0, 0))
	}
	whole("an unknown output", "output id", record(nil, 32, 0, 1, 2, 0, 0, 0, 0))
	whole("output 65535", "output id", record(nil, 32, 0, 1, 65535, 0, 0, 0, 0))
	whole("a reference to the payload of no event", "source", record(nil, 32, 1<<32-1, 1, 0, 0, 0, 0, 0))
	whole("a payload and a reference to one", "payload", record(make([]byte, 8), 40, 0, 1, 0, 0, 0, 0, 8))
	whole("65535 headers in none", "header", record(nil, 32, 0, 0, 65535<<16, 0, 0, 0, 0))
	whole("headers that are not counted", "header", record(make([]byte, 16), 48, 0, 0, 0, 0, 0, 16, 0))
	for _, k := range []string{"", "a:b", "a b", "a\r\nNats-Rollup", "\x00", "ä"} {
		h := pad(abi.AppendHeader(nil, k, "v"))
		whole(fmt.Sprintf("a header called %q", k), "header", record(h, uint32(32+len(h)), 0, 0, 1<<16, 0, 0, uint32(len(k)+9), 0))
	}
	for _, v := range []string{"a\r\nb", "a\nb", "a\x00b"} {
		h := pad(abi.AppendHeader(nil, "k", v))
		whole(fmt.Sprintf("a header that is %q", v), "header", record(h, uint32(32+len(h)), 0, 0, 1<<16, 0, 0, uint32(len(v)+9), 0))
	}
	whole("a header whose length is near 2^32", "header", record(words(1<<32-1, 1<<32-1), 40, 0, 0, 1<<16, 0, 0, 8, 0))
	for _, code := range []byte{0, 4, 255} {
		whole(fmt.Sprintf("an outcome of code %d", code), "code", outcomes(1, outcome(0, code, 0, 0, 0)...))
	}
	whole("an outcome with a reserved byte", "reserved", outcomes(1, outcome(0, 1, 1, 0, 0)...))
	whole("an outcome twice", "order", outcomes(2, append(outcome(1, 1, 0, 0, 0), outcome(1, 1, 0, 0, 0)...)...))
	whole("outcomes backwards", "order", outcomes(2, append(outcome(1, 1, 0, 0, 0), outcome(0, 1, 0, 0, 0)...)...))
	for _, v := range []uint32{40, 1 << 31, 1<<32 - 1} {
		whole(fmt.Sprintf("a reason at %d", v), "reason", outcomes(1, outcome(0, 1, 0, 65535, v)...))
	}
	both := append(words(32, 0, 1, 0, 0, 0, 0, 0), outcome(0, 1, 0, 0, 0)...)
	whole("an event with an output and an outcome", "outcome and outputs", frame("WMR1", 24, 1, 1, uint32(24+len(both)), 0, both...))
	back := append(words(32, 1, 1, 0, 0, 0, 0, 0), words(32, 0, 1, 0, 0, 0, 0, 0)...)
	whole("outputs backwards", "order", frame("WMR1", 24, 0, 2, uint32(24+len(back)), 0, back...))

	for _, code := range []int64{-1, -1 << 31, -1 << 63} {
		list = append(list, Case{
			Name: fmt.Sprintf("a batch that failed with %d", code), Group: "response", Tries: "to fail",
			Module: processing(func(*wt.Module) []byte { return wt.Cat(wt.I64Const(code), wt.Return()) }), Outcome: Faulty, Kinds: []string{abi.FaultGuestError},
		})
	}
	for _, p := range []int64{1, 4, 1028, end - 8, end, 1<<31 - 8, 1 << 31, 1<<32 - 8, 1<<32 - 1} {
		list = append(list, Case{
			Name: fmt.Sprintf("a buffer at %d", p), Group: "response", Tries: "to have the host write elsewhere",
			Module: in(places()[1], func(*wt.Module) []byte { return wt.Cat(wt.I32Const(p), wt.Return()) }), Outcome: Faulty, Kinds: []string{abi.FaultBadResponse},
		})
	}
	list = append(list,
		Case{
			Name: "no buffer", Group: "response", Tries: "to take no batch", Outcome: Faulty, Kinds: []string{abi.FaultOutOfMemory},
			Module: in(places()[1], func(*wt.Module) []byte { return wt.Cat(wt.I32Const(0), wt.Return()) }),
		},
		Case{
			Name: "a buffer in the code's own data", Group: "response", Tries: "to have the host overwrite it", Outcome: Any,
			Module: in(places()[1], func(*wt.Module) []byte { return wt.Cat(wt.I32Const(wt.ResponseAt), wt.Return()) }),
		},
		Case{
			Name: "a response in memory that grew meanwhile", Group: "response", Tries: "to have the host use an old view", Outcome: Harmless,
			Module: processing(func(*wt.Module) []byte {
				const far = 8 << 16
				return wt.Cat(wt.I32Const(8), wt.MemoryGrow(), wt.Drop(),
					wt.I32Const(far), wt.I32Const(wt.ResponseAt), wt.I32Const(24), wt.MemoryCopy(), wt.Answer(far, 24), wt.Return())
			}),
		},
		Case{
			Name: "a response where the memory will grow", Group: "response", Tries: "to have the host use memory that is not there", Outcome: Faulty,
			Kinds: []string{abi.FaultBadResponse}, Module: answering(wt.EmptyResponse(), end+1<<16, 24),
		},
	)
	return list
}

func pad(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// written is a plugin that answers with what write makes.
func written(write func(w *abi.ResponseWriter)) func() []byte {
	return func() []byte {
		var w abi.ResponseWriter
		w.Reset()
		write(&w)
		b := w.Bytes()
		m := new(wt.Module)
		m.Data(wt.FreeAt, b)
		return m.Plugin(wt.Plugin{Limits: wt.Limits(uint64(wt.FreeAt+len(b))>>16 + 2), Process: wt.OnData(wt.Answer(wt.FreeAt, uint32(len(b))))}).Bytes()
	}
}

// outputs are bombs: small responses that stand for much.
func outputs() []Case {
	var list []Case
	add := func(name, says string, outcome Outcome, write func(w *abi.ResponseWriter)) {
		c := Case{Name: name, Group: "output", Tries: "to make the host publish, keep or show too much", Module: written(write), Outcome: outcome, Says: says}
		if outcome == Faulty {
			c.Kinds = []string{abi.FaultBadResponse}
		}
		list = append(list, c)
	}
	many := func(n int, o abi.Output) func(w *abi.ResponseWriter) {
		return func(w *abi.ResponseWriter) {
			for range n {
				w.Output(&o)
			}
		}
	}
	add("1025 outputs of one event", "too many outputs for one event", Faulty, many(1025, abi.Output{Flags: abi.FlagPayloadRef}))
	add("70,000 outputs of no event", "too many outputs in one response", Faulty, many(70_000, abi.Output{Source: abi.NoSource}))
	add("an output of 9 MiB", "max_output_bytes", Faulty, many(1, abi.Output{Payload: make([]byte, 9<<20)}))
	add("9 MiB in a thousand outputs", "max_output_bytes", Faulty, many(1000, abi.Output{Payload: make([]byte, 9<<10)}))
	add("257 headers of an output", "too many headers", Faulty, func(w *abi.ResponseWriter) {
		var h []byte
		for range 257 {
			h = abi.AppendHeader(h, "k", "v")
		}
		w.Output(&abi.Output{Headers: h, HeaderCount: 257})
	})
	add("65 KiB of headers", "bytes of headers", Faulty, func(w *abi.ResponseWriter) {
		w.Output(&abi.Output{Headers: abi.AppendHeader(nil, "k", strings.Repeat("v", 65<<10)), HeaderCount: 1})
	})
	add("a reason of 64 KiB for each event, all the same bytes", "", Harmless, func(w *abi.ResponseWriter) {
		for i := range uint32(Events) {
			w.Outcome(i, abi.CodeDeadLetter, 0, strings.Repeat("\x1b[31m", 65535/5))
		}
	})
	add("a retry in 49 days", "", Harmless, func(w *abi.ResponseWriter) { w.Outcome(0, abi.CodeRetry, 1<<32-1, "later") })
	add("a thousand outputs of each event with all its headers", "", Harmless, func(w *abi.ResponseWriter) {
		for i := range uint32(Events) {
			for range 1000 {
				w.Output(&abi.Output{Source: i, Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders})
			}
		}
	})
	for _, s := range []string{"a.*", "a.>", ">", "", ".", "a..b", "a b", "a\r\nPUB x 0\r\n", "$JS.API.STREAM.DELETE.in", "wasmill.dead.x", "\xff", strings.Repeat("a", 5000)} {
		// Where an output may go is the pipeline's to know; the host only reads it.
		add(fmt.Sprintf("an output to %.20q", s), "", Harmless, many(1, abi.Output{Subject: []byte(s), Payload: []byte("x")}))
	}
	return list
}
