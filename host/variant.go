package host

import (
	"encoding/json"
	"fmt"
)

// Variant is what may differ between generations that run the same code.
type Variant struct {
	Config  json.RawMessage
	Secrets map[string]string
	Log     func(pipeline string, partition, level int, line string)
	Metric  func(pipeline, name string, kind int, value float64)
	Fixed   *Fixed
}

// Variant returns a generation of the same module under the same grants and
// limits, with another configuration. It costs nothing: the code is shared, and
// stays as long as a variant of it is not closed, as it does for an instance.
// Tests use it, which run one module under many configurations.
func (gen *Generation) Variant(v Variant) (*Generation, error) {
	if err := gen.acquire(); err != nil {
		return nil, fmt.Errorf("make a variant of plugin %q: generation is %w", gen.spec.Name, err)
	}
	spec := gen.spec
	spec.Config, spec.Secrets, spec.Log, spec.Metric, spec.Fixed = v.Config, v.Secrets, v.Log, v.Metric, v.Fixed
	other := &Generation{
		host: gen.host, of: gen, spec: spec, compiled: gen.compiled, funcs: gen.funcs,
		digest: gen.digest, size: gen.size, limit: gen.limit, loadTime: gen.loadTime,
		gate: newGate(), redact: newRedactor(spec.Secrets),
	}
	other.mu.metrics = map[string]int{}
	if err := gen.host.register(other); err != nil {
		gen.done()
		return nil, fmt.Errorf("make a variant of plugin %q: %w", gen.spec.Name, err)
	}
	return other, nil
}
