//go:build (linux || darwin) && !nommap

package host

import (
	"testing"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// A recursion ends at the guest's own stack, not at the 161 MiB of wazero. This
// fails when a release of wazero has moved the fields that stack.go sets, or
// grows stacks by another rule: look at callEngine there.
func TestStack(t *testing.T) {
	const depth = 512 // a word of the guest's memory: how deep the recursion came
	w := new(wt.Module)
	recurse := w.NextFunc()
	w.Func("", "",
		wt.I32Const(depth), wt.I32Const(depth), wt.Mem(wt.OpI32Load, 0), wt.I32Const(1), wt.Op(wt.OpI32Add), wt.Mem(wt.OpI32Store, 0),
		wt.Call(recurse))
	i := start(t, load(t, Spec{Module: w.Plugin(wt.Plugin{Process: wt.OnData(wt.Call(recurse), wt.I64Const(0))}).Bytes()}))
	if len(i.guest.native.b) == 0 {
		t.Fatal("the guest has no stack of its own")
	}
	if _, ok := findStackFields(i.guest.processFn); !ok {
		t.Fatalf("the fields of %T are not where they are set", i.guest.processFn)
	}
	g := i.guest
	begin := time.Now()
	err := i.Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
	t.Logf("a recursion ended after %s", time.Since(begin))
	wantFault(t, err, abi.FaultTrap, "stack overflow")
	b := g.memory.block.b
	calls := int(b[depth]) | int(b[depth+1])<<8 | int(b[depth+2])<<16 | int(b[depth+3])<<24
	t.Logf("%d calls deep, %d bytes of stack each", calls, stackSize/max(1, calls))
	if least, most := stackSize/1024, stackSize/16; calls < least || calls > most {
		t.Errorf("it was %d calls deep; a stack of %s holds %d to %d", calls, size(stackSize), least, most)
	}
}
