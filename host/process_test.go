package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// frame builds a response by hand: a header with these fields, then body.
func frame(magic string, header, outcomes, records, total, zero uint32, body ...byte) []byte {
	b := []byte(magic)
	for _, v := range []uint32{header, outcomes, records, total, zero} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, body...)
}

// record builds an output record of 32 bytes and data.
func record(length, source, flags, id, subject, key, headers, payload uint32, data ...byte) []byte {
	var b []byte
	for _, v := range []uint32{length, source, flags, id, subject, key, headers, payload} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, data...)
}

func outcome(index uint32, code byte, reasonLen uint16, reasonAt uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, index)
	b = append(b, code, 0)
	b = binary.LittleEndian.AppendUint16(b, reasonLen)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, reasonAt)
}

// answering is a plugin that answers its canary properly and every batch with
// events with that response, said to be of n bytes at p.
func answering(response []byte, p, n uint32) []byte {
	const at = wt.FreeAt
	w := new(wt.Module)
	w.Data(at, response)
	return w.Plugin(wt.Plugin{Process: wt.OnData(wt.Answer(p, n))}).Bytes()
}

func TestBadResponses(t *testing.T) {
	const at = wt.FreeAt
	const memory = 2 * wasmPage
	whole := func(b []byte) func() []byte {
		return func() []byte { return answering(b, at, uint32(len(b))) }
	}
	one := func(rec []byte) func() []byte {
		return whole(frame("WMR1", 24, 0, 1, uint32(24+len(rec)), 0, rec...))
	}
	coded := func(out []byte) func() []byte {
		return whole(frame("WMR1", 24, uint32(len(out)/16), 0, uint32(24+len(out)), 0, out...))
	}
	pointing := func(p, n uint32) func() []byte {
		return func() []byte { return answering(wt.EmptyResponse(), p, n) }
	}
	for _, tc := range []struct {
		name   string
		module func() []byte
		want   string
	}{
		{"a wrong magic", whole(frame("WMB1", 24, 0, 0, 24, 0)), "magic is not WMR1"},
		{"a big-endian frame", whole([]byte("WMR1\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x00\x00\x00")), "out of bounds"},
		{"a header length of zero", whole(frame("WMR1", 0, 0, 0, 24, 0)), "header length"},
		{"a header length near 2^32", whole(frame("WMR1", 0xfffffff8, 0, 0, 24, 0)), "header length"},
		{"a total beyond what it gave", whole(frame("WMR1", 24, 0, 0, 25, 0)), "total length"},
		{"a total near 2^32", whole(frame("WMR1", 24, 0, 0, 0xffffffff, 0)), "total length"},
		{"a reserved field that is set", whole(frame("WMR1", 24, 0, 0, 24, 1)), "reserved"},
		{"4294967295 records", whole(frame("WMR1", 24, 0, 0xffffffff, 24, 0)), "count"},
		{"4294967295 outcomes", whole(frame("WMR1", 24, 0xffffffff, 0, 24, 0)), "count"},
		{"a record length of zero", one(record(0, 0, 0, 0, 0, 0, 0, 0)), "record length"},
		{"a record length near 2^32", one(record(0xfffffff8, 0, 0, 0, 0, 0, 0, 0)), "record length"},
		{"parts near 2^32", one(record(32, 0, 0, 0, 0xffffffff, 1, 0xffffffff, 1)), "exceed"},
		{"a source that is no event", one(record(32, 3, 0, 0, 0, 0, 0, 0)), "source index"},
		{"unknown flags", one(record(32, 0, 4, 0, 0, 0, 0, 0)), "flags are unknown"},
		{"an unknown output", one(record(32, 0, 1, 2, 0, 0, 0, 0)), "output id is unknown"},
		{"a header that is none", one(record(40, 0, 0, 1<<16, 0, 0, 8, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)), "header"},
		{"an outcome of no event", coded(outcome(3, 1, 0, 0)), "outcome index"},
		{"an outcome twice", coded(append(outcome(1, 1, 0, 0), outcome(1, 1, 0, 0)...)), "order"},
		{"an unknown outcome", coded(outcome(0, 9, 0, 0)), "code is unknown"},
		{"a reason outside the frame", coded(outcome(0, 1, 5, 0xfffffffe)), "reason is out of bounds"},
		{"no bytes at all", pointing(at, 0), "shorter than its header"},
		{"a pointer at the end of memory", pointing(memory-8, 24), "its memory ends at 131072"},
		{"a pointer beyond memory", pointing(memory, 24), "its memory ends at 131072"},
		{"a pointer near 2^31", pointing(0x7ffffff8, 24), "its memory ends at 131072"},
		{"a length near 2^32", pointing(at, 0xfffffff8), "more than 2 GiB"},
		{"a length of 2^31 - 1", pointing(at, 0x7fffffff), "its memory ends at 131072"},
		{"a pointer and length that wrap around", pointing(0x7fffffff, 0x7fffffff), "its memory ends at 131072"},
		{"a response of 0", pointing(0, 0), "shorter than its header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i, res, err := run(t, Spec{Module: tc.module()}, 3)
			wantFault(t, err, abi.FaultBadResponse, "wasmill_process", tc.want)
			if len(res.Outputs)+len(res.Outcomes) != 0 {
				t.Error("the result is not empty")
			}
			if err := i.Process(t.Context(), abi.BatchHeader{}, nil, res); err != nil {
				t.Errorf("the next batch, on a fresh guest: %v", err)
			}
		})
	}

	t.Run("more bytes than the limit", func(t *testing.T) {
		payload := make([]byte, 1<<10)
		var w abi.ResponseWriter
		w.Reset()
		w.Output(&abi.Output{Payload: payload})
		b := w.Bytes()
		_, _, err := run(t, Spec{Module: answering(b, at, uint32(len(b))), Limits: Limits{MaxOutputBytes: 1 << 10}}, 1)
		wantFault(t, err, abi.FaultBadResponse)
	})
	t.Run("more outputs of one event than the limit", func(t *testing.T) {
		var w abi.ResponseWriter
		w.Reset()
		for range 5 {
			w.Pass(0, 0)
		}
		b := w.Bytes()
		_, _, err := run(t, Spec{Module: answering(b, at, uint32(len(b))), Limits: Limits{MaxOutputs: 4}}, 1)
		wantFault(t, err, abi.FaultBadResponse, "too many outputs")
	})
}

func TestBadBuffers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		at     int64
		kind   string
		detail string
	}{
		{"no room", 0, abi.FaultOutOfMemory, "no room"},
		{"an address that is not aligned", 1028, abi.FaultBadResponse, "multiple of 8"},
		{"an address whose end is beyond memory", 2*wasmPage - 40, abi.FaultBadResponse, "its memory ends at"},
		{"an address beyond memory", 2 * wasmPage, abi.FaultBadResponse, "its memory ends at"},
		{"an address near 2^32", 0xfffffff8, abi.FaultBadResponse, "its memory ends at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Buffer: wt.Cat(
				wt.LocalGet(0), wt.I32Const(33), wt.Op(wt.OpI32LtU), // the canary is shorter
				wt.IfElse(wt.I32, wt.I32Const(wt.BufferAt), wt.I32Const(tc.at)),
			)})})
			i := start(t, gen)
			err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 10), &abi.Result{})
			wantFault(t, err, tc.kind, tc.detail)
		})
	}
	t.Run("a batch larger than the memory limit never reaches the guest", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{}), Limits: Limits{Memory: 128 << 10}}))
		err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 200<<10), &abi.Result{})
		wantFault(t, err, abi.FaultOutOfMemory, "128 KiB")
		if i.guest == nil {
			t.Error("the guest was thrown away")
		}
	})
}

func TestTraps(t *testing.T) {
	t.Run("a trap carries the wasm stack trace", func(t *testing.T) {
		_, _, err := run(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Unreachable())})}, 1)
		wantFault(t, err, abi.FaultTrap, "unreachable", "run_the_batch(i32,i32) i64")
		if f := faultOf(t, err); f.Message != "unreachable" {
			t.Errorf("message is %q", f.Message)
		}
	})
	t.Run("a stack overflow", func(t *testing.T) {
		w := new(wt.Module)
		w.Plugin(wt.Plugin{})
		f := w.NextFunc()
		w.Func("", "", wt.Call(f))
		w.Define(w.Exported(abi.ExportProcess), wt.OnData(wt.Call(f), wt.I64Const(0)))
		_, _, err := run(t, Spec{Module: w.Bytes()}, 1)
		wantFault(t, err, abi.FaultTrap, "stack overflow")
	})
	t.Run("an exit names its code", func(t *testing.T) {
		w := new(wt.Module)
		exit := w.ImportFunc(wasiModule, "proc_exit", wt.I32, "")
		w.Plugin(wt.Plugin{Process: wt.OnData(wt.I32Const(42), wt.Call(exit), wt.I64Const(0))})
		i, res, err := run(t, Spec{Module: w.Bytes()}, 1)
		wantFault(t, err, abi.FaultTrap, "the module exited with code 42")
		if err := i.Process(t.Context(), abi.BatchHeader{}, nil, res); err != nil {
			t.Errorf("the next batch, on a fresh guest: %v", err)
		}
	})
	t.Run("a bad pointer to an import", func(t *testing.T) {
		w := new(wt.Module)
		log := w.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
		w.Plugin(wt.Plugin{Process: wt.OnData(wt.I32Const(0), wt.I32Const(-1), wt.I32Const(-1), wt.Call(log), wt.I64Const(0))})
		_, _, err := run(t, Spec{Module: w.Bytes()}, 1)
		wantFault(t, err, abi.FaultTrap, "wasmill_v1.log", "outside the plugin's memory")
	})
	t.Run("a failed batch", func(t *testing.T) {
		_, _, err := run(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.I64Const(-5))})}, 1)
		wantFault(t, err, abi.FaultGuestError, "wasmill_process failed with code -5")
	})
	t.Run("growth beyond the limit is told from other traps", func(t *testing.T) {
		_, _, err := run(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(
			wt.I32Const(1000), wt.MemoryGrow(), wt.Drop(), wt.Unreachable())}), Limits: Limits{Memory: 1 << 20}}, 1)
		wantFault(t, err, abi.FaultOutOfMemory, "memory limit of 1 MiB reached")
	})
	t.Run("growth up to the limit succeeds and is counted", func(t *testing.T) {
		gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(
			wt.I32Const(14), wt.MemoryGrow(), wt.Drop(), wt.Answer(wt.ResponseAt, 24))}), Limits: Limits{Memory: 1 << 20}})
		i := start(t, gen)
		if err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}); err != nil {
			t.Fatal(err)
		}
		if i.Memory() != 1<<20 || gen.Memory() != 1<<20 {
			t.Errorf("instance %d, generation %d, want 1 MiB", i.Memory(), gen.Memory())
		}
		i.Discard()
		if i.Memory() != 0 || gen.Memory() != 0 {
			t.Errorf("instance %d, generation %d after Discard", i.Memory(), gen.Memory())
		}
	})
	t.Run("a buffer that grows the memory is written where it is then", func(t *testing.T) {
		w := new(wt.Module)
		w.Plugin(wt.Plugin{
			Buffer:  wt.Cat(wt.I32Const(1), wt.MemoryGrow(), wt.I32Const(16), wt.Op(wt.OpI32Shl)), // the old size << 16
			Process: wt.OnData(wt.LocalGet(0), wt.Mem(wt.OpI64Load, 40), wt.Op(wt.OpI64Eqz), wt.If(wt.NoResult, wt.Unreachable()), wt.Answer(wt.ResponseAt, 24)),
		})
		// The process traps when the sequence of the first event reads as zero.
		_, _, err := run(t, Spec{Module: w.Bytes()}, 1)
		if err != nil {
			t.Error(err)
		}
	})
}

func TestStart(t *testing.T) {
	fail := func(t *testing.T, spec Spec, kind string, want ...string) {
		t.Helper()
		spec.Name = "test"
		h := openHost(t, false)
		gen, err := h.Load(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "alerts"})
		wantFault(t, err, kind, want...)
		if !strings.Contains(err.Error(), `start plugin "test" in pipeline "alerts"`) {
			t.Errorf("error is %q", err)
		}
		if gen.Memory() != 0 || gen.instances() != 0 {
			t.Errorf("%d bytes and %d instances are left", gen.Memory(), gen.instances())
		}
	}
	t.Run("an initializer that traps", func(t *testing.T) {
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Initialize: wt.Unreachable()})}, abi.FaultTrap, "unreachable")
	})
	t.Run("a start function that traps", func(t *testing.T) {
		w := new(wt.Module).Plugin(wt.Plugin{})
		w.StartAt(w.Func("", "", wt.Unreachable()))
		fail(t, Spec{Module: w.Bytes()}, abi.FaultTrap, "unreachable")
	})
	t.Run("a start function that exits with success", func(t *testing.T) {
		w := new(wt.Module)
		exit := w.ImportFunc(wasiModule, "proc_exit", wt.I32, "")
		w.Plugin(wt.Plugin{})
		w.StartAt(w.Func("", "", wt.I32Const(0), wt.Call(exit)))
		fail(t, Spec{Module: w.Bytes()}, abi.FaultTrap, "exited with code 0")
	})
	t.Run("data outside of the memory", func(t *testing.T) {
		w := new(wt.Module).Plugin(wt.Plugin{})
		w.Data(0x7fffffff, []byte("x"))
		fail(t, Spec{Module: w.Bytes()}, abi.FaultTrap, "out of bounds")
	})
	t.Run("another major version of the ABI", func(t *testing.T) {
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Version: wt.I32Const(2<<16 | 7)})}, abi.FaultBadResponse, "version 2.7")
	})
	t.Run("a later minor version is welcome", func(t *testing.T) {
		start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Version: wt.I32Const(1<<16 | 7)})}))
	})
	t.Run("an open that refuses", func(t *testing.T) {
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Open: wt.I32Const(-28)})}, abi.FaultGuestError, "wasmill_open refused its configuration with code -28")
	})
	t.Run("an open that traps", func(t *testing.T) {
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Open: wt.Unreachable()})}, abi.FaultTrap, "unreachable")
	})
	t.Run("a canary that is not answered", func(t *testing.T) {
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.I64Const(-1)})}, abi.FaultGuestError, "code -1")
	})
	t.Run("a canary that is answered with an output", func(t *testing.T) {
		var w abi.ResponseWriter
		w.Reset()
		w.Pass(0, 0)
		fail(t, Spec{Module: wt.NewPlugin(wt.Plugin{Response: w.Bytes()})}, abi.FaultBadResponse)
	})
	t.Run("a configuration that is no JSON", func(t *testing.T) {
		gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{}), Config: []byte("{")})
		if _, err := gen.NewInstance(t.Context(), InstanceSpec{}); err == nil || gen.instances() != 0 {
			t.Errorf("error is %v", err)
		}
	})
}

func TestFreshGuest(t *testing.T) {
	// A plugin that counts its batches at address 16 and traps in the third.
	count := wt.Cat(
		wt.I32Const(16), wt.I32Const(16), wt.Mem(wt.OpI32Load, 0), wt.I32Const(1), wt.Op(wt.OpI32Add), wt.Mem(wt.OpI32Store, 0), // count++
		wt.I32Const(16), wt.Mem(wt.OpI32Load, 0), wt.I32Const(3), wt.Op(wt.OpI32Eq), wt.If(wt.NoResult, wt.Unreachable()), // if count == 3, trap
		wt.Answer(wt.ResponseAt, 24),
	)
	gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(count)})})
	i := start(t, gen)
	for round := range 3 {
		for batch := range 3 {
			err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
			if (err != nil) != (batch == 2) {
				t.Fatalf("round %d, batch %d: %v", round, batch, err)
			}
		}
	}
	t.Run("memory does not pile up", func(t *testing.T) {
		if got := gen.Memory(); got > 2*wasmPage {
			t.Errorf("%d bytes after three faults, want one memory of two pages", got)
		}
	})
}

func TestViews(t *testing.T) {
	response := func() []byte {
		var w abi.ResponseWriter
		w.Reset()
		w.Output(&abi.Output{Payload: []byte("hello"), Subject: []byte("a.b"), ID: 1})
		return w.Bytes()
	}()
	t.Run("outputs and outcomes come back whole", func(t *testing.T) {
		var w abi.ResponseWriter
		w.Reset()
		w.Pass(0, 0)
		w.Output(&abi.Output{Source: 2, ID: 1, Subject: []byte("s"), Key: []byte("k"), Headers: abi.AppendHeader(nil, "h", "v"), HeaderCount: 1, Payload: []byte("p")})
		w.Outcome(1, abi.CodeDeadLetter, 0, "because")
		b := w.Bytes()
		_, res, err := run(t, Spec{Module: answering(b, wt.FreeAt, uint32(len(b)))}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%+v", *res); got != fmt.Sprintf("%+v", abi.Result{
			Outputs: []abi.Output{
				{Source: 0, Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders, Subject: []byte{}, Key: []byte{}, Headers: []byte{}, Payload: []byte{}},
				{Source: 2, ID: 1, HeaderCount: 1, Subject: []byte("s"), Key: []byte("k"), Headers: abi.AppendHeader(nil, "h", "v"), Payload: []byte("p")},
			},
			Outcomes: []abi.Outcome{{Index: 1, Code: abi.CodeDeadLetter, Reason: []byte("because")}},
		}) {
			t.Errorf("result is %s", got)
		}
	})
	t.Run("they last until the next call, even over Close", func(t *testing.T) {
		w := new(wt.Module)
		w.Data(wt.FreeAt, response)
		last := wt.Answer(wt.FreeAt, uint32(len(response)))
		i := start(t, load(t, Spec{Module: w.Plugin(wt.Plugin{Process: wt.OnData(last)}).Bytes()}))
		res := &abi.Result{}
		if err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), res); err != nil {
			t.Fatal(err)
		}
		if string(res.Outputs[0].Payload) != "hello" {
			t.Errorf("payload is %q", res.Outputs[0].Payload)
		}
	})
	t.Run("a fault leaves the memory mapped until the next call", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Unreachable())})}))
		view := i.guest.view
		b, _ := view.Read(0, 8)
		err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
		wantFault(t, err, abi.FaultTrap)
		_ = b[0] // a crash of the process if it were unmapped
		if i.Memory() == 0 {
			t.Error("the memory is gone already")
		}
		if err := i.Process(t.Context(), abi.BatchHeader{}, nil, &abi.Result{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestInstanceClose(t *testing.T) {
	var w abi.ResponseWriter
	w.Reset()
	w.Output(&abi.Output{Source: abi.NoSource, Payload: []byte("bye")})
	bye := w.Bytes()
	module := func(shut []byte) []byte {
		m := new(wt.Module)
		m.Data(wt.FreeAt, bye)
		return m.Plugin(wt.Plugin{Close: shut}).Bytes()
	}
	t.Run("the last outputs come back", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: module(wt.Answer(wt.FreeAt, uint32(len(bye))))}))
		res := &abi.Result{}
		if err := i.Close(t.Context(), res); err != nil {
			t.Fatal(err)
		}
		if len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != "bye" {
			t.Errorf("result is %+v", res)
		}
		if err := i.Process(t.Context(), abi.BatchHeader{}, nil, res); !errors.Is(err, ErrClosed) {
			t.Errorf("Process after Close: %v, want ErrClosed", err)
		}
		if err := i.Close(t.Context(), res); err != nil || len(res.Outputs) != 0 {
			t.Errorf("the second Close: %v, %+v", err, res)
		}
		i.Discard()
		i.Discard()
	})
	t.Run("a close that traps is a fault", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: module(wt.Unreachable())}))
		wantFault(t, i.Close(t.Context(), &abi.Result{}), abi.FaultTrap)
	})
	t.Run("a close that answers badly is a fault", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: module(wt.Answer(1<<30, 24))}))
		wantFault(t, i.Close(t.Context(), &abi.Result{}), abi.FaultBadResponse, "wasmill_close")
	})
	t.Run("after a fault there is nobody to close", func(t *testing.T) {
		i, res, err := run(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.Unreachable()), Close: wt.Unreachable()})}, 1)
		wantFault(t, err, abi.FaultTrap)
		if err := i.Close(t.Context(), res); err != nil {
			t.Error(err)
		}
	})
	t.Run("a plugin without wasmill_close just ends", func(t *testing.T) {
		i := start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{})}))
		if err := i.Close(t.Context(), &abi.Result{}); err != nil {
			t.Error(err)
		}
	})
}

// FuzzResponse shows that no response, wherever it is said to lie, gets past
// the checks with a view outside of the guest's memory, or panics.
func FuzzResponse(f *testing.F) {
	const at = wt.FreeAt
	var w abi.ResponseWriter
	w.Reset()
	w.Pass(0, 0)
	w.Output(&abi.Output{Source: 2, ID: 1, Subject: []byte("s"), Headers: abi.AppendHeader(nil, "h", "v"), HeaderCount: 1, Payload: []byte("p")})
	w.Outcome(1, abi.CodeRetry, 5, "because")
	f.Add(w.Bytes(), wt.Packed(at, uint32(len(w.Bytes()))))
	f.Add(wt.EmptyResponse(), wt.Packed(at, 24))
	f.Add(wt.EmptyResponse(), wt.Packed(2*wasmPage-8, 24))
	f.Add([]byte{}, int64(-1))
	f.Add([]byte{}, wt.Packed(0x7fffffff, 0xffffffff))
	g := start(f, load(f, Spec{Module: wt.NewPlugin(wt.Plugin{})})).guest
	lim := Limits{MaxOutputBytes: 1 << 16, MaxOutputs: 8}.responseLimits(2)
	batch := events(3, 1<<10)
	lim.Events = len(batch)
	f.Fuzz(func(t *testing.T, b []byte, r int64) {
		g.view.Write(at, b[:min(len(b), 2*wasmPage-at)])
		res := &abi.Result{}
		if fault := g.response(abi.ExportProcess, r, batch, lim, res); fault != nil {
			if len(res.Outputs)+len(res.Outcomes) > 0 {
				t.Error("a refused response left a result")
			}
			return
		}
		sum := 0
		for _, o := range res.Outputs {
			for _, view := range [][]byte{o.Subject, o.Key, o.Headers, o.Payload} {
				for _, c := range view {
					sum += int(c) // a fault of the process if it were not mapped
				}
			}
			if int(o.ID) >= lim.Outputs || o.Source != abi.NoSource && int(o.Source) >= lim.Events {
				t.Errorf("an output got through: %+v", o)
			}
		}
		_ = sum
	})
}
