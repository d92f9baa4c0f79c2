// Package hostile generates modules that try to harm a host, each with what it
// tries and what must come of it: refused when it is loaded, stopped by a fault,
// or harmless. None lies in the repository as a binary; what a module does can
// be read where it is made.
//
// The tests of this package run them all against package host. Only tests
// import it.
package hostile

import (
	"slices"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Outcome is what must come of a module.
type Outcome int

// Outcomes.
const (
	Refused  Outcome = iota // by Load
	NoStart                 // loaded, but a call of its start is a fault
	Faulty                  // the batch is a fault
	NoClose                 // its end is a fault
	Harmless                // a batch passes: whatever it tries has no effect
	Any                     // whatever it does; the host goes on
)

// String names the outcome in tables.
func (o Outcome) String() string {
	return [...]string{"refused", "no start", "fault", "no close", "harmless", "any"}[o]
}

// Case is one hostile module.
type Case struct {
	Name    string // unique
	Group   string
	Tries   string // "to …", for the table
	Module  func() []byte
	Outcome Outcome
	// Kinds are the faults that may stop it, of abi's names.
	Kinds []string
	// Says is a part of the refusal or of the fault.
	Says string
	// Slow says that it runs to its deadline, in the way of others that do.
	Slow bool
}

// Grants are those that all cases get: what is granted is most of what a module can try.
func Grants() []string { return []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret} }

// Outputs are the names of the outputs that each case has.
func Outputs() []string { return []string{"default", "other"} }

// Memory is the memory limit of each case.
const Memory = 16 << 20

// Cases returns all cases.
func Cases() []Case {
	return slices.Concat(endless(), straight(), traps(), memories(), bombs(), responses(), outputs(), arguments(), wasi(), imports(), names(), malformed(), mutants())
}

const (
	pages = Memory / (64 << 10)
	// scratchAt is memory that nothing else uses.
	scratchAt = 32 << 10
)

// place is where in the life of a plugin some code runs.
type place struct {
	name    string
	outcome Outcome
	put     func(m *wt.Module, p *wt.Plugin, body []byte) // body leaves nothing on the stack
}

// places are all those where a plugin's code runs.
func places() []place {
	return []place{
		{abi.ExportProcess, Faulty, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			p.Process = wt.OnData(body, wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize))
		}},
		{abi.ExportBuffer, Faulty, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			// The canary is 32 bytes long.
			p.Buffer = wt.Cat(wt.LocalGet(0), wt.I32Const(32), wt.Op(wt.OpI32Ne), wt.LocalGet(0), wt.I32Const(300), wt.Op(wt.OpI32GtU), wt.Op(wt.OpI32And),
				wt.If(wt.NoResult, body), wt.I32Const(wt.BufferAt))
		}},
		{abi.ExportInitialize, NoStart, func(_ *wt.Module, p *wt.Plugin, body []byte) { p.Initialize = body }},
		{abi.ExportABI, NoStart, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			p.Version = wt.Cat(body, wt.I32Const(abi.Version))
		}},
		{abi.ExportOpen, NoStart, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			p.Open = wt.Cat(body, wt.I32Const(0))
		}},
		{"its canary", NoStart, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			p.Process = wt.Cat(body, wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize))
		}},
		{"its start function", NoStart, func(m *wt.Module, _ *wt.Plugin, body []byte) {
			m.StartAt(m.Func("", "", body))
		}},
		{abi.ExportClose, NoClose, func(_ *wt.Module, p *wt.Plugin, body []byte) {
			p.Close = wt.Cat(body, wt.Answer(wt.ResponseAt, abi.ResponseHeaderSize))
		}},
	}
}

// in makes a module that runs at a place what body makes.
func in(p place, body func(m *wt.Module) []byte) func() []byte {
	return func() []byte {
		m := new(wt.Module)
		plugin := wt.Plugin{Limits: wt.Limits(4)}
		code := body(m) // which may import something, so before anything is defined
		p.put(m, &plugin, code)
		return m.Plugin(plugin).Bytes()
	}
}

// processing makes a module that runs code on each batch with events.
func processing(body func(m *wt.Module) []byte) func() []byte { return in(places()[0], body) }
