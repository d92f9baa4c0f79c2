package host

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// responding loads a plugin with room for a large response, which it gives to
// every batch with events, and runs one.
func responding(t *testing.T, limits Limits, batch []abi.Event, write func(w *abi.ResponseWriter)) (*abi.Result, error) {
	t.Helper()
	var w abi.ResponseWriter
	w.Reset()
	write(&w)
	m := new(wt.Module)
	m.Data(wt.FreeAt, w.Bytes())
	m.Plugin(wt.Plugin{
		Limits:  wt.Limits(uint64(len(w.Bytes()))/wasmPage + 100),
		Process: wt.OnData(wt.Answer(wt.FreeAt, uint32(len(w.Bytes())))),
		Buffer:  wt.I32Const(int64(wt.FreeAt + (len(w.Bytes())+15)&^15)),
	})
	i := start(t, load(t, Spec{Module: m.Bytes(), Limits: limits}))
	res := &abi.Result{}
	return res, i.Process(t.Context(), abi.BatchHeader{}, batch, res)
}

// A response is small, what it makes of its events need not be.
func TestOutputsByReference(t *testing.T) {
	headers := abi.AppendHeader(nil, "h", strings.Repeat("v", 1000))
	batch := events(4, 1<<20)
	for k := range batch {
		batch[k].Headers, batch[k].HeaderCount = headers, 1
	}
	limits := Limits{MaxOutputBytes: 3 << 20}
	pass := func(w *abi.ResponseWriter, times int, flags uint32) {
		for range times {
			w.Output(&abi.Output{Source: 0, Flags: flags})
		}
	}
	t.Run("a batch larger than the limit can be passed on", func(t *testing.T) {
		res, err := responding(t, limits, batch, func(w *abi.ResponseWriter) {
			for k := range batch {
				w.Pass(uint32(k), 0)
			}
		})
		if err != nil || len(res.Outputs) != 4 {
			t.Errorf("%v, %d outputs", err, len(res.Outputs))
		}
	})
	t.Run("up to the limit beside its own size", func(t *testing.T) {
		if _, err := responding(t, limits, batch, func(w *abi.ResponseWriter) { pass(w, 6, abi.FlagPayloadRef) }); err != nil {
			t.Error(err)
		}
	})
	t.Run("no payload beyond it", func(t *testing.T) {
		res, err := responding(t, limits, batch, func(w *abi.ResponseWriter) { pass(w, 8, abi.FlagPayloadRef) })
		wantFault(t, err, abi.FaultBadResponse, "max_output_bytes", "8388608 that its outputs take over")
		if len(res.Outputs) != 0 {
			t.Error("the result is not empty")
		}
	})
	t.Run("no headers beyond it", func(t *testing.T) {
		limits := Limits{MaxOutputBytes: 3 << 20, MaxOutputs: 1 << 20}
		_, err := responding(t, limits, batch, func(w *abi.ResponseWriter) { pass(w, 8000, abi.FlagKeepHeaders) })
		wantFault(t, err, abi.FaultBadResponse, "max_output_bytes")
	})
	t.Run("nothing is counted twice without a reference", func(t *testing.T) {
		if _, err := responding(t, limits, batch, func(w *abi.ResponseWriter) {
			w.Output(&abi.Output{Source: 0, Payload: make([]byte, 2<<20)})
		}); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordsAreCapped(t *testing.T) {
	t.Run("in all", func(t *testing.T) {
		_, err := responding(t, Limits{MaxOutputs: 1 << 20}, events(1, 0), func(w *abi.ResponseWriter) {
			for range leastRecords + 1 {
				w.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("s")})
			}
		})
		wantFault(t, err, abi.FaultBadResponse, "too many outputs in one response")
	})
	t.Run("headers of one", func(t *testing.T) {
		_, err := responding(t, Limits{}, events(1, 0), func(w *abi.ResponseWriter) {
			w.Output(&abi.Output{Headers: bytes.Repeat(abi.AppendHeader(nil, "k", ""), maxHeaders+1), HeaderCount: maxHeaders + 1})
		})
		wantFault(t, err, abi.FaultBadResponse, "too many headers")
	})
	t.Run("bytes of its headers", func(t *testing.T) {
		_, err := responding(t, Limits{}, events(1, 0), func(w *abi.ResponseWriter) {
			w.Output(&abi.Output{Headers: abi.AppendHeader(nil, "k", strings.Repeat("v", maxHeaderBytes)), HeaderCount: 1})
		})
		wantFault(t, err, abi.FaultBadResponse, "too many bytes of headers")
	})
}

func TestReasons(t *testing.T) {
	long := "\x1b[31m" + strings.Repeat("because ", 1000)
	res, err := responding(t, Limits{}, events(3, 0), func(w *abi.ResponseWriter) {
		w.Outcome(0, abi.CodeDrop, 0, "one line\n\tand another")
		w.Outcome(1, abi.CodeDeadLetter, 0, long)
		w.Outcome(2, abi.CodeRetry, 0, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(res.Outcomes[0].Reason); got != "one line\n\tand another" {
		t.Errorf("reason is %q", got)
	}
	if got := string(res.Outcomes[1].Reason); len(got) > maxReason+8 || !strings.HasPrefix(got, "\ufffd[31mbecause because") {
		t.Errorf("reason of %d bytes is %.40q", len(got), got)
	}
	if got := res.Outcomes[2].Reason; len(got) != 0 {
		t.Errorf("reason is %q", got)
	}
}

// What one guest leaves in its memory no other finds: not the next one in the
// same place, not one of another pipeline.
func TestMemoryIsZeroedAndNotShared(t *testing.T) {
	const at, pages = 3 * wasmPage, 8
	scribble := wt.OnData(
		// Trap if anything but zeros is there: the first time nothing may be.
		wt.I32Const(at), wt.Mem(wt.OpI64Load, 0), wt.I32Const((pages-1)*wasmPage), wt.Mem(wt.OpI64Load, 8), wt.Op(wt.OpI64Or),
		wt.Op(wt.OpI64Eqz), wt.Op(wt.OpI32Eqz), wt.If(wt.NoResult, wt.Unreachable()),
		wt.I32Const(at), wt.I32Const(0xa5), wt.I32Const((pages-3)*wasmPage), wt.MemoryFill(),
		wt.Answer(wt.ResponseAt, 24))
	gen := load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Limits: wt.Limits(pages, pages), Process: scribble})})
	process := func(i *Instance) error {
		return i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
	}
	var kept []*Instance
	for n := range 20 {
		i, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: fmt.Sprint("p", n)})
		if err != nil {
			t.Fatal(err)
		}
		if err := process(i); err != nil {
			t.Fatalf("instance %d found something in its memory: %v", n, err)
		}
		wantFault(t, process(i), abi.FaultTrap) // its own, this time
		if err := process(i); err != nil {
			t.Fatalf("the next guest of instance %d found something in its memory: %v", n, err)
		}
		if n%2 == 0 {
			i.Discard()
		} else {
			kept = append(kept, i)
		}
	}
	for _, i := range kept {
		i.Discard()
	}
}
