package host

import "sync/atomic"

const wasmPage = 64 << 10

// maxMemory is the most linear memory a guest can have: the ABI keeps it below 2 GiB.
const maxMemory = 2<<30 - wasmPage

// memory is the linear memory of one guest. It never grows past its limit
// (invariant A4) and counts what it holds against its generation.
//
// wazero calls Reallocate and Free; release is the host's. Free does not give
// the memory back: views of it are promised until the next call of the
// instance, and the mapping must in any case outlive the call in which the
// module is closed.
type memory struct {
	block   block         // where the bytes are; differs by system
	limit   int64         // bytes
	size    atomic.Int64  // bytes the guest has now
	total   *atomic.Int64 // the generation's sum of sizes
	refused bool          // a growth was refused since the last call began
}

func newMemory(limit int64, total *atomic.Int64) (*memory, error) {
	m := &memory{limit: limit, total: total}
	if err := m.block.reserve(limit); err != nil {
		return nil, err
	}
	return m, nil
}

// Reallocate grows the memory to n bytes, or returns nil when that is more than
// the limit or than the system has. wazero never asks for less than before.
func (m *memory) Reallocate(n uint64) []byte {
	if n > uint64(m.limit) {
		m.refused = true
		return nil
	}
	b, err := m.block.grow(int64(n))
	if err != nil {
		m.refused = true
		return nil
	}
	m.total.Add(int64(n) - m.size.Swap(int64(n)))
	return b
}

// Free is wazero's word that the module is closed; see release.
func (m *memory) Free() {}

// release gives the memory back. Nothing may hold a view of it any more.
// Calling it again does nothing.
func (m *memory) release() {
	m.total.Add(-m.size.Swap(0))
	m.block.release()
}
