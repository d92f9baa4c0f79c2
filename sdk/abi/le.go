//go:build !wasm

package abi

import "encoding/binary"

// le reads and writes the integers of a frame.
var le = binary.LittleEndian
