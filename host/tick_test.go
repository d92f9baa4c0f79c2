package host

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/host/rewrite"
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// endless are bodies that never end by themselves, by what they do.
func endless() map[string]func(w *wt.Module) []byte {
	return map[string]func(w *wt.Module) []byte{
		"an empty loop": func(*wt.Module) []byte { return wt.Forever() },
		"a loop of calls": func(w *wt.Module) []byte {
			return wt.Forever(wt.Call(w.Func("", "")))
		},
		"calls of calls": func(w *wt.Module) []byte { // 2^50 of them, without a loop or a recursion
			f := w.Func("", "")
			for range 50 {
				f = w.Func("", "", wt.Call(f), wt.Call(f))
			}
			return wt.Call(f)
		},
		"filling the memory": func(*wt.Module) []byte {
			return wt.Forever(wt.I32Const(0), wt.I32Const(1), wt.I32Const(128<<10), wt.MemoryFill())
		},
		"growing the memory": func(*wt.Module) []byte {
			return wt.Forever(wt.I32Const(0), wt.MemoryGrow(), wt.Drop())
		},
	}
}

func TestDeadline(t *testing.T) {
	const deadline = 30 * time.Millisecond
	spec := func(module []byte) Spec {
		return Spec{Name: "test", Module: module, Limits: Limits{Deadline: deadline}}
	}
	late := func(t *testing.T, begin time.Time, err error) {
		t.Helper()
		t.Logf("ended after %s", time.Since(begin))
		wantFault(t, err, abi.FaultDeadline, "the call ran past its deadline of ")
	}
	for name, body := range endless() {
		t.Run(name, func(t *testing.T) {
			w := new(wt.Module)
			gen := load(t, spec(w.Plugin(wt.Plugin{Process: wt.Cat(wt.OnData(body(w), wt.I64Const(0)))}).Bytes()))
			i := start(t, gen)
			begin := time.Now()
			late(t, begin, i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}))
			if err := i.Process(t.Context(), abi.BatchHeader{}, nil, &abi.Result{}); err != nil {
				t.Errorf("the next batch: %v", err)
			}
		})
	}
	for name, p := range map[string]wt.Plugin{
		abi.ExportInitialize: {Initialize: wt.Forever()},
		abi.ExportABI:        {Version: wt.Cat(wt.Forever(), wt.I32Const(1))},
		abi.ExportBuffer:     {Buffer: wt.Cat(wt.Forever(), wt.I32Const(1))},
		abi.ExportOpen:       {Open: wt.Cat(wt.Forever(), wt.I32Const(0))},
	} {
		t.Run(name, func(t *testing.T) {
			gen := load(t, spec(wt.NewPlugin(p)))
			begin := time.Now()
			_, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p"})
			late(t, begin, err)
		})
	}
	t.Run("the start function", func(t *testing.T) {
		w := new(wt.Module).Plugin(wt.Plugin{})
		w.StartAt(w.Func("", "", wt.Forever()))
		gen := load(t, spec(w.Bytes()))
		begin := time.Now()
		_, err := gen.NewInstance(t.Context(), InstanceSpec{Pipeline: "p"})
		late(t, begin, err)
	})
	t.Run(abi.ExportClose, func(t *testing.T) {
		i := start(t, load(t, spec(wt.NewPlugin(wt.Plugin{Close: wt.Cat(wt.Forever(), wt.I64Const(0))}))))
		begin := time.Now()
		late(t, begin, i.Close(t.Context(), &abi.Result{}))
	})
}

// A busy guest must not keep the collector, and with it the whole process, waiting.
func TestCollectorStopsABusyGuest(t *testing.T) {
	const begun, end = 512, 516 // words of the guest's memory
	i := start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(
		wt.I32Const(begun), wt.I32Const(1), wt.Mem(wt.OpI32Store, 0),
		wt.Loop(wt.NoResult, wt.I32Const(end), wt.Mem(wt.OpI32Load, 0), wt.Op(wt.OpI32Eqz), wt.BrIf(0)),
		wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize),
	)})}))
	word := func(at int) *uint32 { return (*uint32)(unsafe.Pointer(&i.guest.memory.block.b[at])) }
	isBegun, isEnd := word(begun), word(end)
	done := make(chan error, 1)
	go func() { done <- i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{}) }()
	for atomic.LoadUint32(isBegun) == 0 {
		runtime.Gosched()
	}
	for range 5 {
		begin := time.Now()
		runtime.GC() // would not return as long as the guest runs
		t.Logf("a collection took %s", time.Since(begin))
	}
	if len(done) != 0 {
		t.Error("the guest has ended by itself")
	}
	atomic.StoreUint32(isEnd, 1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTicker(t *testing.T) {
	t.Run("the quantum follows the time between ticks, within bounds", func(t *testing.T) {
		k := ticker{quantum: rewrite.Quantum}
		for _, step := range []struct {
			ran  time.Duration
			want int64
		}{
			{aimTick, rewrite.Quantum},
			{aimTick / 4, 2 * rewrite.Quantum},
			{time.Nanosecond, maxQuantum},
			{time.Nanosecond, maxQuantum},
			{4 * aimTick, rewrite.Quantum},
			{time.Hour, minQuantum},
		} {
			if k.adapt(step.ran); k.quantum != step.want {
				t.Errorf("after %s it is %d, want %d", step.ran, k.quantum, step.want)
			}
		}
	})
	t.Run("time in which the process was stopped does not count", func(t *testing.T) {
		k := ticker{quantum: rewrite.Quantum}
		k.begin(time.Second)
		k.tick()
		k.last = k.last.Add(-time.Hour)
		k.tick()
		if k.ran != maxRan {
			t.Errorf("it counted %s, want %s", k.ran, maxRan)
		}
	})
	t.Run("the deadline strikes when the time that the call ran is over", func(t *testing.T) {
		k := ticker{quantum: rewrite.Quantum}
		k.begin(2 * maxRan)
		k.tick()
		struck := func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err, _ = r.(error)
				}
			}()
			k.last = k.last.Add(-maxRan)
			k.tick()
			return nil
		}
		for n, want := range []bool{false, true} {
			if err := struck(); (err != nil) != want {
				t.Errorf("step %d: %v", n, fmt.Sprint(err))
			}
		}
	})
}
