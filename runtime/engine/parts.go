package engine

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/plan"
)

// parts is what a state is made of: the digest of each part, by a name that a
// person understands. Two states with the same parts are the same.
type parts map[string]string

// partsSize is the length of a sum, in hex digits.
const partsSize = 16

// sum is a digest over all parts.
func (p parts) sum() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		b.WriteString(name + "\x00" + p[name] + "\n")
	}
	return digestOf([]byte(b.String()))[:partsSize]
}

// differing names what is other in o, sorted.
func (p parts) differing(o parts) []string {
	var names []string
	for name := range p {
		if p[name] != o[name] {
			names = append(names, name)
		}
	}
	for name := range o {
		if _, ok := p[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p parts) add(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(err.Error()) // a plan can always be written: its hash is over the same
	}
	p[name] = digestOf(b)
}

// planParts are those of a plan. Of secrets the references count.
func planParts(p *plan.Plan) parts {
	out := parts{}
	out.add("server", p.Server)
	out.add("admin", p.Admin)
	out.add("tracing", p.Tracing)
	for i := range p.Topics {
		out.add("topic "+p.Topics[i].Name, p.Topics[i])
	}
	for i := range p.Plugins {
		out.add("plugin "+p.Plugins[i].Name, p.Plugins[i])
	}
	for i := range p.Pipelines {
		out.add("pipeline "+p.Pipelines[i].Name, p.Pipelines[i])
	}
	return out
}

func wantedParts(p *plan.Plan, modules map[string]string) parts {
	out := planParts(p)
	for name, digest := range modules {
		out["module of plugin "+name] = digest
	}
	return out
}

// runningParts are the plan in effect and the generations in use.
func (e *Engine) runningParts(now *plan.Plan) parts {
	out := planParts(now)
	for _, p := range e.pluginList() {
		p.mu.Lock()
		digest, spec, barred := p.mu.current.Digest, p.mu.current.spec, p.mu.barred
		p.mu.Unlock()
		out.add("generation of plugin "+p.name, []any{digest, spec, barred})
	}
	return out
}
