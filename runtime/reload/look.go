package reload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

// config hands the TOML file on when it has other bytes than the last time, or
// was refused and a module of it has. Invariant A8: a file that is not valid
// changes nothing; all its findings are logged.
func (w *Watcher) config(ctx context.Context, mode mode, apply applyFunc) ([]plan.Change, outcome, error) {
	f := &w.files
	src, err := read(f.config)
	if err != nil {
		if mode == usual {
			return nil, half, nil // renamed away, perhaps for a moment
		}
		return nil, settled, w.refuse("", err)
	}
	bytesNow := digest(src)
	state := bytesNow + f.moduleDigests(f.wanted)
	if state == f.tried {
		return nil, settled, nil
	}
	if mode == usual && len(bytes.TrimSpace(src)) == 0 {
		return nil, half, nil // an editor has cut it and not written it yet
	}
	cfg, findings := config.Parse(f.config, src, w.o.Builtins...)
	if err := findings.Err(); err != nil {
		if mode == usual {
			return nil, half, nil
		}
		f.wanted = nil
		if missesFile(findings) {
			return nil, incomplete, w.refuse(bytesNow, err) // and look again: it may be built yet
		}
		f.tried = bytesNow
		return nil, settled, w.refuse(bytesNow, err)
	}
	p, err := plan.From(cfg, f.config)
	if err != nil {
		f.wanted, f.tried = nil, bytesNow
		return nil, settled, w.refuse(bytesNow, err)
	}
	if mode == usual && f.halfModules(p) {
		return nil, half, nil
	}
	changes, err := apply(ctx, p)
	if err != nil {
		if declined := (*DeclinedError)(nil); ctx.Err() != nil || errors.As(err, &declined) {
			return nil, settled, err
		}
		f.wanted = p
		f.tried = bytesNow + f.moduleDigests(p)
		return changes, settled, w.refuse(bytesNow, config.Place(f.config, err))
	}
	mended := f.refused
	f.plan, f.wanted, f.tried, f.complaint, f.refused = p, nil, bytesNow, "", false
	w.accepted(p, changes, mended)
	return changes, settled, nil
}

// refuse reports why the TOML was not taken, once for the same reason.
func (w *Watcher) refuse(digest string, err error) error {
	w.files.refused = true
	said := digest + err.Error()
	if said == w.files.complaint {
		return err
	}
	w.files.complaint = said
	w.o.Listener.Reload("config", w.files.config, digest, "failed", err)
	var findings config.Findings
	if !errors.As(err, &findings) {
		w.log.Error("the configuration was not taken, the one in use stays", "file", w.files.config, "error", err)
		return err
	}
	w.log.Error("the configuration is not valid, the one in use stays", "file", w.files.config, "findings", len(findings))
	for _, finding := range findings {
		w.log.Error("configuration", "finding", finding.String())
	}
	return err
}

// accepted reports a plan that was applied: one that changes nothing only when
// the one before it was refused, and is mended so.
func (w *Watcher) accepted(p *plan.Plan, changes []plan.Change, mended bool) {
	if mended {
		w.log.Info("the configuration is valid again", "file", w.files.config)
	} else if len(changes) == 0 {
		return
	}
	w.o.Listener.Reload("config", w.files.config, p.Hash, "ok", nil)
	for _, c := range changes {
		switch {
		case c.Restart:
			w.log.Warn("this change takes effect when the process starts again", "what", c.What, "fields", strings.Join(c.Fields, ", "))
		case c.Op == "remove" && c.What == "topic":
			w.log.Warn("a topic was removed from the configuration; its events stay stored", "topic", c.Name)
		default:
			w.log.Info("configuration changed", "op", c.Op, "what", c.What, "name", c.Name, "fields", strings.Join(c.Fields, ", "))
		}
	}
}

// missesFile says whether a module that the TOML names is not there.
func missesFile(findings config.Findings) bool {
	for _, f := range findings {
		if f.Code == config.CodeFile && f.Severity == config.SeverityError {
			return true
		}
	}
	return false
}

// plugins hands on every plugin whose module has other bytes than the last
// time. One that is missing is left alone: the generation in use stays.
func (w *Watcher) plugins(ctx context.Context, mode mode) (outcome, error) {
	f := &w.files
	if f.plan == nil {
		return settled, nil
	}
	var errs []error
	worst := settled
	for i := range f.plan.Plugins {
		name, path := f.plan.Plugins[i].Name, f.plan.Plugins[i].Path
		if path == "" {
			continue
		}
		b, err := read(path)
		if err != nil {
			if mode == usual {
				worst = half
				continue
			}
			if !f.gone[name] {
				f.gone[name] = true
				w.log.Warn("a plugin's module cannot be read; the generation in use stays", "plugin", name, "error", err)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("plugin %q: %w", name, err))
			}
			continue
		}
		delete(f.gone, name)
		now := digest(b)
		if now == f.modules[name] {
			continue
		}
		if mode == usual && !wholeModule(b) {
			worst = half
			continue
		}
		if err := w.o.Plugin(ctx, name); err != nil {
			if ctx.Err() != nil {
				return worst, err
			}
			w.log.Error("a plugin was not reloaded, the generation in use stays", "plugin", name, "error", err)
			errs = append(errs, err)
		}
		f.modules[name] = now
	}
	return worst, errors.Join(errs...)
}

// moduleDigests tells the modules of a plan from what they were before.
func (f *files) moduleDigests(p *plan.Plan) string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	for i := range p.Plugins {
		if path := p.Plugins[i].Path; path != "" {
			src, err := read(path)
			if err != nil {
				src = nil
			}
			b.WriteString(digest(src))
		}
	}
	return b.String()
}

// halfModules says whether a module of a plan is half a file.
func (f *files) halfModules(p *plan.Plan) bool {
	for i := range p.Plugins {
		if path := p.Plugins[i].Path; path != "" {
			if b, err := read(path); err != nil || !wholeModule(b) {
				return true
			}
		}
	}
	return false
}
