//go:build !wasm

package jsonptr

import "encoding/binary"

// load64 returns the eight bytes of doc at i, which must exist.
func load64(doc []byte, i int) uint64 { return binary.LittleEndian.Uint64(doc[i:]) }
