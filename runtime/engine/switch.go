package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/status"
)

// version is a version of a plugin on its way into the pipelines.
type version struct {
	plugin *plugin
	module *loaded // holds the caller's reference, which passes on
	trial  *trial  // nil for one that is known to work
	origin string
	reason string
}

// onProbation makes the version one that can be rolled back by itself.
func (e *Engine) onProbation(p *plugin, m *loaded, origin string) version {
	p.mu.Lock()
	old, number, t := p.mu.module, p.mu.current.Number, p.mu.trial
	p.mu.Unlock()
	if t != nil && t.old.retainIfHeld() {
		// What it replaces is not proven itself: the way back leads past it.
		defer t.old.release()
		old, number = t.old, t.record.number
	}
	return version{plugin: p, module: m, trial: newTrial(old, number, e.deps.Probation), origin: origin}
}

// switched is a version that the pipelines have taken; keep or undo ends it.
type switched struct {
	version
	old   replaced
	users []*supervisor
}

// switchTo makes v the current generation of its plugin in the given
// pipelines, between two batches of each partition. All instances are opened
// before the first pipeline is touched; when one pipeline does not take v, all
// go back (invariant A5) and v is let go. A pipeline that does not run now
// takes v at its next start.
func (e *Engine) switchTo(ctx context.Context, v version, users []*supervisor) (switched, error) {
	s := switched{version: v, users: users}
	var uses []use
	for _, u := range users {
		uses = append(uses, stagesOf(&u.spec, v.plugin.name)...)
	}
	err := e.prepare(ctx, uses, func(string) *loaded { return v.module })
	if err == nil && len(uses) == 0 {
		err = prove(ctx, v.module)
	}
	if err != nil {
		e.letGo(v)
		return s, err
	}
	// From here on a pipeline that starts takes v by itself. One whose run is at
	// hand now may have the old generation and is swapped.
	s.old = v.plugin.install(v.module, v.trial, v.origin, v.reason)
	for _, u := range users {
		if err := e.swap(ctx, u, v.plugin.name, v.module, v.trial); err != nil {
			e.undo(ctx, s, err)
			return s, err
		}
	}
	return s, nil
}

// letGo frees a version that is not used.
func (e *Engine) letGo(v version) {
	e.pool.drop(func(_ place, i *instance) bool { return i.of == v.module })
	if v.trial != nil {
		v.trial.settle()
	}
	v.module.release()
}

// keep ends a switch for good: what it replaced retires.
func (e *Engine) keep(s switched) {
	before := s.plugin.digests()
	if t := s.old.trial; t != nil {
		if t.lost() && s.origin != originRollback {
			s.plugin.retract(t.generation, t.reason())
		}
		t.settle()
	}
	e.pool.drop(func(_ place, i *instance) bool { return i.of == s.old.module })
	s.old.module.release()
	e.archive.prune(before, e.neededDigests())
	if t := s.trial; t != nil {
		e.crew.start(func(ctx context.Context) { e.watch(ctx, s.plugin, t) })
	}
}

// undo takes every pipeline back to what it ran before.
func (e *Engine) undo(ctx context.Context, s switched, because error) {
	s.plugin.restore(s.old, because.Error())
	ctx = context.WithoutCancel(ctx) // the way back is not given up half-way
	for _, u := range s.users {
		if err := e.swap(ctx, u, s.plugin.name, s.old.module, s.old.trial); err != nil {
			e.log.Error("a pipeline starts again to go back to the plugin's old generation", "pipeline", u.name, "plugin", s.plugin.name, "error", err)
			u.restart()
		}
	}
	e.letGo(s.version)
}

// swap makes one pipeline use a module in every stage of a plugin. A pipeline
// without a run at hand is told to try again: something has changed.
func (e *Engine) swap(ctx context.Context, u *supervisor, plugin string, l *loaded, t *trial) error {
	ctx, cancel := context.WithTimeout(ctx, swapTimeout)
	defer cancel()
	a := u.current()
	if a == nil {
		u.retry()
		return nil
	}
	select {
	case <-a.Ready():
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pipeline %q: wait for it to start: %w", u.name, ctx.Err())
	}
	for _, use := range stagesOf(&u.spec, plugin) {
		var refused error // by the module, as opposed to the pipeline
		err := a.Swap(ctx, use.stage, func(partition int) (pipeline.Processor, error) {
			proc, err := e.instance(ctx, &u.spec, use.stage, partition, l, t)
			if err != nil {
				refused = err
			}
			return proc, err
		})
		switch {
		case err == nil:
		case refused != nil:
			return err
		case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
			e.log.Warn("a pipeline is still inside a call and takes the plugin's new generation after it", "pipeline", u.name, "plugin", plugin)
		case ctx.Err() != nil:
			return err
		default:
			// It is ending. The next run takes the current generation.
			select {
			case <-a.ended:
				return nil
			case <-ctx.Done():
				return err
			}
		}
	}
	return nil
}

// users lists the pipelines that run a plugin, but for those that skip names.
func (e *Engine) users(plugin string, skip func(pipeline string) bool) []*supervisor {
	return slices.DeleteFunc(e.supervisors(), func(s *supervisor) bool {
		return !slices.Contains(s.spec.Stages, plugin) || (skip != nil && skip(s.name))
	})
}

// neededDigests lists the versions that some plugin can go back to.
func (e *Engine) neededDigests() []string {
	var out []string
	for _, p := range e.pluginList() {
		out = append(out, p.digests()...)
	}
	return out
}

// ReloadPlugin takes the plugin's file as it is now: when its digest is new it
// is loaded beside the generation in use, and every pipeline switches to it
// between two batches. A file that cannot be loaded or opened is refused: that
// is reported, and the old generation stays (invariant A5). A version that was
// rolled back is not taken again until the file has changed to another.
// ErrNotFound: there is no such plugin.
func (e *Engine) ReloadPlugin(ctx context.Context, name string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	p, err := e.plugin(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	spec := p.mu.spec
	p.mu.Unlock()
	b, err := readModule(e.deps.Builtins, spec)
	if err != nil {
		e.deps.Listener.Reload("plugin", name, "", "failed", err)
		return err
	}
	digest := digestOf(b)
	if !p.wants(digest) {
		return nil
	}
	m, err := e.load(ctx, spec, e.plan().Dir, b)
	if err == nil {
		var s switched
		if s, err = e.switchTo(ctx, e.onProbation(p, m, originFile), e.users(name, nil)); err == nil {
			e.keep(s)
			e.deps.Listener.Reload("plugin", name, digest, "ok", nil)
			e.log.Info("plugin reloaded", "plugin", name, "digest", digest)
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("reload plugin %q: %w", name, err)
	}
	e.refused(spec, digest, len(b), originFile, err)
	return err
}

// wants says whether a file with that digest is to be loaded.
func (p *plugin) wants(digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if digest == p.mu.barred {
		return false
	}
	p.mu.barred = "" // the file has changed
	return digest != p.mu.current.Digest
}

// ReasonOperator is why a generation was rolled back that an operator did not want.
const ReasonOperator = "rolled back by an operator"

// Rollback goes back to the plugin's generation before the one in use, also
// when its file has changed since. What is rolled back is not loaded again
// until the file changes to another version. ErrNotFound, ErrNoPrevious.
func (e *Engine) Rollback(ctx context.Context, name string) (status.Generation, error) {
	if err := e.lock(ctx); err != nil {
		return status.Generation{}, err
	}
	defer e.unlock()
	p, err := e.plugin(name)
	if err != nil {
		return status.Generation{}, err
	}
	target, ok := p.previous(e.reachable)
	if !ok {
		return status.Generation{}, fmt.Errorf("roll back plugin %q: %w", name, ErrNoPrevious)
	}
	var b []byte
	spec := target.spec
	if spec.Builtin != "" {
		b, err = readModule(e.deps.Builtins, spec)
	} else if b, err = e.archive.load(target.Digest); err == nil {
		spec.SHA256 = target.Digest // a copy that was tampered with is refused
	}
	var m *loaded
	if err == nil {
		m, err = e.load(ctx, spec, e.plan().Dir, b)
	}
	if err == nil {
		m.spec = target.spec
		err = e.goBack(ctx, p, m, ReasonOperator)
	}
	if err != nil {
		return status.Generation{}, fmt.Errorf("roll back plugin %q to generation %d: %w", name, target.Number, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.mu.current.describe(p.mu.trial)
	g.Memory = p.mu.module.Memory()
	return g, nil
}

// goBack makes m, which is known to work, the current generation, and marks
// what it replaces as rolled back.
func (e *Engine) goBack(ctx context.Context, p *plugin, m *loaded, reason string) error {
	s, err := e.switchTo(ctx, version{plugin: p, module: m, origin: originRollback, reason: "back from a generation that was " + reason}, e.users(p.name, nil))
	if err != nil {
		return err
	}
	p.retract(s.old.generation, reason)
	e.keep(s)
	e.deps.Listener.Reload("plugin", p.name, s.old.generation.Digest, "rolled_back", errors.New(reason))
	e.log.Warn("plugin rolled back", "plugin", p.name, "from", s.old.generation.Digest, "to", m.Digest(), "reason", reason)
	return nil
}

// watch ends a trial: with a rollback at the last strike, else when the window
// has passed or another generation has come.
//
// A quiet process collects garbage only every two minutes, and wazero unmaps
// the code of a closed module when the collector finds it: what compiling took,
// and later what the old generation held, is given back at once.
func (e *Engine) watch(ctx context.Context, p *plugin, t *trial) {
	debug.FreeOSMemory()
	if !t.wait(ctx) {
		return
	}
	defer debug.FreeOSMemory()
	if err := e.lock(ctx); err != nil {
		return
	}
	defer e.unlock()
	p.mu.Lock()
	ours := p.mu.trial == t
	if ours && !t.lost() {
		p.mu.trial = nil
	}
	p.mu.Unlock()
	switch {
	case !ours:
	case !t.lost():
		t.record.prove()
		t.settle()
		p.changed()
	default:
		t.old.retain()
		if err := e.goBack(ctx, p, t.old, t.reason()); err != nil && ctx.Err() == nil {
			e.log.Error("plugin cannot be rolled back", "plugin", p.name, "error", err)
		}
	}
}
