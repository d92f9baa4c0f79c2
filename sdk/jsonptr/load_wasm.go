package jsonptr

import "unsafe"

// load64 returns the eight bytes of doc at i, which must exist. WebAssembly is
// little-endian and loads unaligned words, but Go's compiler does not join
// single bytes into a word for it, as it does for other machines.
func load64(doc []byte, i int) uint64 {
	return *(*uint64)(unsafe.Pointer(&doc[i : i+8][0]))
}
