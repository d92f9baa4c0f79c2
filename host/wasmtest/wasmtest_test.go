package wasmtest_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/tetratelabs/wazero"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// compiled is what wazero says of the module.
func compiled(t *testing.T, module []byte) error {
	t.Helper()
	rt := wazero.NewRuntime(t.Context())
	t.Cleanup(func() { rt.Close(t.Context()) })
	_, err := rt.CompileModule(t.Context(), module)
	return err
}

// call runs the exported function "f" of the module.
func call(t *testing.T, m *wt.Module, args ...uint64) uint64 {
	t.Helper()
	rt := wazero.NewRuntime(t.Context())
	t.Cleanup(func() { rt.Close(t.Context()) })
	if _, err := rt.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(v uint32) uint32 { return v + 100 }).
		Export("add").Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	mod, err := rt.Instantiate(t.Context(), m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	res, err := mod.ExportedFunction("f").Call(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return res[0]
}

// A module with one of everything, as an engine sees it.
func TestModule(t *testing.T) {
	everything := func() *wt.Module {
		m := new(wt.Module)
		m.ImportFunc("env", "add", wt.I32, wt.I32)
		m.Memory(wt.Limits(1, 2))
		m.Table(wt.FuncRef, wt.Limits(4))
		m.Table(wt.ExternRef, wt.Limits(1, 8))
		m.Global(wt.I64, true, wt.I64Const(-5))
		return m
	}
	t.Run("an empty one", func(t *testing.T) {
		if err := compiled(t, new(wt.Module).Bytes()); err != nil {
			t.Error(err)
		}
	})
	t.Run("imports, a start function, globals, tables and data", func(t *testing.T) {
		m := everything()
		f := m.Func(wt.I32, wt.I32, wt.LocalGet(0), wt.Call(0))
		m.StartAt(m.Func("", "", wt.I64Const(7), wt.GlobalSet(0)))
		m.Elem(2, 0, f)
		m.Data(8, []byte{1, 2, 3, 4})
		d := m.PassiveData([]byte{5})
		e := m.PassiveElem(f)
		m.Names = map[int]string{f: "f"}
		m.Tail = wt.Custom("x", make([]byte, 200))
		typ := m.Type(wt.I32, wt.I32)
		m.ExportFunc("f", wt.I32, wt.I32,
			wt.I32Const(0), wt.I32Const(0), wt.I32Const(1), wt.MemoryInit(d), wt.DataDrop(d), // memory[0] = 5
			wt.I32Const(0), wt.I32Const(0), wt.I32Const(1), wt.TableInit(e, 0), wt.ElemDrop(e), // table[0] = f
			wt.I32Const(1), wt.I32Const(0), wt.I32Const(1), wt.TableCopy(0, 0),
			wt.RefNull(wt.ExternRef), wt.I32Const(2), wt.TableGrow(1), // 1
			wt.TableSize(1), wt.Op(wt.OpI32Add), // 4
			wt.I32Const(0), wt.Mem(wt.OpI32Load, 0), wt.Op(wt.OpI32Add), // 9
			wt.I32Const(16), wt.I32Const(1), wt.I32Const(4), wt.MemoryFill(),
			wt.I32Const(17), wt.I32Const(8), wt.I32Const(1), wt.MemoryCopy(),
			wt.I32Const(17), wt.Mem(wt.OpI32Load8U, 0), wt.Op(wt.OpI32Add), // 10
			wt.GlobalGet(0), wt.Op(wt.OpI32WrapI64), wt.Op(wt.OpI32Add), // 17
			wt.LocalGet(0), wt.I32Const(1), wt.CallIndirect(typ, 0), wt.Op(wt.OpI32Add)) // + local + 100
		if got := call(t, m, 1000); got != 1117 {
			t.Errorf("f(1000) is %d, want 1117", got)
		}
	})
	t.Run("control", func(t *testing.T) {
		m := new(wt.Module)
		m.FuncLocals(wt.I32, wt.I32, wt.Locals(wt.LocalGroup{N: 2, Type: wt.I32}),
			wt.LocalGet(0), wt.LocalSet(1),
			wt.Block(wt.NoResult, wt.Forever( // local 2 = the sum down to 1
				wt.LocalGet(1), wt.Op(wt.OpI32Eqz), wt.BrIf(1),
				wt.LocalGet(1), wt.LocalGet(2), wt.Op(wt.OpI32Add), wt.LocalSet(2),
				wt.LocalGet(1), wt.I32Const(1), wt.Op(wt.OpI32Sub), wt.LocalTee(1), wt.Drop())),
			wt.Block(wt.NoResult, wt.Block(wt.NoResult, wt.LocalGet(0), wt.BrTable(0, 0, 1)), wt.Unreachable()),
			wt.LocalGet(0), wt.If(wt.NoResult, wt.Op(wt.OpNop)),
			wt.LocalGet(0), wt.IfElse(wt.I32, wt.LocalGet(2), wt.I32Const(0)), wt.Return())
		m.Export("f", wt.KindFunc, 0)
		if got := call(t, m, 10); got != 55 {
			t.Errorf("f(10) is %d, want 55", got)
		}
	})
	t.Run("vectors, floats and references", func(t *testing.T) {
		m := new(wt.Module)
		f := m.NextFunc()
		m.ExportFunc("f", "", wt.I32,
			wt.V128Const([16]byte{7}), wt.SIMD(27, []byte{0}), // i32x4.extract_lane
			wt.F64Const(2.5), wt.Op(wt.OpI32TruncF64S), wt.Op(wt.OpI32Add),
			wt.RefFunc(f), wt.Op(wt.OpRefIsNull), wt.Op(wt.OpI32Add))
		if got := call(t, m); got != 9 {
			t.Errorf("f() is %d, want 9", got)
		}
	})
	t.Run("a definition can be changed, and what is wrong can be said", func(t *testing.T) {
		m := everything()
		m.Define(m.Func("", ""), wt.Op(0xff))
		if err := compiled(t, m.Bytes()); err == nil {
			t.Error("a body that is no code was taken")
		}
		m = everything()
		m.Before = map[byte][]byte{wt.SectionMemory: wt.Section(wt.SectionStart, wt.ULEB(0))}
		if err := compiled(t, m.Bytes()); err == nil {
			t.Error("sections out of order were taken")
		}
		m = everything()
		m.Replace = map[byte][]byte{wt.SectionMemory: {0xff}}
		if err := compiled(t, m.Bytes()); err == nil {
			t.Error("a memory section that is none was taken")
		}
		m = new(wt.Module)
		m.Func("", "")
		m.Funcs[0].Raw = []byte{0}
		if err := compiled(t, m.Bytes()); err == nil {
			t.Error("a body without an end was taken")
		}
	})
	t.Run("an import after a definition is a mistake of the test", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("it was taken")
			}
		}()
		m := new(wt.Module)
		m.Func("", "")
		m.ImportFunc("env", "late", "", "")
	})
}

func TestPlugin(t *testing.T) {
	m := new(wt.Module).Plugin(wt.Plugin{
		Open: wt.I32Const(0), Close: wt.I64Const(0), Initialize: []byte{}, Snapshot: wt.I64Const(0), Restore: wt.I32Const(0),
	})
	if err := compiled(t, m.Bytes()); err != nil {
		t.Error(err)
	}
	if got := m.Exported(abi.ExportProcess); m.Names[got] == "" {
		t.Error("wasmill_process has no name")
	}
	if m.Without(abi.ExportOpen); bytes.Contains(m.Bytes(), []byte(abi.ExportOpen)) {
		t.Error("the export is still there")
	}
}

func TestNumbers(t *testing.T) {
	for _, tc := range []struct{ got, want []byte }{
		{wt.ULEB(0), []byte{0}},
		{wt.ULEB(127), []byte{0x7f}},
		{wt.ULEB(128), []byte{0x80, 1}},
		{wt.ULEB(math.MaxUint64), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},
		{wt.PaddedULEB(5, 5), []byte{0x85, 0x80, 0x80, 0x80, 0}},
		{wt.SLEB(63), []byte{0x3f}},
		{wt.SLEB(64), []byte{0xc0, 0}},
		{wt.SLEB(-64), []byte{0x40}},
		{wt.SLEB(-65), []byte{0xbf, 0x7f}},
		{wt.I32Const(math.MaxUint32), []byte{0x41, 0x7f}}, // the low 32 bits
	} {
		if !bytes.Equal(tc.got, tc.want) {
			t.Errorf("%x, want %x", tc.got, tc.want)
		}
	}
}
