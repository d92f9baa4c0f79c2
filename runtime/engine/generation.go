package engine

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Origins of a generation.
const (
	originStart    = "start"
	originFile     = "file"
	originConfig   = "config"
	originRollback = "rollback"
)

// States of a generation.
const (
	stateActive     = "active"
	stateRetired    = "retired"
	stateRefused    = "refused"
	stateRolledBack = "rolled back"
)

// historySize is how many generations a plugin remembers.
const historySize = 20

// generation is one numbered version of a plugin. Guarded by plugin.mu.
type generation struct {
	status.Generation
	spec   plan.Plugin  // what it was loaded for; the way back to it
	record *trialRecord // of its trial; nil when it had none

	recalled bool // from before this process
}

// describe is what there is to say of the generation. now is the trial of the
// plugin's current generation, or nil.
func (g *generation) describe(now *trial) status.Generation {
	s := g.Generation
	s.OnTrial = now != nil && now.generation == g
	if g.record != nil {
		s.WayBack = g.record.number
		g.record.mu.Lock()
		s.Rescued, s.LastFault, s.LastFaultAt = g.record.mu.rescued, g.record.mu.fault, g.record.mu.at
		g.record.mu.Unlock()
	}
	return s
}

// plugin is one plugin of the plan and its generations. What changes the
// current generation holds the engine's operations lock as well as mu; mu
// alone is enough to read.
type plugin struct {
	name   string
	budget *pipeline.Budget

	mu struct {
		sync.Mutex
		spec    plan.Plugin // as the plan has it
		current *generation
		module  *loaded       // of current; the plugin holds a reference
		trial   *trial        // of current; nil once it is settled
		history []*generation // newest first
		numbers int           // of generations so far
		dirty   bool          // the history has changed since it was stored
		barred  string        // digest that was rolled back: its file is not loaded again as it is
	}
}

func newPlugin(spec plan.Plugin) *plugin {
	p := &plugin{
		name:   spec.Name,
		budget: pipeline.NewBudget(spec.Limits.MaxInFlight, spec.Limits.MaxInFlightBytes, spec.Limits.Rate),
	}
	p.mu.spec = spec
	return p
}

// setLimits changes in place what needs no new generation.
func (p *plugin) setLimits(spec plan.Plugin) {
	p.budget.SetLimits(spec.Limits.MaxInFlight, spec.Limits.MaxInFlightBytes, spec.Limits.Rate)
	p.mu.Lock()
	p.mu.spec.Limits = spec.Limits
	p.mu.Unlock()
}

// hold returns the module to make instances of, with a reference that the
// caller releases, and the trial it is under, if any.
func (p *plugin) hold() (*loaded, *trial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.module.retain()
	return p.mu.module, p.mu.trial
}

// install makes m the current generation and t its trial (nil: none). It takes
// over the caller's reference to m and returns what it replaced, whose
// reference passes to the caller.
func (p *plugin) install(m *loaded, t *trial, origin, reason string) replaced {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := replaced{generation: p.mu.current, module: p.mu.module, trial: p.mu.trial, barred: p.mu.barred, spec: p.mu.spec}
	if p.mu.current != nil {
		p.mu.current.State = stateRetired
	}
	p.mu.current = p.recordLocked(m.Digest(), m.size, m.spec, origin, stateActive, reason)
	p.mu.current.Compile = m.LoadTime().Seconds()
	p.mu.current.Module, p.mu.current.Version, p.mu.current.Warnings = m.label.module, m.label.version, m.label.warnings
	p.mu.module, p.mu.trial = m, t
	if origin == originConfig {
		p.mu.spec = m.spec
	}
	if t != nil {
		t.generation, p.mu.current.record = p.mu.current, t.record
	}
	return old
}

// replaced is what install took away.
type replaced struct {
	generation *generation
	module     *loaded
	trial      *trial
	barred     string
	spec       plan.Plugin
}

// changed says that the history is to be stored again.
func (p *plugin) changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.dirty = true
}

// restore undoes an install that the pipelines did not take: the generation
// that was tried is marked as refused. The reference to its module passes back
// to the caller.
func (p *plugin) restore(old replaced, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.dirty = true
	p.mu.current.State, p.mu.current.Reason = stateRefused, reason
	p.mu.current, p.mu.module, p.mu.trial = old.generation, old.module, old.trial
	p.mu.current.State = stateActive
	p.mu.barred, p.mu.spec = old.barred, old.spec
}

// refuse records a version that could not be loaded, once however often it is tried in a row.
func (p *plugin) refuse(digest string, size int, spec plan.Plugin, origin string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.mu.history; len(h) > 0 && h[0].State == stateRefused && h[0].Digest == digest && h[0].Reason == err.Error() {
		h[0].Loaded, p.mu.dirty = time.Now(), true
		return
	}
	p.recordLocked(digest, size, spec, origin, stateRefused, err.Error())
}

func (p *plugin) recordLocked(digest string, size int, spec plan.Plugin, origin, state, reason string) *generation {
	p.mu.numbers++
	p.mu.dirty = true
	g := &generation{spec: spec}
	g.Generation = status.Generation{
		Number: p.mu.numbers, Digest: digest, Size: size, Loaded: time.Now(),
		Origin: origin, State: state, Reason: reason,
	}
	p.mu.history = slices.Insert(p.mu.history, 0, g)
	if last := len(p.mu.history) - 1; last >= historySize {
		if p.mu.history[last] == p.mu.current { // refused versions must not push it out
			last--
		}
		p.mu.history = slices.Delete(p.mu.history, last, last+1)
	}
	return g
}

// retract marks the current generation as rolled back and bars its digest.
func (p *plugin) retract(g *generation, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.dirty = true
	g.State, g.Reason = stateRolledBack, reason
	p.mu.barred = g.Digest
}

// previous returns the generation to go back to: the newest retired one that
// is not the same version as the current, was not rolled back later, did not fault
// while it was on trial, and is reachable.
func (p *plugin) previous(reachable func(*generation) bool) (generation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	passed := []*generation{p.mu.current} // versions not to go back to
	for _, g := range p.mu.history {
		faulted := g.State == stateRetired && g.record.faulted()
		switch {
		case faulted, slices.ContainsFunc(passed, g.sameAs):
		case g.State == stateRetired && reachable(g):
			return *g, true
		}
		if faulted || g.State == stateRolledBack {
			passed = append(passed, g)
		}
	}
	return generation{}, false
}

func (g *generation) sameAs(o *generation) bool {
	return g.Digest == o.Digest && !needsGeneration(g.spec, o.spec)
}

// retire lets go of everything the plugin holds, and returns whether it was on
// trial.
func (p *plugin) retire() (onTrial bool) {
	p.mu.Lock()
	t, m := p.mu.trial, p.mu.module
	p.mu.trial = nil
	p.mu.Unlock()
	if t != nil {
		t.settle()
	}
	if m != nil {
		m.release()
	}
	return t != nil
}

// needsGeneration says whether b asks for more than other limits in flight
// than a: those change in place, everything else is bound into instances.
func needsGeneration(a, b plan.Plugin) bool {
	a.Limits.MaxInFlight, a.Limits.MaxInFlightBytes, a.Limits.Rate = b.Limits.MaxInFlight, b.Limits.MaxInFlightBytes, b.Limits.Rate
	return !reflect.DeepEqual(a, b)
}
