package host

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/host/rewrite"
	"github.com/wasmill/wasmill/sdk/abi"
)

// guest is one running module: an instance of a generation's code with its own
// memory. After its first fault nothing of it is used again. One goroutine.
type guest struct {
	gen    *Generation
	spec   *InstanceSpec
	memory *memory
	mod    api.Module
	view   api.Memory // of memory, through wazero
	native nativeStack
	ticker ticker

	deadline time.Duration // of each call; 0 = none

	//nolint:containedctx // it carries the guest to the host functions and nothing else; a call of a guest cannot be cancelled
	ctx context.Context

	bufferFn, processFn, openFn, closeFn api.Function

	stack   [2]uint64 // parameters and results of a call, so that a call allocates nothing
	out     output
	clock   clock
	rand    *rand.ChaCha8
	metrics []metric
	observe tokens // for histograms, in this call
	polled  []byte // what poll_oneoff was asked
}

// newGuest instantiates the module and initializes it, up to the point where
// wasmill_open may be called. When it fails, everything is released.
func (gen *Generation) newGuest(spec *InstanceSpec, log func(level int, line string)) (*guest, *Fault) {
	mem, err := newMemory(gen.limit, &gen.memory)
	if err != nil {
		return nil, &Fault{Kind: abi.FaultOutOfMemory, Message: cut(err.Error(), maxMessage), Err: err}
	}
	g := &guest{gen: gen, spec: spec, memory: mem, ticker: ticker{quantum: rewrite.Quantum}}
	if err := g.native.reserve(); err != nil { // it can do without, see nativeStack
		gen.host.log.Warn("a plugin instance has no stack of its own; a recursion in it takes more memory and time to end", "plugin", gen.spec.Name, "error", err)
	}
	if g.deadline = gen.spec.Limits.Deadline; g.deadline > 0 {
		g.deadline = max(g.deadline, startDeadline)
	}
	g.clock = clock{start: time.Now(), real: gen.granted(abi.GrantClock)}
	seed := gen.digest
	if fixed := gen.spec.Fixed; fixed != nil {
		g.clock.fixed, seed = fixed.Now, fixed.Seed
	}
	g.rand = rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", seed, spec.Pipeline, spec.Partition)))
	g.out = output{log: log, admit: gen.gate.line, gate: gen.gate, redact: gen.redact, why: -1}
	g.ctx = context.WithValue(context.Background(), guestKey{}, g)
	if f := g.start(); f != nil {
		g.release()
		return nil, f
	}
	return g, nil
}

func (g *guest) start() *Fault {
	if err := g.instantiate(); err != nil {
		return g.fault(err)
	}
	g.view = g.mod.Memory()
	g.bufferFn = g.export(abi.ExportBuffer)
	g.processFn = g.export(abi.ExportProcess)
	g.openFn = g.export(abi.ExportOpen)
	g.closeFn = g.export(abi.ExportClose)
	for _, name := range []string{rewrite.Start, abi.ExportInitialize} {
		if fn := g.export(name); fn != nil {
			if _, f := g.call(fn); f != nil {
				return f
			}
		}
	}
	version, f := g.call(g.export(abi.ExportABI))
	if f != nil {
		return f
	}
	if v := uint32(version); v>>16 != abi.Major {
		return &Fault{Kind: abi.FaultBadResponse, Message: fmt.Sprintf(
			"%s says version %d.%d of the plugin ABI; this Wasmill speaks version %d: build the plugin with a matching SDK",
			abi.ExportABI, v>>16, v&0xffff, abi.Major)}
	}
	return nil
}

// export returns an exported function, on the guest's stack; nil if there is none.
func (g *guest) export(name string) api.Function {
	fn := g.mod.ExportedFunction(name)
	if fn != nil {
		g.native.attach(fn)
	}
	return fn
}

// instantiate makes the wazero instance. No code of the guest runs: its start
// function has become an export. wazero panics when it cannot have the memory
// that a module begins with.
func (g *guest) instantiate() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("instantiate the module: %v", r)
		}
	}()
	ctx := experimental.WithMemoryAllocator(g.ctx, experimental.MemoryAllocatorFunc(
		func(_, _ uint64) experimental.LinearMemory { return g.memory }))
	// No name: a runtime has many instances. No start functions: _initialize is
	// called by us, and wazero would look for _start.
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	if g.mod, err = g.gen.rt.InstantiateModule(ctx, g.gen.code, cfg); err != nil {
		return err
	}
	return g.link(ctx)
}

// call calls a function of up to two i32 parameters. The result is what the
// function returned, or zero.
func (g *guest) call(fn api.Function, params ...uint64) (uint64, *Fault) {
	copy(g.stack[:], params)
	return g.run(fn)
}

// run calls fn with the parameters in g.stack. It allocates nothing.
func (g *guest) run(fn api.Function) (uint64, *Fault) {
	g.memory.refused = false
	g.out.begin()
	g.ticker.begin(g.deadline)
	if err := fn.CallWithStack(g.ctx, g.stack[:]); err != nil {
		return 0, g.fault(err)
	}
	return g.stack[0], nil
}

func (g *guest) fault(err error) *Fault {
	g.out.flush()
	return callFault(err, &g.out, g.gen.funcs, g.memory.refused, g.memory.limit)
}

// failed makes a Fault of what a guest returned; its last line, if the call
// wrote one, explains a bare number.
func (g *guest) failed(kind, format string, args ...any) *Fault {
	g.out.flush()
	f := &Fault{Kind: kind, Message: cut(fmt.Sprintf(format, args...), maxMessage)}
	if why := g.out.lastLine(); why != "" && kind != abi.FaultBadResponse {
		f.Message = cut(f.Message+": "+why, maxMessage)
	}
	f.Detail = detail("", &g.out)
	return f
}

// buffer asks the guest for room for n bytes and returns where it is, and a
// view of it. The view is taken after the call, in which the memory may grow.
func (g *guest) buffer(n int) (uint32, []byte, *Fault) {
	g.stack[0] = uint64(n)
	r, f := g.run(g.bufferFn)
	if f != nil {
		return 0, nil, f
	}
	p := uint32(r)
	if p == 0 {
		if g.memory.refused {
			return 0, nil, g.failed(abi.FaultOutOfMemory, "memory limit of %s reached: no room for a batch of %d bytes", size(g.memory.limit), n)
		}
		return 0, nil, g.failed(abi.FaultOutOfMemory, "%s has no room for a batch of %d bytes", abi.ExportBuffer, n)
	}
	// Invariant A6: the guest chose this address.
	if p&7 != 0 {
		return 0, nil, g.failed(abi.FaultBadResponse, "%s returned address %d, which is not a multiple of 8", abi.ExportBuffer, p)
	}
	b, ok := g.view.Read(p, uint32(n))
	if !ok {
		return 0, nil, g.failed(abi.FaultBadResponse, "%s returned address %d for %d bytes, its memory ends at %d",
			abi.ExportBuffer, p, n, g.view.Size())
	}
	return p, b, nil
}

// open hands the guest its configuration.
func (g *guest) open(doc []byte) *Fault {
	if g.openFn == nil {
		return nil
	}
	p, b, f := g.buffer(len(doc))
	if f != nil {
		return f
	}
	copy(b, doc)
	r, f := g.call(g.openFn, uint64(p), uint64(len(doc)))
	if f != nil {
		return f
	}
	if code := int32(uint32(r)); code != 0 {
		if g.out.flush(); g.out.lastLine() != "" { // the plugin says why
			f := g.failed(abi.FaultGuestError, "refused its configuration")
			f.Err = &ConfigError{Plugin: g.gen.spec.Name, Text: g.out.lastLine()}
			return f
		}
		return g.failed(abi.FaultGuestError, "%s refused its configuration with code %d", abi.ExportOpen, code)
	}
	return nil
}

// process is one batch: encode the events straight into the guest's memory,
// call, check and decode the response. It allocates nothing.
func (g *guest) process(h abi.BatchHeader, events []abi.Event, total int, lim abi.ResponseLimits, res *abi.Result) *Fault {
	p, b, f := g.buffer(total)
	if f != nil {
		return f
	}
	h.Count = uint32(len(events))
	if !g.clock.real {
		h.Now = 0
	}
	abi.PutBatchHeader(b, h, total)
	at := abi.BatchHeaderSize
	for i := range events {
		at += abi.PutEvent(b[at:], &events[i])
	}
	g.stack[0], g.stack[1] = uint64(p), uint64(total)
	r, f := g.run(g.processFn)
	if f != nil {
		return f
	}
	return g.response(abi.ExportProcess, int64(r), events, lim, res)
}

// finish calls wasmill_close, if the guest has it.
func (g *guest) finish(lim abi.ResponseLimits, res *abi.Result) *Fault {
	if g.closeFn == nil {
		return nil
	}
	r, f := g.run(g.closeFn)
	if f != nil {
		return f
	}
	return g.response(abi.ExportClose, int64(r), nil, lim, res)
}

// report passes one value of a metric on.
func (g *guest) report(name string, kind int, v float64) {
	if m := g.gen.spec.Metric; m != nil {
		m(g.spec.Pipeline, name, kind, v)
	}
}

// shut ends the wazero instance. The memory stays mapped until release, because
// views of it may still be read. Not during a call.
func (g *guest) shut() error {
	g.out.flush()
	if g.mod == nil {
		return nil
	}
	mod := g.mod
	g.mod = nil
	if err := mod.Close(context.Background()); err != nil {
		return fmt.Errorf("close the module: %w", err)
	}
	return nil
}

// release gives the memory back, after shut. Not during a call.
func (g *guest) release() {
	if err := g.shut(); err != nil {
		g.gen.host.log.Warn("a plugin instance did not close cleanly", "plugin", g.gen.spec.Name, "error", err)
	}
	g.memory.release()
	g.native.release()
}
