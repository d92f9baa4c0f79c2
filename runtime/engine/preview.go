package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Preview is what ApplyIf would do with a plan, and what that rests on.
type Preview struct {
	Changes  []status.Change
	Warnings []string // where what runs is not what the plan in effect says
	Hash     string   // of what runs and what is wanted

	// Diff is the difference of the configurations alone, without the modules.
	Diff []plan.Change

	running, wanted parts
	load            []plan.Plugin // what would be loaded or opened
}

// MovedError says that what a plan was made of is not so any more. Nothing was
// changed.
type MovedError struct {
	Hash  string   // of the plan
	Moved []string // what is other now, in words
}

func (e *MovedError) Error() string {
	plan := "the plan"
	if e.Hash != "" {
		plan += " " + e.Hash
	}
	return fmt.Sprintf("nothing was changed: since %s was made %s: look at a new one with \"wasmill plan\"", plan, strings.Join(e.Moved, "; "))
}

// ErrBadHash says that what was given is not the hash of a plan.
var ErrBadHash = errors.New("this is not the hash of a plan")

// Preview says what ApplyIf would do with next. It changes nothing and loads
// nothing: CheckPreview does.
func (e *Engine) Preview(ctx context.Context, next *plan.Plan) (Preview, error) {
	modules := e.moduleDigests(next)
	if err := e.lock(ctx); err != nil {
		return Preview{}, err
	}
	defer func() { <-e.ops }()
	now := e.plan()
	if now == nil {
		return Preview{}, errors.New("plan: the engine is not open")
	}
	p := e.preview(ctx, now, next, modules)
	e.previews.keep(p)
	return p, nil
}

// CheckPreview loads what ApplyIf would load, and opens it as that would,
// beside what runs and without a trace. err joins everything refused, warning
// what is refused to nobody's harm, see Check.
func (e *Engine) CheckPreview(ctx context.Context, next *plan.Plan, p Preview) (warning, err error) {
	_, accessErr := e.access(next)
	warning, err = check(ctx, e.loader, e.deps.Builtins, next, p.load)
	return warning, errors.Join(accessErr, err)
}

// ApplyIf is Apply for a plan and the modules as they are now: plugins whose
// files have changed are reloaded with it, and all of it is done or nothing. It
// asks agreed, unless that is nil, between looking and changing, when no other
// change can come in between; its error is returned as it is.
func (e *Engine) ApplyIf(ctx context.Context, next *plan.Plan, agreed func(Preview) error) (Preview, error) {
	modules := e.moduleDigests(next)
	if err := e.lock(ctx); err != nil {
		return Preview{}, err
	}
	defer e.unlock()
	now := e.plan()
	if now == nil {
		return Preview{}, errors.New("apply: the engine is not open")
	}
	p := e.preview(ctx, now, next, modules)
	if agreed != nil {
		if err := agreed(p); err != nil {
			return p, err
		}
	}
	if len(p.Changes) == 0 { // but what a secret refers to may be another one by now
		set, err := e.access(next)
		if err == nil {
			set()
		}
		return p, err
	}
	c := e.compare(now, next)
	c.modules = modules
	for _, name := range e.changedModules(c, modules) {
		pl := c.plugins[name]
		pl.wants(modules[name]) // what was rolled back before is history: the file is another
		c.reload = append(c.reload, version{plugin: pl, origin: originFile})
	}
	return p, e.applyChange(ctx, now, c)
}

// Agree refuses, with a *MovedError that says what has moved, when hash is not
// that of the preview. ErrBadHash.
func (e *Engine) Agree(p Preview, hash string) error {
	running, wanted, ok := strings.Cut(hash, "-")
	if !ok || len(running) != partsSize || len(wanted) != partsSize {
		return fmt.Errorf("%q: %w: \"wasmill plan\" prints one", hash, ErrBadHash)
	}
	if hash == p.Hash {
		return nil
	}
	moved := &MovedError{Hash: hash}
	before := e.previews.find(hash)
	for _, side := range []struct {
		what, sum string
		now       parts
		before    parts
	}{
		{"what runs", running, p.running, before.running},
		{"what the files say", wanted, p.wanted, before.wanted},
	} {
		if side.sum == side.now.sum() {
			continue
		}
		text := side.what + " has changed"
		if names := side.now.differing(side.before); side.before != nil && len(names) > 0 {
			text += " (" + strings.Join(names, ", ") + ")"
		}
		moved.Moved = append(moved.Moved, text)
	}
	if len(p.Changes) == 0 {
		moved.Moved = append(moved.Moved, "what the files say runs already")
	}
	return moved
}

// moduleDigests reads the modules of a plan; those that cannot be read have "".
func (e *Engine) moduleDigests(p *plan.Plan) map[string]string {
	out := map[string]string{}
	for _, spec := range p.Plugins {
		if spec.Path == "" {
			continue
		}
		b, err := readModule(nil, spec)
		if err != nil {
			out[spec.Name] = ""
			continue
		}
		out[spec.Name] = digestOf(b)
	}
	return out
}

// changedModules lists the plugins that need a new generation for nothing but
// their module, by name.
func (e *Engine) changedModules(c *change, modules map[string]string) []string {
	var names []string
	for name, p := range c.plugins {
		fresh := slices.Contains(c.fresh, p) || slices.ContainsFunc(c.reload, func(v version) bool { return v.plugin == p })
		if digest := modules[name]; !fresh && digest != "" && p.takes(digest) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// takes says what wants would, and leaves everything as it is.
func (p *plugin) takes(digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return digest != p.mu.barred && digest != p.mu.current.Digest
}

// preview finds out what has to be done; it changes nothing.
func (e *Engine) preview(ctx context.Context, now, next *plan.Plan, modules map[string]string) Preview {
	c := e.compare(now, next)
	p := Preview{Diff: plan.Diff(now, next), Changes: []status.Change{}}
	p.running, p.wanted = e.runningParts(now), wantedParts(next, modules)
	p.Hash = p.running.sum() + "-" + p.wanted.sum()

	names := e.changedModules(c, modules)
	for _, d := range p.Diff {
		one := status.Change{Op: d.Op, What: d.What, Name: d.Name, Fields: []status.Field{}}
		one.Effect, one.Detail = c.effect(next, d)
		for _, v := range plan.Values(now, next, d) {
			one.Fields = append(one.Fields, status.Field{Key: v.Key, Before: v.Before, After: v.After})
		}
		if t := next.Topic(d.Name); d.What == "topic" && t != nil {
			var text string
			if one.Removes, text = e.removal(ctx, now, t); text != "" {
				one.Detail += "; " + text
			}
		}
		if d.What == "plugin" {
			module := e.moduleField(d.Name, modules)
			if i := slices.Index(names, d.Name); i >= 0 { // with limits that change in place
				names = slices.Delete(names, i, i+1)
				one.Effect, one.Detail = status.EffectGeneration, switches(next, d.Name)
			}
			if one.Effect == status.EffectGeneration && module != nil {
				one.Fields = append(one.Fields, *module)
			}
		}
		p.Changes = append(p.Changes, one)
	}
	for _, name := range names {
		p.Changes = append(p.Changes, status.Change{
			Op: status.OpChange, What: "plugin", Name: name, Effect: status.EffectGeneration, Detail: switches(next, name),
			Fields: []status.Field{*e.moduleField(name, modules)},
		})
	}
	for _, spec := range c.restart {
		listed := slices.ContainsFunc(p.Diff, func(d plan.Change) bool { return d.What == "pipeline" && d.Name == spec.Name })
		if !listed {
			p.Changes = append(p.Changes, status.Change{
				Op: status.OpChange, What: "pipeline", Name: spec.Name, Effect: status.EffectPipeline,
				Detail: "drained and started again: the subjects of its output topic change", Fields: []status.Field{},
			})
		}
	}
	order := []string{"server", "admin", "tracing", "topic", "plugin", "pipeline"}
	slices.SortStableFunc(p.Changes, func(a, b status.Change) int {
		if n := slices.Index(order, a.What) - slices.Index(order, b.What); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	p.load = loads(c, p.Changes)
	p.Warnings = e.rolledBack(c, modules)
	return p
}

// effect says how one difference comes into effect.
func (c *change) effect(next *plan.Plan, d plan.Change) (effect, detail string) {
	switch {
	case d.Restart:
		return status.EffectProcess, "when the process starts again"
	case d.What == "server" || d.What == "admin":
		return status.EffectInPlace, "at once"
	case d.What == "topic" && d.Op == plan.Add:
		return status.EffectInPlace, "made"
	case d.What == "topic" && d.Op == plan.Remove:
		return status.EffectInPlace, "no longer known; its events stay stored"
	case d.What == "topic":
		return status.EffectInPlace, "changed in place"
	case d.What == "plugin" && d.Op == plan.Add:
		return status.EffectGeneration, "loaded"
	case d.What == "plugin" && d.Op == plan.Remove:
		return status.EffectInPlace, "closed"
	case d.What == "plugin" && slices.ContainsFunc(c.reload, func(v version) bool { return v.plugin.name == d.Name }):
		return status.EffectGeneration, switches(next, d.Name)
	case d.What == "plugin":
		return status.EffectInPlace, "changed in place"
	case d.Op == plan.Add:
		return status.EffectInPlace, "started"
	case d.Op == plan.Remove:
		return status.EffectInPlace, "drained and stopped; its position is kept"
	}
	return status.EffectPipeline, "drained and started again"
}

// switches says who takes a new generation of a plugin.
func switches(p *plan.Plan, plugin string) string {
	var names []string
	for i := range p.Pipelines {
		if slices.Contains(p.Pipelines[i].Stages, plugin) {
			names = append(names, p.Pipelines[i].Name)
		}
	}
	if len(names) == 0 {
		return "a new generation, which no pipeline uses"
	}
	return "a new generation; between two batches in " + strings.Join(names, ", ")
}

// moduleField is the module of a plugin that runs, and as its file is now; nil
// when it is the same, or not a file.
func (e *Engine) moduleField(name string, modules map[string]string) *status.Field {
	p, err := e.plugin(name)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	digest := p.mu.current.Digest
	p.mu.Unlock()
	if after := modules[name]; after != "" && after != digest {
		return &status.Field{Key: "module", Before: digest, After: after}
	}
	return nil
}

// loads lists the plugins whose modules a change loads or opens anew.
func loads(c *change, changes []status.Change) []plan.Plugin {
	var out []plan.Plugin
	for _, spec := range c.next.Plugins {
		loaded := slices.ContainsFunc(changes, func(ch status.Change) bool {
			return ch.What == "plugin" && ch.Name == spec.Name && ch.Effect == status.EffectGeneration
		})
		opened := slices.ContainsFunc(slices.Concat(c.add, c.restart), func(s *plan.Pipeline) bool { return slices.Contains(s.Stages, spec.Name) })
		if loaded || opened {
			out = append(out, spec)
		}
	}
	return out
}

// rolledBack says which plugins stay as they are although their file or
// configuration is another: what was rolled back is not taken as it is.
func (e *Engine) rolledBack(c *change, modules map[string]string) []string {
	var out []string
	for _, p := range e.pluginList() {
		if c.plugins[p.name] != p || slices.ContainsFunc(c.reload, func(v version) bool { return v.plugin == p }) {
			continue
		}
		p.mu.Lock()
		number, digest := p.mu.current.Number, p.mu.current.Digest
		other := needsGeneration(p.mu.current.spec, p.mu.spec) || p.mu.barred != "" && p.mu.barred == modules[p.name] && digest != p.mu.barred
		p.mu.Unlock()
		if other {
			out = append(out, fmt.Sprintf("plugin %q runs generation %d since a rollback; what its file and configuration say was rolled back, and is not taken before one of them changes or Wasmill starts again", p.name, number))
		}
	}
	return out
}

// previews are the last ones that were handed out, so that ApplyIf can say what
// has moved since.
type previews struct {
	mu   sync.Mutex
	last []Preview // newest first
}

// rememberedPreviews bounds them.
const rememberedPreviews = 8

func (r *previews) keep(p Preview) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = slices.DeleteFunc(r.last, func(o Preview) bool { return o.Hash == p.Hash })
	r.last = slices.Insert(r.last, 0, Preview{Hash: p.Hash, running: p.running, wanted: p.wanted})
	r.last = r.last[:min(len(r.last), rememberedPreviews)]
}

// find returns the preview with a hash, or a zero one.
func (r *previews) find(hash string) Preview {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.last, func(p Preview) bool { return p.Hash == hash }); i >= 0 {
		return r.last[i]
	}
	return Preview{}
}
