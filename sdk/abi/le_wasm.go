package abi

import "unsafe"

// le reads and writes the integers of a frame. WebAssembly is little-endian and
// moves unaligned words, but Go's compiler does not join single bytes into a
// word for it, as it does for other machines: encoding/binary would take eight
// loads for one. It would also link reflect.
var le littleEndian

type littleEndian struct{}

func (littleEndian) Uint16(b []byte) uint16 { return *(*uint16)(unsafe.Pointer(&b[:2][0])) }
func (littleEndian) Uint32(b []byte) uint32 { return *(*uint32)(unsafe.Pointer(&b[:4][0])) }
func (littleEndian) Uint64(b []byte) uint64 { return *(*uint64)(unsafe.Pointer(&b[:8][0])) }

func (littleEndian) PutUint16(b []byte, v uint16) { *(*uint16)(unsafe.Pointer(&b[:2][0])) = v }
func (littleEndian) PutUint32(b []byte, v uint32) { *(*uint32)(unsafe.Pointer(&b[:4][0])) = v }
func (littleEndian) PutUint64(b []byte, v uint64) { *(*uint64)(unsafe.Pointer(&b[:8][0])) = v }

func (littleEndian) AppendUint16(b []byte, v uint16) []byte {
	return append(b, byte(v), byte(v>>8))
}

func (littleEndian) AppendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
