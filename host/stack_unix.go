//go:build (linux || darwin) && !nommap

package host

import (
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserve takes the addresses and opens the part that is used.
func (s *nativeStack) reserve() error {
	b, err := syscall.Mmap(-1, 0, stackCeiling, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("reserve a stack: %w", err)
	}
	s.b = b
	if runtime.GOOS == "linux" {
		const noHugePage = 15 // MADV_NOHUGEPAGE: the first call must not back 2 MiB
		_ = unix.Madvise(b, noHugePage)
	}
	if err := syscall.Mprotect(b[len(b)-stackSize:], syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		s.release()
		return fmt.Errorf("open a stack: %w", err)
	}
	return nil
}

// release gives the stack back. No call may be running on it.
func (s *nativeStack) release() {
	if s.b == nil {
		return
	}
	b := s.b
	s.b = nil
	_ = syscall.Munmap(b) // fails only for a range that is not a mapping of ours
}
