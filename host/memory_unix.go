//go:build (linux || darwin) && !nommap

package host

import (
	"fmt"
	"syscall"
)

// block is address space for the whole limit, reserved without access and
// opened page by page as the memory grows. Growing copies nothing, pages that
// the guest never touches cost nothing, and release gives everything back to
// the system at once instead of leaving it to the collector.
type block struct{ b []byte }

func (k *block) reserve(limit int64) error {
	b, err := syscall.Mmap(-1, 0, int(limit), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("reserve %s of address space: %w", size(limit), err)
	}
	k.b = b[:0]
	return nil
}

func (k *block) grow(n int64) ([]byte, error) {
	old := int64(len(k.b))
	if n > old {
		if err := syscall.Mprotect(k.b[old:n:n], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
			return nil, fmt.Errorf("open %s of memory: %w", size(n), err)
		}
		k.b = k.b[:n]
	}
	return k.b[:n:n], nil
}

func (k *block) release() {
	if cap(k.b) == 0 {
		return
	}
	b := k.b[:cap(k.b)]
	k.b = nil
	_ = syscall.Munmap(b) // fails only for a range that is not a mapping of ours
}
