//go:build nommap || !(linux || darwin)

package host

// block is a slice that grows by copying, for systems without mmap; the tag
// nommap lets the tests run with it anywhere.
type block struct{ b []byte }

func (k *block) reserve(int64) error { return nil }

func (k *block) grow(n int64) ([]byte, error) {
	if n > int64(len(k.b)) {
		k.b = append(k.b, make([]byte, n-int64(len(k.b)))...)
	}
	return k.b[:n:n], nil
}

func (k *block) release() { k.b = nil }
