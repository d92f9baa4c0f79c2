package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/wasmill/wasmill/runtime/plan"
)

// change is the work that one Apply has to do.
type change struct {
	next    *plan.Plan // with the server and admin endpoint that are in effect
	plugins map[string]*plugin
	fresh   []*plugin // added, with their first generation
	reload  []version // new generations of plugins that exist
	limits  []plan.Plugin
	topics  []plan.Topic
	modules map[string]string // by plugin: the digest that its file must have; nil = any

	add     []*plan.Pipeline
	restart []*plan.Pipeline
	remove  []string
}

// Apply makes next what runs, and returns the differences. What does not load
// or cannot be made changes nothing (invariant A8). Then: topics are made and
// changed in place, never deleted; plugins get a new generation beside the old
// when anything but their limits in flight has changed; pipelines that were
// removed or changed are drained, changed and new ones started; all others
// run on. Changes of the server and the admin endpoint are marked Restart and
// wait for the next start, but for tokens, which are set by Deps.Access.
func (e *Engine) Apply(ctx context.Context, next *plan.Plan) ([]plan.Change, error) {
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	now := e.plan()
	if now == nil {
		return nil, errors.New("apply: the engine is not open")
	}
	changes := plan.Diff(now, next)
	if len(changes) == 0 { // but what a secret refers to may be another one by now
		set, err := e.access(next)
		if err == nil {
			set()
		}
		return nil, err
	}
	return changes, e.applyChange(ctx, now, e.compare(now, next))
}

// applyChange does what Apply promises. The caller holds the operations lock.
func (e *Engine) applyChange(ctx context.Context, now *plan.Plan, c *change) error {
	set, err := e.access(c.next)
	if err != nil {
		return fmt.Errorf("apply: nothing was changed: %w", err)
	}
	if err := e.prepareChange(ctx, c); err != nil {
		return fmt.Errorf("apply: nothing was changed: %w", err)
	}
	if err := e.switchTopics(ctx, now, c); err != nil {
		e.abandon(c, 0)
		return fmt.Errorf("apply: nothing was changed: %w", err)
	}
	done, err := e.switchPlugins(ctx, c)
	if err != nil {
		e.restoreTopics(ctx, now, c.topics)
		return fmt.Errorf("apply: nothing was changed: %w", err)
	}
	// Nothing below can fail on account of the new plan.
	set()
	for _, s := range done {
		e.keep(s)
		e.deps.Listener.Reload("plugin", s.plugin.name, s.module.Digest(), "ok", nil)
	}
	for _, spec := range c.limits {
		c.plugins[spec.Name].setLimits(spec)
	}
	return e.switchPipelines(c)
}

// access is Deps.Access, which may be missing.
func (e *Engine) access(next *plan.Plan) (set func(), err error) {
	if e.deps.Access == nil {
		return func() {}, nil
	}
	return e.deps.Access(next)
}

// compare finds out what has to be done; it changes nothing.
func (e *Engine) compare(now, next *plan.Plan) *change {
	c := &change{next: next.WithProcessOf(now), plugins: map[string]*plugin{}}
	for _, t := range next.Topics {
		if old := now.Topic(t.Name); old == nil || !reflect.DeepEqual(*old, t) {
			c.topics = append(c.topics, t)
		}
	}
	for _, spec := range next.Plugins {
		p, _ := e.plugin(spec.Name)
		old := now.Plugin(spec.Name)
		switch {
		case p == nil:
			c.fresh = append(c.fresh, newPlugin(spec))
			p = c.fresh[len(c.fresh)-1]
		case needsGeneration(*old, spec):
			c.reload = append(c.reload, version{plugin: p, origin: originConfig})
		}
		if old != nil && !reflect.DeepEqual(old.Limits, spec.Limits) {
			c.limits = append(c.limits, spec)
		}
		c.plugins[spec.Name] = p
	}
	for i := range next.Pipelines {
		spec := &next.Pipelines[i]
		switch old := now.Pipeline(spec.Name); {
		case old == nil:
			c.add = append(c.add, spec)
		case !reflect.DeepEqual(*old, *spec) || outputSubjectsDiffer(now, next, spec):
			c.restart = append(c.restart, spec)
		}
	}
	for i := range now.Pipelines {
		if name := now.Pipelines[i].Name; next.Pipeline(name) == nil {
			c.remove = append(c.remove, name)
		}
	}
	return c
}

// outputSubjectsDiffer says whether an output topic takes other subjects now,
// which the pipeline checks its outputs against.
func outputSubjectsDiffer(now, next *plan.Plan, spec *plan.Pipeline) bool {
	return slices.ContainsFunc(spec.Outputs, func(o plan.Output) bool {
		a, b := now.Topic(o.Topic), next.Topic(o.Topic)
		return a != nil && b != nil && !slices.Equal(a.Subjects, b.Subjects)
	})
}

// prepareChange loads every new version and opens every instance that the
// change needs, beside what runs. On an error nothing of it is left.
func (e *Engine) prepareChange(ctx context.Context, c *change) error {
	specs := make([]plan.Plugin, 0, len(c.fresh)+len(c.reload))
	for _, p := range c.fresh {
		specs = append(specs, *c.next.Plugin(p.name))
	}
	for _, v := range c.reload {
		specs = append(specs, *c.next.Plugin(v.plugin.name))
	}
	modules, err := e.loadAll(ctx, c.next, specs, originConfig)
	beside := map[string]*loaded{}
	for i, m := range modules {
		if m == nil {
			continue
		}
		beside[specs[i].Name] = m
		if i < len(c.fresh) {
			e.recall(ctx, c.fresh[i], c.next)
			c.fresh[i].install(m, nil, originConfig, "")
		} else {
			v := &c.reload[i-len(c.fresh)]
			*v = e.onProbation(v.plugin, m, v.origin)
		}
	}
	if err == nil {
		err = c.checkModules(beside)
	}
	if err == nil {
		err = e.prepare(ctx, usesOf(c), func(name string) *loaded {
			if m := beside[name]; m != nil {
				return m
			}
			return current(c.plugins)(name)
		})
	}
	if err == nil {
		err = e.proveIdle(ctx, c.next, func(name string) *loaded { return beside[name] })
	}
	if err != nil {
		e.abandon(c, 0)
	}
	return err
}

// checkModules says which of the modules that were read are others than those
// that were planned.
func (c *change) checkModules(read map[string]*loaded) error {
	var moved []string
	for name, m := range read {
		if want, ok := c.modules[name]; ok && want != m.Digest() {
			moved = append(moved, "the module of plugin "+name+" has changed")
		}
	}
	if len(moved) == 0 {
		return nil
	}
	slices.Sort(moved)
	return &MovedError{Moved: moved}
}

// usesOf lists the stages whose instances a change needs from the start: those
// of new and changed pipelines. switchTo prepares those of the others.
func usesOf(c *change) []use {
	var uses []use
	for _, spec := range slices.Concat(c.add, c.restart) {
		uses = append(uses, stagesOf(spec, "")...)
	}
	return uses
}

// abandon frees what prepareChange has loaded, but for the first taken of the
// new versions, which are somebody else's by now.
func (e *Engine) abandon(c *change, taken int) {
	starting := map[string]bool{}
	for _, spec := range slices.Concat(c.add, c.restart) {
		starting[spec.Name] = true
	}
	e.pool.drop(func(at place, _ *instance) bool { return starting[at.pipeline] })
	for _, p := range c.fresh {
		p.retire()
	}
	for _, v := range c.reload[taken:] {
		if v.module != nil {
			e.letGo(v)
		}
	}
}

// switchTopics makes and changes topics; on an error those it had changed are
// as before. A new topic that was made stays: a topic is never deleted.
func (e *Engine) switchTopics(ctx context.Context, now *plan.Plan, c *change) error {
	for i := range c.topics {
		removed, text := e.removal(ctx, now, &c.topics[i])
		if err := e.topics.EnsureTopic(ctx, topicConfig(&c.topics[i])); err != nil {
			e.restoreTopics(ctx, now, c.topics[:i])
			return err
		}
		if removed != nil {
			e.log.Warn("a topic has smaller limits", "topic", c.topics[i].Name, "removal", text)
		}
	}
	return nil
}

func (e *Engine) restoreTopics(ctx context.Context, now *plan.Plan, topics []plan.Topic) {
	for i := range topics {
		old := now.Topic(topics[i].Name)
		if old == nil {
			continue
		}
		if err := e.topics.EnsureTopic(context.WithoutCancel(ctx), topicConfig(old)); err != nil {
			e.log.Error("a topic cannot be changed back", "topic", old.Name, "error", err)
		}
	}
}

// switchPlugins brings the new versions into the pipelines that run on. When
// one cannot be, all are as before.
func (e *Engine) switchPlugins(ctx context.Context, c *change) ([]switched, error) {
	var done []switched
	for i, v := range c.reload {
		s, err := e.switchTo(ctx, v, e.users(v.plugin.name, c.stops))
		if err != nil {
			for _, s := range slices.Backward(done) {
				e.undo(ctx, s, fmt.Errorf("the configuration it came with was refused: %w", err))
			}
			e.refused(v.module.spec, v.module.Digest(), v.module.size, originConfig, err)
			e.abandon(c, i+1)
			return nil, err
		}
		done = append(done, s)
	}
	return done, nil
}

// stops says whether a pipeline of the plan in effect ends or starts anew.
func (c *change) stops(name string) bool {
	return slices.Contains(c.remove, name) || slices.ContainsFunc(c.restart, func(s *plan.Pipeline) bool { return s.Name == name })
}

// switchPipelines drains what was removed or changed, all at once, and starts
// what is new or changed.
func (e *Engine) switchPipelines(c *change) error {
	stopped := map[string]*supervisor{}
	var wg sync.WaitGroup
	for _, s := range e.supervisors() {
		if c.stops(s.name) {
			stopped[s.name] = s
			// Without a limit: the drain has one of its own, and a pipeline must
			// never run twice.
			wg.Go(func() { _ = s.stop(context.Background()) })
		}
	}
	wg.Wait()
	e.mu.Lock()
	for _, name := range c.remove {
		delete(e.mu.pipelines, name)
	}
	var gone []*plugin
	for name, p := range e.mu.plugins {
		if c.plugins[name] == nil {
			gone = append(gone, p)
		}
	}
	e.mu.plugins, e.mu.plan = c.plugins, c.next
	e.mu.Unlock()
	setUsers(c.next, c.plugins)
	for _, name := range c.remove {
		e.throttle.Forget(name)
	}
	// A pipeline that never started, for want of the lease, has not taken its instances.
	wanted := map[place]bool{}
	for _, u := range usesOf(c) {
		for partition := range partitions(u.pipeline) {
			wanted[placeOf(instanceSpec(u.pipeline, u.stage, partition), u.stage)] = true
		}
	}
	e.pool.drop(func(at place, _ *instance) bool { return c.stops(at.pipeline) && !wanted[at] })
	for _, p := range gone {
		p.retire()
	}
	var errs []error
	for _, spec := range slices.Concat(c.restart, c.add) {
		if err := e.startPipeline(c.next, spec, stopped[spec.Name]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
