//go:build nommap || !(linux || darwin)

package host

// Without address space to reserve, guests run on the stacks that wazero makes.

func (s *nativeStack) reserve() error { return nil }

func (s *nativeStack) release() {}
