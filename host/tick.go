package host

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/host/rewrite"
)

// Bounds of the time between two ticks, and of what it does to a call.
const (
	// aimTick is the time between two ticks that the quantum is adapted to.
	aimTick = 200 * time.Microsecond
	// maxQuantum bounds how long a guest can run without a tick that made its
	// quantum grow by cheap code and then waits for memory with each load: about
	// 10 ms.
	maxQuantum = 4 * rewrite.Quantum
	minQuantum = rewrite.Quantum / 8
	// turn is how long a guest runs before others get their turn.
	turn = time.Millisecond
	// maxRan is the most time between two ticks that counts: a guest does not run
	// that long, but the process may be stopped or have used up its share.
	maxRan = 10 * time.Millisecond
	// startDeadline is the least that a guest gets for each call of its start: a
	// deadline for batches is no measure of what a plugin has to prepare.
	startDeadline = 100 * time.Millisecond
)

// ticker is what the ticks of one guest know of its running call. The tick is a
// host function that the guest's own code calls (see package rewrite) every
// 0.05 to 1 ms. Whatever has to happen to a guest while it runs happens there,
// on its goroutine: nothing races with the end of a call, and a call costs no
// timer. (Invariant A4)
type ticker struct {
	deadline time.Duration // of the running call; 0 = none
	ran      time.Duration // so far: the time that the call could run
	last     time.Time     // of the last tick of this call; zero = it had none
	since    time.Duration // ran when others had their turn
	quantum  int64
	calls    uint64 // of host functions
}

// begin starts a call. It does not read the clock: that would cost a short call
// more than all else. So the time up to the first tick is not counted.
func (t *ticker) begin(deadline time.Duration) {
	t.deadline, t.ran, t.since, t.last = deadline, 0, 0, time.Time{}
}

// tick counts the time since the last one, gives others their turn, and returns
// the fuel up to the next one. It panics when the deadline is over, which ends
// the call. Being a Go function, it is also where the garbage collector can
// stop the goroutine.
func (t *ticker) tick() int64 {
	now := time.Now()
	if t.last.IsZero() {
		t.last = now
		return t.quantum
	}
	ran := now.Sub(t.last)
	t.adapt(ran)
	t.ran += min(ran, maxRan)
	if t.deadline > 0 && t.ran >= t.deadline {
		panic(&deadlineError{t.deadline})
	}
	if t.ran-t.since >= turn {
		t.since = t.ran
		runtime.Gosched()
		now = time.Now() // what others ran does not count
	}
	t.last = now
	return t.quantum
}

// called is what every host function does first. A straight line of calls has no
// tick of its own for as long as its weight lasts, which does not know what the
// functions do: here it gets one when it has run for a turn.
func (t *ticker) called() {
	const every = 16 // that many calls of a function take less than a turn
	if t.calls++; t.calls%every == 0 && (t.last.IsZero() || time.Since(t.last) >= turn) {
		t.tick()
	}
}

// dear makes the next host function look at the clock: this one takes long.
func (t *ticker) dear() { t.calls |= 15 }

// adapt makes the quantum fit the guest's code, whose weights are estimates.
func (t *ticker) adapt(ran time.Duration) {
	switch {
	case ran < aimTick/2:
		t.quantum = min(2*t.quantum, maxQuantum)
	case ran > 2*aimTick:
		t.quantum = max(t.quantum*int64(aimTick)/int64(ran), minQuantum)
	}
}

// deadlineError is what a tick panics with: wazero unwinds the guest and
// returns it from the call.
type deadlineError struct{ deadline time.Duration }

func (e *deadlineError) Error() string {
	return fmt.Sprintf("the call ran past its deadline of %s", e.deadline)
}

// offerTick defines the tick in rt, and compiles what links it to an instance.
func offerTick(ctx context.Context, rt wazero.Runtime) (linker wazero.CompiledModule, err error) {
	tick := func(ctx context.Context, _ api.Module, s []uint64) {
		g, _ := ctx.Value(guestKey{}).(*guest)
		s[0] = uint64(g.ticker.tick())
	}
	_, err = rt.NewHostModuleBuilder(rewrite.LinkerHost).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(tick), nil, []api.ValueType{api.ValueTypeI64}).
		Export(rewrite.TickFunc).Instantiate(ctx)
	if err != nil {
		return nil, fmt.Errorf("offer the tick: %w", err)
	}
	if linker, err = rt.CompileModule(ctx, rewrite.Linker()); err != nil {
		return nil, fmt.Errorf("compile the linker: %w", err)
	}
	return linker, nil
}

// link puts the tick into the guest's table. Before that the guest cannot run.
func (g *guest) link(ctx context.Context) error {
	ctx = experimental.WithImportResolver(ctx, func(name string) api.Module {
		if name == rewrite.LinkerGuest {
			return g.mod
		}
		return nil // any other name: the runtime's own
	})
	linker, err := g.gen.rt.InstantiateModule(ctx, g.gen.linker, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return fmt.Errorf("link the tick: %w", err)
	}
	return linker.Close(ctx) // it has done its work
}
