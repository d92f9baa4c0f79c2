package hosttest

import (
	"errors"
	"fmt"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/sdk/abi"
)

const buildAgain = "build it with the SDK of its language, or see the exports in the description of the ABI"

// surface looks at the module without running it, and loads it.
func (s *suite) surface() {
	s.imports, s.exports = map[string]bool{}, map[string]bool{}
	valid := false
	s.check("module", "a WebAssembly module within the caps of the sandbox", func(c *Check) {
		d, err := host.Inspect(s.module)
		if err != nil {
			c.fail("compile it to a core module for WASI preview 1 or without any system interface", "it %v", err)
			return
		}
		valid = true
		for _, i := range d.Imports {
			s.imports[i.Name] = true
		}
		for _, e := range d.Exports {
			s.exports[e.Name] = true
		}
		c.note("%d bytes, %d functions", d.Size, d.Functions)
	})
	var outside host.Surface
	if valid {
		outside, _ = host.CheckSurface(s.module, s.o.Grants, s.o.Limits.Memory) // it can be parsed, see above
	}
	fits := func(name, what, advice string, err error) {
		s.check(name, what, func(c *Check) {
			switch {
			case !valid:
				c.skip("it is no module")
			case err != nil:
				c.fail(advice, "it %v", err)
			}
		})
	}
	fits("exports", "a reactor that exports the functions of the ABI with their signatures", buildAgain, outside.Exports)
	fits("memory", "one memory of its own, exported, that begins within the limit", "define a memory and export it as \"memory\"", outside.Memory)
	fits("imports", "nothing imported but what the host has and the grants allow",
		"grant what it needs (--grants here, grants in the configuration), or do without", outside.Imports)
	s.check("compile", "compiled within the limits of time and memory", func(c *Check) {
		if !valid || errors.Join(outside.Exports, outside.Memory, outside.Imports) != nil {
			c.skip("the module is refused before")
			return
		}
		gen, err := s.o.Host.Load(s.ctx, host.Spec{
			Name: s.o.Name, Builtin: s.o.Builtin, Module: s.module, Grants: s.o.Grants, Secrets: s.o.Secrets, Config: s.o.Config, Limits: s.o.Limits,
		})
		if err != nil {
			if s.ctx.Err() == nil {
				c.fail("make its functions smaller and fewer", "%v", err)
			}
			return
		}
		s.gen = gen
	})
}

// where is the place of the instances under examination. The same place gives
// the same pseudo-random numbers.
func (s *suite) where() host.InstanceSpec {
	return host.InstanceSpec{Pipeline: "verify", Outputs: append([]string{"default"}, s.o.Outputs...)}
}

// probe starts a guest. The caller closes it.
func (s *suite) probe(log func(level int, line string)) (*host.Probe, error) {
	return s.gen.NewProbe(s.where(), log)
}

// opened starts a guest and hands it its configuration.
func (s *suite) opened() (*host.Probe, error) {
	p, err := s.probe(nil)
	if err != nil {
		return nil, err
	}
	doc, err := p.Document(nil)
	if err == nil {
		err = p.Open(doc)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// life begins an instance.
func (s *suite) life() {
	begun := false
	s.check("start", "instantiated and initialized, by its start function and _initialize, before all else", func(c *Check) {
		if s.gen == nil {
			c.skip("the module is not loaded")
			return
		}
		p, err := s.probe(nil)
		var f *host.Fault
		if errors.As(err, &f) && f.Kind == abi.FaultBadResponse { // it has got as far as its version
			begun = true
			return
		}
		if err != nil {
			c.fault(err, "it did not start")
			return
		}
		p.Close()
		begun = true
		if s.exports["__wasm_call_ctors"] && !s.exports[abi.ExportInitialize] {
			c.fail("link it as a reactor (-mexec-model=reactor), so that _initialize runs them",
				"it exports __wasm_call_ctors and no _initialize: its constructors never run")
		}
	})
	ready := false
	s.check("version", fmt.Sprintf("wasmill_abi_v1 returns version %d of the ABI", abi.Major), func(c *Check) {
		if !begun {
			c.skip("the module does not start")
			return
		}
		p, err := s.probe(nil)
		if err != nil {
			c.fault(err, "it does not")
			c.Advice = fmt.Sprintf("return major<<16 | minor, for this version %#x", abi.Version)
			return
		}
		p.Close()
		ready = true
	})
	s.check("buffer", "wasmill_buffer gives room of any size, at a multiple of 8, inside the memory", func(c *Check) {
		if !ready {
			c.skip("the module does not start")
			return
		}
		s.buffers(c)
	})
	s.check("open", "wasmill_open takes the configuration", func(c *Check) {
		if !ready {
			c.skip("the module does not start")
			return
		}
		p, err := s.opened()
		if err != nil {
			c.fault(err, "it does not take %s", s.o.Config)
			c.Advice = "say --config with a configuration that the plugin takes, or see why it refuses this one"
			return
		}
		p.Close()
		s.starts = true
		if !s.exports[abi.ExportOpen] {
			c.skip("the module does not export it")
		}
	})
}

// bufferSizes are asked for one after the other, so that the buffer also has to
// grow, and to be there for less afterwards.
func bufferSizes() []int {
	return []int{1, 2, 7, 8, 31, 32, 80, 1000, 4096, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 20, 1<<20 + 80, 4 << 20, 1, 80, 1 << 16}
}

func (s *suite) buffers(c *Check) {
	p, err := s.probe(nil)
	if err != nil {
		c.fault(err, "a second guest did not start")
		return
	}
	defer p.Close()
	for _, n := range bufferSizes() {
		if _, err := p.Buffer(n); err != nil {
			c.fault(err, "wasmill_buffer(%d)", n)
			var f *host.Fault
			if errors.As(err, &f) && f.Kind != abi.FaultTrap {
				c.Advice = "return the address of at least that many bytes, a multiple of 8, and grow the buffer when more are asked for than it has; a batch of one large event is larger than max_bytes"
			}
			return
		}
	}
	c.note("%d sizes up to 4 MiB", len(bufferSizes()))
}

// resident is what an instance may take more than the one before it.
const resident = 1 << 20

// openings opens many instances, and one twice.
func (s *suite) openings(c *Check) {
	if !s.exports[abi.ExportOpen] {
		c.skip("the module does not export wasmill_open")
		return
	}
	const many = 20
	var first int64
	for i := range many {
		p, err := s.opened()
		if err != nil {
			c.fault(err, "instance %d did not open", i+1)
			return
		}
		if i == 0 {
			first = p.Memory()
		}
		if now := p.Memory(); now > first+resident {
			c.fail("an instance must not depend on others", "instance %d takes %d bytes of memory, the first took %d", i+1, now, first)
		}
		p.Close()
	}
	p, err := s.opened()
	if err != nil {
		c.fault(err, "an instance did not open")
		return
	}
	defer p.Close()
	doc, err := p.Document(nil)
	if err != nil {
		c.fail("", "%v", err)
		return
	}
	if err := p.Open(doc); err != nil {
		var f *host.Fault
		if !errors.As(err, &f) || f.Kind != abi.FaultGuestError { // an error is a good answer, too: it is open already
			c.fault(err, "a second wasmill_open of the same instance")
			return
		}
	}
	one := frame{events: s.with(1, 1, nil)}
	if err := p.Process(one.encode(), one.events, &abi.Result{}); err != nil {
		c.fault(err, "a batch after a second wasmill_open")
	}
}
