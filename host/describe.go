package host

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Description is what a module says of itself without being run.
type Description struct {
	Digest  string       `json:"digest"` // sha256, hex
	Size    int          `json:"size"`   // bytes
	Imports []ExternFunc `json:"imports"`
	Exports []ExternFunc `json:"exports"`
	Grants  []string     `json:"grants"`               // what its imports need, sorted
	Memory  int64        `json:"memory"`               // bytes it starts with
	Most    int64        `json:"memory_max,omitempty"` // bytes beyond which it does not grow by itself; 0 = it does not say
	Missing []ExternFunc `json:"missing_exports"`      // those of the ABI that it could have, the required ones first
	// What counts against the caps of package inspect.
	Functions int      `json:"functions"` // with the imported ones
	Largest   Function `json:"largest_function"`
	Elements  int      `json:"table_entries"` // that instantiation writes
	Data      int      `json:"data"`          // bytes of memory that the module brings along
	Caps      []CapUse `json:"caps"`          // the same against what is allowed
	Problem   string   `json:"problem,omitempty"`
}

// CapUse is how much of a cap a module uses.
type CapUse struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"` // "bytes"; "" = a number
	Used int    `json:"used"`
	Most int    `json:"most"`
}

// Function is one function of a module; Name is empty if the module has none for it.
type Function struct {
	Index int    `json:"index"`
	Name  string `json:"name,omitempty"`
	Size  int    `json:"size"` // bytes
}

// ExternFunc is an import or export; Type is a signature like "(i32) -> i64",
// or the kind of what is not a function.
type ExternFunc struct {
	Name string `json:"name"` // of an import "module.name"
	Type string `json:"type"`
	// Grant is what an import needs, Note how the ABI or the sandbox takes it.
	Grant string `json:"grant,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Inspect describes a module. Problem says why, with every grant, it could not
// be loaded as a plugin. The error is for what is no module, or is over a cap; it
// is an *inspect.Error then.
func Inspect(binary []byte) (Description, error) {
	sum := sha256.Sum256(binary)
	d := Description{Digest: hex.EncodeToString(sum[:]), Size: len(binary)}
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		return d, err
	}
	own, wasi, known := hostFunctions(), wasiFunctions(), map[string]exportSpec{}
	for _, e := range abiExports() {
		known[e.name] = e
	}
	for _, i := range m.Imports {
		f := ExternFunc{Name: string(i.Module) + "." + string(i.Name), Type: i.Kind.String()}
		if i.Kind == inspect.ExternFunc {
			f.Type = m.Types[i.Index].String()
		}
		switch string(i.Module) {
		case abi.ImportModule:
			h, ok := own[string(i.Name)]
			if f.Grant = h.grant; !ok {
				f.Note = "unknown"
			}
		case wasiModule:
			if _, ok := wasi[string(i.Name)]; !ok {
				f.Note = "unknown"
			}
		default:
			f.Note = "unknown"
		}
		if f.Grant != "" && !slices.Contains(d.Grants, f.Grant) {
			d.Grants = append(d.Grants, f.Grant)
		}
		d.Imports = append(d.Imports, f)
	}
	slices.Sort(d.Grants)
	for _, e := range m.Exports {
		f := ExternFunc{Name: string(e.Name), Type: e.Kind.String()}
		if e.Kind == inspect.ExternFunc {
			f.Type = m.TypeOf(e.Index).String()
		}
		if spec, ok := known[f.Name]; ok || f.Name == abi.ExportMemory {
			if f.Note = "plugin ABI"; ok && f.Type != spec.sig.String() {
				f.Note = "plugin ABI, which has " + spec.sig.String()
			}
			delete(known, f.Name)
		}
		d.Exports = append(d.Exports, f)
	}
	for _, e := range abiExports() {
		if _, missing := known[e.name]; missing {
			note := "optional"
			if e.required {
				note = "required"
			}
			d.Missing = append(d.Missing, ExternFunc{Name: e.name, Type: e.sig.String(), Note: note})
		}
	}
	if len(m.Memories) > 0 {
		d.Memory = int64(m.Memories[0].Min) * wasmPage
		d.Most = int64(m.Memories[0].Max) * wasmPage
	}
	d.Functions = len(m.Funcs)
	for i, b := range m.Bodies {
		if n := b.End - b.Start; n > d.Largest.Size {
			d.Largest = Function{Index: m.ImportedFuncs() + i, Size: n}
		}
	}
	d.Largest.Name = string(m.FuncName(uint32(d.Largest.Index)))
	for _, e := range m.Elements {
		d.Elements += e.Count
	}
	for _, s := range m.Data {
		d.Data += s.End - s.Start
	}
	caps := inspect.DefaultCaps()
	d.Caps = []CapUse{
		{"module", "bytes", len(binary), caps.ModuleBytes},
		{"functions", "", d.Functions, caps.Functions},
		{"largest function", "bytes", d.Largest.Size, caps.BodyBytes},
		{"imports", "", len(m.Imports), caps.Imports},
		{"exports", "", len(m.Exports), caps.Exports},
		{"globals", "", len(m.Globals), caps.Globals},
		{"table entries", "", d.Elements, caps.ElementItems},
		{"data", "bytes", d.Data, caps.DataBytes},
	}
	all := []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret}
	if err := check(m, all, maxMemory); err != nil {
		d.Problem = err.Error()
	}
	return d, nil
}
