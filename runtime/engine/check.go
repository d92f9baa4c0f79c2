package engine

import (
	"context"
	"errors"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
)

// Check loads every plugin of a plan and opens it once for each stage that
// runs it, as Open would, without a broker and without running anything. err
// joins everything that was refused. What plugins that no pipeline uses refuse of
// their configuration keeps nothing from running: warning joins that.
func Check(ctx context.Context, h *host.Host, builtins map[string]func() ([]byte, error), p *plan.Plan) (warning, err error) {
	return check(ctx, hostLoader{h}, builtins, p, p.Plugins)
}

// check looks at some of the plugins of a plan.
func check(ctx context.Context, l loader, builtins map[string]func() ([]byte, error), p *plan.Plan, plugins []plan.Plugin) (warning, err error) {
	warnings := make([]error, len(plugins))
	err = each(len(plugins), func(i int) (err error) {
		spec := plugins[i]
		b, err := readModule(builtins, spec)
		if err != nil {
			return err
		}
		hs, err := hostSpec(spec, p.Dir, b, event.Listener{}.WithDefaults())
		if err != nil {
			return err
		}
		m, err := l.Load(ctx, hs)
		if err != nil {
			return inFile(err, spec.Path)
		}
		loaded := newLoaded(m, spec, len(b), func(closeErr error) { err = errors.Join(err, closeErr) })
		defer loaded.release()
		opened := false
		var errs []error
		for _, u := range everyStage(p) {
			if u.pipeline.Stages[u.stage] != spec.Name {
				continue
			}
			opened = true
			inst, err := loaded.instantiate(ctx, instanceSpec(u.pipeline, u.stage, 0))
			if err != nil {
				errs = append(errs, err)
				continue
			}
			inst.Discard()
		}
		if !opened {
			warning, err := proveUnused(ctx, loaded)
			warnings[i] = warning
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return errors.Join(warnings...), err
}
