package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/sdk/abi"
)

// signature is what a function takes and returns: one value type a byte, as in
// the binary format.
type signature struct{ params, results string }

func (s signature) funcType() inspect.FuncType {
	return inspect.FuncType{Params: []byte(s.params), Results: []byte(s.results)}
}

// String reads like "(i32, i64) -> i32".
func (s signature) String() string { return s.funcType().String() }

func (s signature) is(t inspect.FuncType) bool {
	return s.params == string(t.Params) && s.results == string(t.Results)
}

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

// check says whether a module that inspect has parsed can be a plugin: what it
// exports, what it imports under these grants, and its memory against the limit.
func check(m *inspect.Module, grants []string, limit int64) error {
	if err := checkExports(m); err != nil {
		return err
	}
	if err := checkMemory(m, limit); err != nil {
		return err
	}
	return checkImports(m, grants)
}

func checkExports(m *inspect.Module) error {
	if _, ok := m.Export(abi.ExportStart); ok {
		return fmt.Errorf("is a command (it exports %s), but a plugin is a reactor, which is called for each batch: "+
			"build Go with -buildmode=c-shared, C with -mexec-model=reactor or -nostartfiles -Wl,--no-entry, Rust as crate-type cdylib", abi.ExportStart)
	}
	var missing []string
	for _, spec := range abiExports() {
		e, ok := m.Export(spec.name)
		if !ok {
			if spec.required {
				missing = append(missing, spec.name)
			}
			continue
		}
		if e.Kind != inspect.ExternFunc {
			return fmt.Errorf("exports %s as a %s; it must be a function %s", spec.name, e.Kind, spec.sig)
		}
		if t := m.TypeOf(e.Index); !spec.sig.is(t) {
			return fmt.Errorf("exports %s as %s; version 1 of the plugin ABI has %s", spec.name, t, spec.sig)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, e := range m.Exports {
		if v, ok := strings.CutPrefix(string(e.Name), "wasmill_abi_v"); ok && string(e.Name) != abi.ExportABI {
			return fmt.Errorf("is built for version %s of the plugin ABI; this Wasmill speaks version %d: build it with a matching SDK",
				cut(printable([]byte(v)), 20), abi.Major)
		}
	}
	return fmt.Errorf("%w: it does not export %s; an SDK exports them: `wasmill new plugin` begins a plugin with one", ErrNotPlugin, strings.Join(missing, ", "))
}

func checkMemory(m *inspect.Module, limit int64) error {
	if len(m.Memories) == 0 {
		return fmt.Errorf("has no memory of its own; it must define one and export it as %q", abi.ExportMemory)
	}
	if e, ok := m.Export(abi.ExportMemory); !ok || e.Kind != inspect.ExternMemory {
		return fmt.Errorf("does not export its memory as %q", abi.ExportMemory)
	}
	if least := int64(m.Memories[0].Min) * wasmPage; least > limit {
		return fmt.Errorf("needs %s of memory to start, its limit is %s; raise memory in the plugin's limits", size(least), size(limit))
	}
	return nil
}

func checkImports(m *inspect.Module, grants []string) error {
	const most = 5 // named in one message
	wasi, own := wasiFunctions(), hostFunctions()
	var unknown []string
	for _, e := range m.Imports {
		var f hostFunction
		ok := false
		if e.Kind == inspect.ExternFunc {
			switch string(e.Module) {
			case wasiModule:
				f, ok = wasi[string(e.Name)]
			case abi.ImportModule:
				f, ok = own[string(e.Name)]
			}
		}
		name := printable(fmt.Appendf(nil, "%s.%s", e.Module, e.Name))
		if !ok {
			if e.Kind != inspect.ExternFunc {
				name += " (" + e.Kind.String() + ")"
			}
			unknown = append(unknown, cut(name, 100))
			continue
		}
		if f.grant != "" && !slices.Contains(grants, f.grant) {
			return fmt.Errorf("imports %s, which needs the grant %q: add it to the plugin's grants", name, f.grant)
		}
		if t := m.Types[e.Index]; !f.sig.is(t) {
			return fmt.Errorf("imports %s as %s; the host has %s", name, t, f.sig)
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
		hint = "compile AssemblyScript with `wasmill build`, or with --use abort="
	}
	return fmt.Errorf("imports %s%s, which the host does not have; %s", strings.Join(unknown, ", "), more, hint)
}
