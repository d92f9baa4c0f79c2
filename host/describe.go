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
	Grants  []string     `json:"grants"` // what its imports need, sorted
	Memory  int64        `json:"memory"` // bytes it starts with
	// What counts against the caps of package inspect.
	Functions int      `json:"functions"` // with the imported ones
	Largest   Function `json:"largest_function"`
	Elements  int      `json:"table_entries"` // that instantiation writes
	Data      int      `json:"data"`          // bytes of memory that the module brings along
	Problem   string   `json:"problem,omitempty"`
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
	own := hostFunctions()
	for _, i := range m.Imports {
		f := ExternFunc{Name: string(i.Module) + "." + string(i.Name), Type: i.Kind.String()}
		if i.Kind == inspect.ExternFunc {
			f.Type = m.Types[i.Index].String()
		}
		d.Imports = append(d.Imports, f)
		if string(i.Module) != abi.ImportModule {
			continue
		}
		if grant := own[string(i.Name)].grant; grant != "" && !slices.Contains(d.Grants, grant) {
			d.Grants = append(d.Grants, grant)
		}
	}
	slices.Sort(d.Grants)
	for _, e := range m.Exports {
		f := ExternFunc{Name: string(e.Name), Type: e.Kind.String()}
		if e.Kind == inspect.ExternFunc {
			f.Type = m.TypeOf(e.Index).String()
		}
		d.Exports = append(d.Exports, f)
	}
	if len(m.Memories) > 0 {
		d.Memory = int64(m.Memories[0].Min) * wasmPage
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
	all := []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret}
	if err := check(m, all, maxMemory); err != nil {
		d.Problem = err.Error()
	}
	return d, nil
}
