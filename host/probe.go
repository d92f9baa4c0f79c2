package host

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Probe is one guest whose exports are called one by one, with frames that an
// Instance would not send: it is what package hosttest examines a module with.
// It has the sandbox of every other guest. After a fault it can only be closed.
// One goroutine.
type Probe struct {
	guest *guest
	spec  InstanceSpec
	lim   abi.ResponseLimits

	dead, closed bool
}

// NewProbe instantiates the module and initializes it, up to the point where
// wasmill_open may be called. log gets what the guest says; it may be nil. The
// error wraps a *Fault when the module failed.
func (gen *Generation) NewProbe(spec InstanceSpec, log func(level int, line string)) (*Probe, error) {
	if len(spec.Outputs) == 0 {
		spec.Outputs = []string{"default"}
	}
	if err := gen.acquire(); err != nil {
		return nil, fmt.Errorf("start plugin %q: generation is %w", gen.spec.Name, err)
	}
	p := &Probe{spec: spec, lim: gen.spec.Limits.responseLimits(len(spec.Outputs))}
	g, f := gen.newGuest(&p.spec, log)
	if f != nil {
		gen.done()
		return nil, fmt.Errorf("start plugin %q: %w", gen.spec.Name, f)
	}
	p.guest = g
	return p, nil
}

// Document is what an Instance would hand to wasmill_open, with another
// configuration if config is not nil.
func (p *Probe) Document(config json.RawMessage) ([]byte, error) {
	spec := p.guest.gen.spec
	if config != nil {
		spec.Config = config
	}
	return openDocument(&spec, &p.spec)
}

// Open hands doc to wasmill_open.
func (p *Probe) Open(doc []byte) error {
	return p.call(func() *Fault { return p.guest.open(doc) })
}

// Advance puts the guest's own clock forward by d, as sleeping does.
func (p *Probe) Advance(d time.Duration) { p.guest.clock.sleep(d) }

// Buffer asks for room for n bytes and returns its address.
func (p *Probe) Buffer(n int) (address uint32, err error) {
	err = p.call(func() (f *Fault) {
		address, _, f = p.guest.buffer(n)
		return f
	})
	return address, err
}

// Process hands a frame over as it is. The response is checked as that to a
// batch of these events; res holds views of the guest's memory.
func (p *Probe) Process(frame []byte, events []abi.Event, res *abi.Result) error {
	res.Reset()
	return p.call(func() *Fault {
		address, room, f := p.guest.buffer(len(frame))
		if f != nil {
			return f
		}
		copy(room, frame)
		p.guest.stack[0], p.guest.stack[1] = uint64(address), uint64(len(frame))
		r, f := p.guest.run(p.guest.processFn)
		if f != nil {
			return f
		}
		lim := p.lim
		lim.Events = len(events)
		return p.guest.response(abi.ExportProcess, int64(r), events, lim, res)
	})
}

// Finish calls wasmill_close, if the module has it.
func (p *Probe) Finish(res *abi.Result) error {
	res.Reset()
	return p.call(func() *Fault { return p.guest.finish(p.lim, res) })
}

// Snapshot calls wasmill_snapshot and returns a copy of what it answers.
func (p *Probe) Snapshot() (state []byte, err error) {
	err = p.call(func() *Fault {
		r, f := p.guest.run(p.guest.export(abi.ExportSnapshot))
		if f != nil {
			return f
		}
		if int64(r) < 0 {
			return p.guest.failed(abi.FaultGuestError, "%s failed with code %d", abi.ExportSnapshot, int64(r))
		}
		b, ok := p.guest.view.Read(uint32(r>>32), uint32(r))
		if !ok {
			return p.guest.failed(abi.FaultBadResponse, "%s returned %d bytes at address %d, its memory ends at %d",
				abi.ExportSnapshot, uint32(r), uint32(r>>32), p.guest.view.Size())
		}
		state = append([]byte{}, b...)
		return nil
	})
	return state, err
}

// Restore hands state to wasmill_restore.
func (p *Probe) Restore(state []byte) error {
	return p.call(func() *Fault {
		address, room, f := p.guest.buffer(max(1, len(state)))
		if f != nil {
			return f
		}
		copy(room, state)
		r, f := p.guest.call(p.guest.export(abi.ExportRestore), uint64(address), uint64(len(state)))
		if f != nil {
			return f
		}
		if code := int32(uint32(r)); code != 0 {
			return p.guest.failed(abi.FaultGuestError, "%s refused the state with code %d", abi.ExportRestore, code)
		}
		return nil
	})
}

// Memory is how many bytes of linear memory the guest holds.
func (p *Probe) Memory() int64 { return p.guest.memory.size.Load() }

// call runs one call of the guest. What it refuses does not end it, as a trap,
// a deadline or an address outside of its memory does.
func (p *Probe) call(f func() *Fault) error {
	if p.dead {
		return fmt.Errorf("call plugin %q: the guest is %w", p.guest.gen.spec.Name, ErrClosed)
	}
	if f := f(); f != nil {
		p.dead = f.Kind != abi.FaultGuestError
		return f
	}
	return nil
}

// Close frees the guest. Nothing that its calls returned may be used any more.
func (p *Probe) Close() {
	if p.closed {
		return
	}
	p.dead, p.closed = true, true
	p.guest.release()
	p.guest.gen.done()
}

// Surface says what of a module's outside keeps it from being a plugin.
type Surface struct{ Exports, Memory, Imports error }

// CheckSurface compares what a module exports, imports and needs of memory with
// the ABI, these grants and that limit, 0 for the default. The error is for what
// is no module, or is over a cap.
func CheckSurface(binary []byte, grants []string, memory int64) (Surface, error) {
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		return Surface{}, err
	}
	limits := Limits{Memory: memory}.withDefaults()
	return Surface{checkExports(m), checkMemory(m, limits.Memory), checkImports(m, grants)}, nil
}
