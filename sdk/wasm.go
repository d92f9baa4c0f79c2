//go:build wasip1

package sdk

import (
	"strings"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/sdk/abi"
)

// The boundary of a guest: everything that only WebAssembly has is in this
// file. An import is in the module only when a function that calls it is, so a
// plugin asks for no grant that it does not use.

//go:wasmimport wasmill_v1 log
func importLog(level int32, line string)

//go:wasmimport wasmill_v1 metric_define
func importMetricDefine(name string, kind int32) int32

//go:wasmimport wasmill_v1 metric_add
func importMetricAdd(id int32, n int64)

//go:wasmimport wasmill_v1 metric_observe
func importMetricObserve(id int32, v float64)

//go:wasmimport wasmill_v1 now
func importNow() int64

//go:wasmimport wasmill_v1 random
func importRandom(p unsafe.Pointer, size uint32)

//go:wasmimport wasmill_v1 secret_get
func importSecretGet(name string, p unsafe.Pointer, size uint32) int64

// self is the instance that this module is. It and input pin the buffers whose
// addresses the host knows; the heap does not move.
var (
	self  guest
	input []uint64 // words, so that the buffer is 8-aligned
)

const (
	failed    = -28 // EINVAL; the cause is on stderr
	maxBuffer = 1 << 30
	maxRandom = 1 << 20 // what the host gives at once
)

//go:wasmexport wasmill_abi_v1
func exportABI() int32 { return abi.Version }

//go:wasmexport wasmill_buffer
func exportBuffer(size int32) unsafe.Pointer {
	if size < 0 || size > maxBuffer {
		return nil
	}
	if words := (int(size) + 7) / 8; words > len(input) || len(input) == 0 {
		n := 8 << 10 // 64 KiB, then doubling
		for n < words {
			n *= 2
		}
		input = nil // the collector may have the old one before the new one is made
		input = make([]uint64, n)
	}
	return unsafe.Pointer(&input[0])
}

//go:wasmexport wasmill_open
func exportOpen(p unsafe.Pointer, size uint32) int32 {
	doc, ok := received(p, size)
	if !ok {
		return failed
	}
	self.opener = registered
	if err := self.open(append([]byte(nil), doc...)); err != nil {
		report(err)
		return failed
	}
	return 0
}

//go:wasmexport wasmill_process
func exportProcess(p unsafe.Pointer, size uint32) int64 {
	frame, ok := received(p, size)
	if !ok {
		return failed
	}
	if self.opener == nil {
		self.opener = registered
	}
	response, err := self.process(frame)
	if err != nil {
		report(err)
		return failed
	}
	return abi.Pointer(response)
}

//go:wasmexport wasmill_close
func exportClose() int64 {
	response, err := self.close()
	if err != nil {
		report(err)
		return failed
	}
	return abi.Pointer(response)
}

// received returns the size bytes at p, which must begin the input buffer.
func received(p unsafe.Pointer, size uint32) ([]byte, bool) {
	if size == 0 {
		return nil, true
	}
	if len(input) == 0 || p != unsafe.Pointer(&input[0]) || int(size) > len(input)*8 {
		println("the host handed over bytes that are not in the buffer of wasmill_buffer")
		return nil, false
	}
	return unsafe.Slice((*byte)(p), size), true
}

// report writes err to stderr as one line, which the host puts into the fault
// that it reports.
func report(err error) { println(strings.ReplaceAll(err.Error(), "\n", "; ")) }

func hostLog(level Level, line []byte) {
	importLog(int32(level), unsafe.String(unsafe.SliceData(line), len(line)))
}

// metric is what the three kinds share. The host learns of it at its first use.
type metric struct {
	name string
	kind int32
	id   int32 // the host's number +1; 0 = not asked yet, < 0 = refused
}

func (m *metric) add(n int64) {
	if id, ok := m.define(); ok {
		importMetricAdd(id, n)
	}
}

func (m *metric) observe(v float64) {
	if id, ok := m.define(); ok {
		importMetricObserve(id, v)
	}
}

func (m *metric) define() (int32, bool) {
	if m.id == 0 {
		if m.id = importMetricDefine(m.name, m.kind); m.id >= 0 {
			m.id++
		}
	}
	return m.id - 1, m.id > 0
}

// Now returns the host's clock, in UTC. It needs the grant "clock": a module
// that calls it does not load without.
func Now() time.Time { return time.Unix(0, importNow()).UTC() }

// Random fills b with random bytes. It needs the grant "random".
func Random(b []byte) {
	for len(b) > 0 {
		n := min(len(b), maxRandom)
		importRandom(unsafe.Pointer(&b[0]), uint32(n))
		b = b[n:]
	}
}

// Secret returns the value that [plugins.NAME.secrets] gives that name; false
// when it has none. It needs the grant "secret".
func Secret(name string) (string, bool) {
	for buf := make([]byte, 256); ; buf = make([]byte, 2*len(buf)) {
		n := importSecretGet(name, unsafe.Pointer(&buf[0]), uint32(len(buf)))
		if n < 0 {
			return "", false
		}
		if n <= int64(len(buf)) {
			return string(buf[:n]), true
		}
	}
}
