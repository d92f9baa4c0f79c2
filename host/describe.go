package host

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

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
	Problem string       `json:"problem,omitempty"`
}

// ExternFunc is an import or export; Type is a signature like "(i32) -> i64",
// or the kind of what is not a function.
type ExternFunc struct {
	Name string `json:"name"` // of an import "module.name"
	Type string `json:"type"`
}

// Inspect describes a module. Problem says why, with every grant, it could not
// be loaded as a plugin. The error is only for what is no module at all.
func Inspect(binary []byte) (Description, error) {
	sum := sha256.Sum256(binary)
	d := Description{Digest: hex.EncodeToString(sum[:]), Size: len(binary)}
	m, err := inspect(binary)
	if err != nil {
		return d, err
	}
	own := hostFunctions()
	for _, i := range m.imports {
		f := ExternFunc{Name: i.module + "." + i.name, Type: kindName(i.kind)}
		if i.kind == kindFunc && int(i.typ) < len(m.types) {
			f.Type = m.types[i.typ].String()
		}
		d.Imports = append(d.Imports, f)
		if i.module != abi.ImportModule {
			continue
		}
		if grant := own[i.name].grant; grant != "" && !slices.Contains(d.Grants, grant) {
			d.Grants = append(d.Grants, grant)
		}
	}
	slices.Sort(d.Grants)
	for _, e := range m.exports {
		f := ExternFunc{Name: e.name, Type: kindName(e.kind)}
		if sig, ok := m.signatureOf(e.index); ok && e.kind == kindFunc {
			f.Type = sig.String()
		}
		d.Exports = append(d.Exports, f)
	}
	if len(m.memories) > 0 {
		d.Memory = int64(min(m.memories[0].min, maxMemory/wasmPage)) * wasmPage
	}
	all := []string{abi.GrantClock, abi.GrantRandom, abi.GrantSecret}
	if err := m.check(all, maxMemory); err != nil {
		d.Problem = err.Error()
	}
	return d, nil
}
