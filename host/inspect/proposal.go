package inspect

import "fmt"

// proposal is an extension of WebAssembly that the host does not have.
type proposal uint8

const (
	noProposal proposal = iota
	threads
	tailCalls
	exceptions
	memory64
	multiMemory
	garbageCollection
	extendedConst
	relaxedSIMD
	functionReferences
	stackSwitching
	wideArithmetic
	memoryControl
	customPageSizes
	components
	stringReferences
)

// String is the proposal's name as the WebAssembly community group writes it.
func (p proposal) String() string {
	return [...]string{
		noProposal:         "",
		threads:            "threads",
		tailCalls:          "tail calls",
		exceptions:         "exception handling",
		memory64:           "memory64",
		multiMemory:        "multi-memory",
		garbageCollection:  "garbage collection",
		extendedConst:      "extended constant expressions",
		relaxedSIMD:        "relaxed SIMD",
		functionReferences: "function references",
		stackSwitching:     "stack switching",
		wideArithmetic:     "wide arithmetic",
		memoryControl:      "memory control",
		customPageSizes:    "custom page sizes",
		components:         "components",
		stringReferences:   "reference-typed strings",
	}[p]
}

// advice is how to build without the proposal.
func (p proposal) advice() string {
	switch p {
	case threads:
		return "build without -pthread and atomics (clang -mno-atomics, Rust -C target-feature=-atomics)"
	case tailCalls:
		return "build without it (clang -mno-tail-call)"
	case exceptions:
		return "build without it (clang -fno-exceptions, Rust -C panic=abort)"
	case memory64:
		return "build for wasm32"
	case extendedConst:
		return "build without it (clang -mno-extended-const, no position-independent code)"
	case relaxedSIMD:
		return "build without it (clang -mno-relaxed-simd)"
	case wideArithmetic:
		return "build without it (clang -mno-wide-arithmetic)"
	case components:
		return "build for WASI preview 1 (wasip1), without wrapping the module as a component"
	}
	return "build for the core specification 2.0"
}

func unsupported(at int, what string, p proposal) *Error {
	return &Error{Kind: Unsupported, Rule: p.String(), Index: -1, Offset: at, Message: fmt.Sprintf(
		"%s belongs to the proposal %q, which the host does not have; %s", what, p, p.advice())}
}

// valueTypeProposal says to which proposal a value or reference type belongs
// that the core specification 2.0 does not know.
func valueTypeProposal(t byte) proposal {
	switch t {
	case 0x63, 0x64:
		return functionReferences
	case 0x69, 0x74:
		return exceptions
	case 0x68, 0x75:
		return stackSwitching
	case 0x67:
		return stringReferences
	case 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x71, 0x72, 0x73, 0x77, 0x78:
		return garbageCollection
	}
	return noProposal
}

func typeFormProposal(form byte) proposal {
	switch form {
	case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
		return garbageCollection
	case 0x5d:
		return stackSwitching
	}
	return noProposal
}

func opcodeProposal(op byte) proposal {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return exceptions
	case 0x12, 0x13:
		return tailCalls
	case 0x14, 0x15, 0xd4, 0xd5, 0xd6:
		return functionReferences
	case 0xd3, 0xfb:
		return garbageCollection
	case 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6:
		return stackSwitching
	case 0xfe:
		return threads
	}
	return noProposal
}

func miscProposal(sub uint32) proposal {
	switch {
	case sub == 0x12:
		return memoryControl
	case sub >= 0x13 && sub <= 0x16:
		return wideArithmetic
	}
	return noProposal
}
