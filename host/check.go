package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/sdk/abi"
)

// exportSpec is one export that the ABI knows.
type exportSpec struct {
	name     string
	sig      signature
	required bool
}

func abiExports() []exportSpec {
	const i32, i64 = "\x7f", "\x7e"
	return []exportSpec{
		{abi.ExportABI, signature{"", i32}, true},
		{abi.ExportBuffer, signature{i32, i32}, true},
		{abi.ExportProcess, signature{i32 + i32, i64}, true},
		{abi.ExportInitialize, signature{"", ""}, false},
		{abi.ExportOpen, signature{i32 + i32, i32}, false},
		{abi.ExportClose, signature{"", i64}, false},
		{abi.ExportSnapshot, signature{"", i64}, false},
		{abi.ExportRestore, signature{i32 + i32, i32}, false},
	}
}

// check says whether a module that inspect could read can be a plugin: what it
// exports, what it imports under these grants, and its memory against the limit.
func (m *module) check(grants []string, limit int64) error {
	if err := m.checkExports(); err != nil {
		return err
	}
	if err := m.checkMemory(limit); err != nil {
		return err
	}
	return m.checkImports(grants)
}

func (m *module) checkExports() error {
	if _, ok := m.export(abi.ExportStart); ok {
		return fmt.Errorf("is a command (it exports %s), but a plugin is a reactor, which is called for each batch: "+
			"build Go with -buildmode=c-shared, C with -mexec-model=reactor or -nostartfiles -Wl,--no-entry, Rust as crate-type cdylib", abi.ExportStart)
	}
	var missing []string
	for _, spec := range abiExports() {
		e, ok := m.export(spec.name)
		if !ok {
			if spec.required {
				missing = append(missing, spec.name)
			}
			continue
		}
		if e.kind != kindFunc {
			return fmt.Errorf("exports %s as a %s; it must be a function %s", spec.name, kindName(e.kind), spec.sig)
		}
		if sig, ok := m.signatureOf(e.index); !ok {
			return fmt.Errorf("is not a valid WebAssembly module: export %s is function %d, which does not exist", spec.name, e.index)
		} else if sig != spec.sig {
			return fmt.Errorf("exports %s as %s; version 1 of the plugin ABI has %s", spec.name, sig, spec.sig)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, e := range m.exports {
		if v, ok := strings.CutPrefix(e.name, "wasmill_abi_v"); ok && e.name != abi.ExportABI {
			return fmt.Errorf("is built for version %s of the plugin ABI; this Wasmill speaks version %d: build it with a matching SDK",
				cut(printable([]byte(v)), 20), abi.Major)
		}
	}
	return fmt.Errorf("is not a Wasmill plugin: it does not export %s (Go plugins import github.com/wasmill/wasmill/sdk)", strings.Join(missing, ", "))
}

func (m *module) checkMemory(limit int64) error {
	if len(m.memories) == 0 {
		return fmt.Errorf("has no memory of its own; it must define one and export it as %q", abi.ExportMemory)
	}
	if len(m.memories) > 1 {
		return fmt.Errorf("has %d memories; a plugin has one", len(m.memories))
	}
	if e, ok := m.export(abi.ExportMemory); !ok || e.kind != kindMemory {
		return fmt.Errorf("does not export its memory as %q", abi.ExportMemory)
	}
	mem := m.memories[0]
	switch {
	case mem.flags&memory64 != 0:
		return fmt.Errorf("has a 64-bit memory; build for wasm32")
	case mem.flags&memoryShared != 0:
		return fmt.Errorf("has a shared memory; threads are not supported")
	case mem.min > uint64(limit/wasmPage):
		need := "more than 4 GiB"
		if mem.min <= 1<<16 {
			need = size(int64(mem.min) * wasmPage)
		}
		return fmt.Errorf("needs %s of memory to start, its limit is %s; raise memory in the plugin's limits", need, size(limit))
	}
	return nil
}

func (m *module) checkImports(grants []string) error {
	const most = 5 // named in one message
	wasi, own := wasiFunctions(), hostFunctions()
	var unknown []string
	for _, e := range m.imports {
		var f hostFunction
		ok := false
		if e.kind == kindFunc {
			switch e.module {
			case wasiModule:
				f, ok = wasi[e.name]
			case abi.ImportModule:
				f, ok = own[e.name]
			}
		}
		name := printable([]byte(e.module + "." + e.name))
		if !ok {
			if e.kind != kindFunc {
				name += " (" + kindName(e.kind) + ")"
			}
			unknown = append(unknown, cut(name, 100))
			continue
		}
		if f.grant != "" && !slices.Contains(grants, f.grant) {
			return fmt.Errorf("imports %s, which needs the grant %q: add it to the plugin's grants", name, f.grant)
		}
		if uint64(e.typ) >= uint64(len(m.types)) {
			return fmt.Errorf("is not a valid WebAssembly module: import %s has type %d, which does not exist", name, e.typ)
		}
		if sig := m.types[e.typ]; sig != f.sig {
			return fmt.Errorf("imports %s as %s; the host has %s", name, sig, f.sig)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	more := ""
	if len(unknown) > most {
		more = fmt.Sprintf(" and %d more", len(unknown)-most)
		unknown = unknown[:most]
	}
	hint := "a plugin may import " + abi.ImportModule + " and " + wasiModule
	if strings.HasPrefix(unknown[0], "env.abort") {
		hint = "compile AssemblyScript with --use abort="
	}
	return fmt.Errorf("imports %s%s, which the host does not have; %s", strings.Join(unknown, ", "), more, hint)
}
