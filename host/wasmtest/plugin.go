package wasmtest

import "github.com/wasmill/wasmill/sdk/abi"

// Where the plugins of the tests keep things.
const (
	BufferAt   = 1024    // the batch
	ResponseAt = 1 << 16 // Plugin.Response
	FreeAt     = ResponseAt + 4096
)

// Plugin is the bodies of a plugin's exports. The zero value is a plugin that
// answers every batch with the same response.
type Plugin struct {
	Limits            []byte // of the memory; nil = two pages at least
	Version           []byte // of wasmill_abi_v1
	Buffer            []byte // of wasmill_buffer
	Process           []byte // of wasmill_process
	Locals            []byte // of wasmill_process, beside its two parameters
	Open, Close       []byte // nil = the plugin does not export them
	Initialize        []byte
	Snapshot, Restore []byte
	Response          []byte // what lies at ResponseAt; nil = an empty response
}

// Plugin adds to m the exports of a plugin, and returns m.
func (m *Module) Plugin(p Plugin) *Module {
	or := func(b, otherwise []byte) []byte {
		if b == nil {
			return otherwise
		}
		return b
	}
	response := or(p.Response, EmptyResponse())
	m.Memory(or(p.Limits, Limits(2)))
	m.Export(abi.ExportMemory, KindMemory, 0)
	m.ExportFunc(abi.ExportABI, "", I32, or(p.Version, I32Const(abi.Version)))
	m.ExportFunc(abi.ExportBuffer, I32, I32, or(p.Buffer, I32Const(BufferAt)))
	process := m.FuncLocals(I32+I32, I64, p.Locals, or(p.Process, Answer(ResponseAt, uint32(len(response)))))
	m.Export(abi.ExportProcess, KindFunc, process)
	if m.Names == nil {
		m.Names = map[int]string{}
	}
	m.Names[process] = "run_the_batch"
	for _, e := range []struct {
		name, params, results string
		body                  []byte
	}{
		{abi.ExportOpen, I32 + I32, I32, p.Open},
		{abi.ExportClose, "", I64, p.Close},
		{abi.ExportInitialize, "", "", p.Initialize},
		{abi.ExportSnapshot, "", I64, p.Snapshot},
		{abi.ExportRestore, I32 + I32, I32, p.Restore},
	} {
		if e.body != nil {
			m.ExportFunc(e.name, e.params, e.results, e.body)
		}
	}
	m.Data(ResponseAt, response)
	return m
}

// NewPlugin is the module of a plugin that imports nothing.
func NewPlugin(p Plugin) []byte { return new(Module).Plugin(p).Bytes() }

// EmptyResponse is a response without outputs and outcomes.
func EmptyResponse() []byte {
	var w abi.ResponseWriter
	w.Reset()
	return w.Bytes()
}

// Packed is what wasmill_process returns for a response of n bytes at p.
func Packed(p, n uint32) int64 { return int64(uint64(p)<<32 | uint64(n)) }

// Answer pushes what wasmill_process returns for a response of n bytes at p.
func Answer(p, n uint32) []byte { return I64Const(Packed(p, n)) }

// OnData wraps a body of wasmill_process that pushes an i64: it runs for
// batches with events; the canary gets the response at ResponseAt, which must be
// an empty one.
func OnData(body ...[]byte) []byte {
	return Cat(
		LocalGet(0), Mem(OpI32Load, 8), // the event count
		IfElse(I64, Cat(body...), Answer(ResponseAt, abi.ResponseHeaderSize)),
	)
}
