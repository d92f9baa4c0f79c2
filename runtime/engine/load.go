package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
)

// maxModule is the largest module file that is read at all; the host has
// finer limits.
const maxModule = 128 << 20

// each calls f for 0 … n-1, as many at a time as there are processors, and
// returns every error, in order and each text once.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	})...)
}

// readModule returns the bytes of a plugin's module.
func readModule(builtins map[string]func() ([]byte, error), spec plan.Plugin) ([]byte, error) {
	if spec.Builtin != "" {
		read, ok := builtins[spec.Builtin]
		if !ok {
			names := strings.Join(slices.Sorted(maps.Keys(builtins)), ", ")
			return nil, &host.LoadError{Plugin: spec.Name, Message: fmt.Sprintf("there is no built-in plugin %q; there are: %s", spec.Builtin, names)}
		}
		b, err := read()
		if err != nil {
			return nil, &host.LoadError{Plugin: spec.Name, Message: err.Error(), Err: err}
		}
		return b, nil
	}
	refuse := func(err error, format string, args ...any) ([]byte, error) {
		return nil, &host.LoadError{Plugin: spec.Name, Path: spec.Path, Message: fmt.Sprintf(format, args...), Err: err}
	}
	info, err := os.Stat(spec.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return refuse(err, "there is no such file; `wasmill build` makes it")
	case err != nil:
		return refuse(err, "cannot be read: %v", err)
	case !info.Mode().IsRegular():
		return refuse(nil, "is not a regular file")
	}
	f, err := os.Open(spec.Path)
	if err != nil {
		return refuse(err, "cannot be read: %v", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return refuse(err, "cannot be read: %v", err)
	}
	if len(b) > maxModule {
		return refuse(nil, "is larger than %d MiB", maxModule>>20)
	}
	return b, nil
}

// inFile names the file in a refusal: the host was given the bytes only, so
// that what is loaded, kept and named by its digest are the same.
func inFile(err error, path string) error {
	var refused *host.LoadError
	if errors.As(err, &refused) && refused.Path == "" {
		refused.Path = path
	}
	return err
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// hostSpec is what the host loads. dir is where relative secret files start.
func hostSpec(spec plan.Plugin, dir string, module []byte, l event.Listener) (host.Spec, error) {
	s := host.Spec{
		Name: spec.Name, Module: module, SHA256: spec.SHA256, Grants: spec.Grants, Config: spec.Config, Builtin: spec.Builtin,
		Limits: host.Limits{
			Memory: spec.Limits.Memory, Deadline: spec.Limits.Deadline,
			MaxOutputBytes: int(spec.Limits.MaxOutputBytes), MaxOutputs: spec.Limits.MaxOutputs,
		},
		Log: func(pipeline string, partition, level int, line string) {
			l.Log(pipeline, spec.Name, partition, level, line)
		},
		Metric: func(pipeline, name string, kind int, value float64) {
			l.Metric(pipeline, spec.Name, name, kind, value)
		},
	}
	if len(spec.Secrets) > 0 {
		s.Secrets = make(map[string]string, len(spec.Secrets))
	}
	for name, secret := range spec.Secrets {
		v, err := secret.Resolve(dir)
		if err != nil {
			return s, &host.LoadError{Plugin: spec.Name, Path: spec.Path, Message: fmt.Sprintf("secret %q: %v", name, err), Err: err}
		}
		s.Secrets[name] = v
	}
	return s, nil
}

// load makes a module ready to be instantiated. The caller gets a reference.
func (e *Engine) load(ctx context.Context, spec plan.Plugin, dir string, b []byte) (*loaded, error) {
	hs, err := hostSpec(spec, dir, b, e.deps.Listener)
	if err != nil {
		return nil, err
	}
	m, err := e.loader.Load(ctx, hs)
	if err != nil {
		return nil, inFile(err, spec.Path)
	}
	if spec.Builtin == "" {
		if err := e.archive.save(m.Digest(), b); err != nil {
			e.log.Warn("a rollback to this version of the plugin will not be possible", "plugin", spec.Name, "digest", m.Digest(), "error", err)
		}
	}
	l := newLoaded(m, spec, len(b), func(err error) {
		if err != nil {
			e.log.Warn("close a retired module", "plugin", spec.Name, "error", err)
		}
	})
	l.label = labelOf(spec, b)
	for _, w := range l.label.warnings {
		e.log.Warn("the manifest of a module is wrong", "plugin", spec.Name, "path", spec.Path, "module", w)
	}
	return l, nil
}

// loadAll loads plugins side by side. On an error the modules that did load are
// still returned; the others are nil. A plugin that exists already remembers
// what was refused.
func (e *Engine) loadAll(ctx context.Context, p *plan.Plan, specs []plan.Plugin, origin string) ([]*loaded, error) {
	modules := make([]*loaded, len(specs))
	err := each(len(specs), func(i int) error {
		b, err := readModule(e.deps.Builtins, specs[i])
		if err == nil {
			modules[i], err = e.load(ctx, specs[i], p.Dir, b)
		}
		if err != nil {
			e.refused(specs[i], digestOf(b), len(b), origin, err)
		}
		return err
	})
	return modules, err
}

// refused notes in the history that a version could not be taken.
func (e *Engine) refused(spec plan.Plugin, digest string, size int, origin string, err error) {
	if size == 0 {
		digest = ""
	}
	e.deps.Listener.Reload("plugin", spec.Name, digest, "failed", err)
	if p, _ := e.plugin(spec.Name); p != nil {
		p.refuse(digest, size, spec, origin, err)
	}
}

// use is one stage of one pipeline, for which instances are needed.
type use struct {
	pipeline *plan.Pipeline
	stage    int
}

// everyStage lists all stages of a plan.
func everyStage(p *plan.Plan) []use {
	var uses []use
	for i := range p.Pipelines {
		uses = append(uses, stagesOf(&p.Pipelines[i], "")...)
	}
	return uses
}

// stagesOf lists the stages of a pipeline that run a plugin; "" = all.
func stagesOf(spec *plan.Pipeline, plugin string) []use {
	var uses []use
	for i, name := range spec.Stages {
		if plugin == "" || name == plugin {
			uses = append(uses, use{spec, i})
		}
	}
	return uses
}

// current returns the modules in use, by plugin name.
func current(plugins map[string]*plugin) func(string) *loaded {
	return func(name string) *loaded {
		p := plugins[name]
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.mu.module
	}
}

// prepare opens the instances of every partition of uses and leaves them in
// the pool, so that a plugin that cannot be opened is known before anything
// changes. On an error some instances may be in the pool.
func (e *Engine) prepare(ctx context.Context, uses []use, module func(plugin string) *loaded) error {
	return each(len(uses), func(i int) error {
		u := uses[i]
		l := module(u.pipeline.Stages[u.stage])
		for partition := range partitions(u.pipeline) {
			spec := instanceSpec(u.pipeline, u.stage, partition)
			inst, err := l.instantiate(ctx, spec)
			if err != nil {
				return err
			}
			e.pool.put(placeOf(spec, u.stage), inst)
		}
		return nil
	})
}

// prove opens a module that no pipeline uses once, to see whether it can be.
func prove(ctx context.Context, l *loaded) error {
	i, err := l.instantiate(ctx, host.InstanceSpec{Outputs: []string{plan.DefaultOutput}})
	if err == nil {
		i.Discard()
	}
	return err
}

// proveUnused is prove for a plugin that no pipeline uses. That it refuses its
// configuration harms nobody, and may be due to the outputs that only a pipeline
// would give it: that is a warning.
func proveUnused(ctx context.Context, l *loaded) (warning, err error) {
	err = prove(ctx, l)
	if refused := (*host.ConfigError)(nil); errors.As(err, &refused) {
		return err, nil
	}
	return nil, err
}

// proveIdle opens those of the plugins of p that no pipeline uses and for which
// module has one, and logs what they refuse.
func (e *Engine) proveIdle(ctx context.Context, p *plan.Plan, module func(plugin string) *loaded) error {
	unused := slices.DeleteFunc(idle(p), func(name string) bool { return module(name) == nil })
	return each(len(unused), func(i int) error {
		warning, err := proveUnused(ctx, module(unused[i]))
		if warning != nil {
			e.log.Warn("a plugin that no pipeline uses refuses its configuration", "plugin", unused[i], "error", warning)
		}
		return err
	})
}

// idle lists the plugins of a plan that no pipeline uses.
func idle(p *plan.Plan) []string {
	var names []string
	for _, pl := range p.Plugins {
		if !slices.ContainsFunc(p.Pipelines, func(s plan.Pipeline) bool { return slices.Contains(s.Stages, pl.Name) }) {
			names = append(names, pl.Name)
		}
	}
	return names
}
