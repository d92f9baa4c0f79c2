package engine

import (
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/runtime/plan"
)

// label is what a module says of itself, and what of that is not true.
//
// A manifest that lies does not stop a module: nothing is decided by it, the
// sandbox goes by what the module is, and who wants to be sure which module runs
// pins its sha256. A refusal would take a working pipeline down for a label, for
// instance when an optimizer was run over a module after it was built.
type label struct {
	module, version string
	warnings        []string
}

func labelOf(spec plan.Plugin, module []byte) (l label) {
	m, findings, err := manifest.Check(module, spec.Path)
	if err != nil {
		return l // it is no module: the host says so
	}
	if m != nil {
		l.module, l.version = m.Name, m.Version
	}
	if spec.Builtin != "" { // a module may be several plugins
		l.module = spec.Builtin
	}
	for _, f := range findings {
		l.warnings = append(l.warnings, f.Message)
	}
	return l
}
