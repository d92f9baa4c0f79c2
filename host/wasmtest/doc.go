// Package wasmtest assembles WebAssembly modules for tests, so that each module
// of a test can be read where it is used and none is checked in as a binary.
//
// A Module is a list of what it has; Bytes encodes it. It validates nothing on
// purpose: whatever can be written down can be encoded, also what no engine
// would take. What even a Module cannot say (sections out of order, a length
// that lies) is put together from Header, Section and the encoders of encode.go.
//
// Value types are strings of one byte a type, as in the binary: I32+I64 are an
// i32 and an i64. Code is a byte slice; Cat joins it. A body has no end of its
// own: Bytes appends it.
//
// Only tests import this package.
package wasmtest
