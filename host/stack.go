package host

import (
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// The compiled code of a guest runs on a stack of its own, which wazero grows by
// copying until it is larger than 50 MB, so up to 161 MiB, and then ends the
// call with a stack overflow. That takes a recursion 0.3 s and the process the
// memory. It has no option for it. So each guest gets a stack that is as large
// as it may become, in memory of its own: stackSize bytes that are backed when
// they are used, above addresses that are only reserved, which make it long
// enough for wazero not to grow it. The fields are found by name and type; a
// test notices when they have moved, and until then guests run as wazero has it.
const (
	stackSize = 8 << 20
	// stackSpare lies below what the code believes to be the end: some of
	// wazero's own code pushes a few words without asking.
	stackSpare = 64 << 10
	// stackCeiling is above the 50,000,000 bytes from which wazero grows no stack.
	stackCeiling = 49 << 20
)

// nativeStack is the stack of one guest. All its exports share it: they are
// called one at a time.
type nativeStack struct {
	b []byte // stackCeiling bytes, of which only the last are accessible
}

// stackFields are the offsets in a wazevo.callEngine.
type stackFields struct{ stack, top, bottom uintptr }

// findStackFields looks at what api.Function fn is. ok is false when it is not
// what this version of wazero has, or no compiled function.
func findStackFields(fn api.Function) (f stackFields, ok bool) {
	t := reflect.TypeOf(fn)
	if t == nil || t.String() != "*wazevo.callEngine" || t.Elem().Kind() != reflect.Struct {
		return f, false
	}
	stack, ok1 := t.Elem().FieldByName("stack")
	top, ok2 := t.Elem().FieldByName("stackTop")
	exec, ok3 := t.Elem().FieldByName("execCtx")
	if !ok1 || !ok2 || !ok3 || exec.Type.Kind() != reflect.Struct {
		return f, false
	}
	bottom, ok4 := exec.Type.FieldByName("stackBottomPtr")
	ok = ok4 && stack.Type == reflect.TypeFor[[]byte]() && top.Type == reflect.TypeFor[uintptr]() && bottom.Type == reflect.TypeFor[*byte]()
	return stackFields{stack.Offset, top.Offset, exec.Offset + bottom.Offset}, ok
}

// attach makes fn run on the stack. fn must not be running. What is no compiled
// function, or one of another version of wazero, stays as it is.
func (s *nativeStack) attach(fn api.Function) {
	if len(s.b) == 0 {
		return
	}
	f, ok := findStackFields(fn)
	if !ok {
		return
	}
	engine := reflect.ValueOf(fn).UnsafePointer()
	last := &s.b[len(s.b)-1]
	*(*[]byte)(unsafe.Add(engine, f.stack)) = s.b
	*(*uintptr)(unsafe.Add(engine, f.top)) = uintptr(unsafe.Pointer(last)) &^ 15
	*(**byte)(unsafe.Add(engine, f.bottom)) = &s.b[len(s.b)-stackSize+stackSpare]
}
