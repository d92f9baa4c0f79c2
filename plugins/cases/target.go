package cases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/plan"
)

// configFile says which plugins and pipelines there are.
const configFile = "wasmill.toml"

// target is what a case runs: a plugin, or a pipeline.
type target struct {
	plan     *plan.Plan
	plugin   *plan.Plugin
	pipeline *plan.Pipeline
}

// project is a wasmill.toml that was read, or why it cannot be.
type project struct {
	plan *plan.Plan
	err  error
}

// target finds out what a case runs.
func (r *Runner) target(c *Case) (target, error) {
	if c.Module != "" {
		return r.module(c, filepath.Join(filepath.Dir(c.File), filepath.FromSlash(c.Module)))
	}
	file, err := above(filepath.Dir(c.File))
	if err != nil {
		return target{}, err
	}
	if file == "" {
		return r.onlyModule(c)
	}
	p, err := r.project(file)
	if err != nil {
		return target{}, err
	}
	switch {
	case c.Pipeline != "":
		if l := p.Pipeline(c.Pipeline); l != nil {
			return target{plan: p, pipeline: l}, c.checkPlugins(l)
		}
		names := make([]string, len(p.Pipelines))
		for i := range p.Pipelines {
			names[i] = p.Pipelines[i].Name
		}
		return target{}, c.dangling("pipeline", c.Pipeline, file, names)
	case c.Plugin != "":
		if g := p.Plugin(c.Plugin); g != nil {
			return target{plan: p, plugin: g}, nil
		}
		return target{}, c.dangling("plugin", c.Plugin, file, pluginNames(p))
	}
	if g := pluginBeside(p, filepath.Dir(c.File)); g != nil {
		return target{plan: p, plugin: g}, nil
	}
	return target{}, c.finding("", config.CodeMissing, "which plugin or pipeline of %s is it about? The first line says it: {\"case\": \"what it shows\", \"plugin\": %q}",
		file, strings.Join(pluginNames(p), " | "))
}

// above returns the nearest wasmill.toml in dir or above it, "" if there is none.
func above(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the directory of a case: %w", err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		file := filepath.Join(at, configFile)
		if _, err := os.Stat(file); err == nil {
			if rel, err := filepath.Rel(abs, file); err == nil {
				return filepath.Join(dir, rel), nil
			}
			return file, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return "", nil
		}
	}
}

// project reads a wasmill.toml, each once.
func (r *Runner) project(file string) (*plan.Plan, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.mu.projects[abs]; ok {
		return p.plan, p.err
	}
	names := make([]string, 0, len(r.builtins))
	for name := range r.builtins {
		names = append(names, name)
	}
	var p project
	cfg, err := config.Load(file, names...)
	if err == nil {
		p.plan, err = plan.From(cfg, file)
	}
	p.err = err
	r.mu.projects[abs] = p
	return p.plan, p.err
}

// pluginBeside returns the plugin that a case in dir is about by its place: the
// only one there is, or the one whose source is in a directory above.
func pluginBeside(p *plan.Plan, dir string) *plan.Plugin {
	if len(p.Plugins) == 1 {
		return &p.Plugins[0]
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	for at := abs; at != p.Dir && at != filepath.Dir(at); at = filepath.Dir(at) {
		var found *plan.Plugin
		for i := range p.Plugins {
			g := &p.Plugins[i]
			if g.Path == "" || strings.TrimSuffix(g.Path, ".wasm") != at && filepath.Dir(g.Path) != at {
				continue
			}
			if found != nil {
				return nil
			}
			found = g
		}
		if found != nil {
			return found
		}
	}
	return nil
}

func pluginNames(p *plan.Plan) []string {
	names := make([]string, len(p.Plugins))
	for i := range p.Plugins {
		names[i] = p.Plugins[i].Name
	}
	return names
}

// onlyModule is the target of a case without a wasmill.toml above it: the module
// beside it, or beside the directory that it is in.
func (r *Runner) onlyModule(c *Case) (target, error) {
	dir := filepath.Dir(c.File)
	if c.Pipeline != "" || c.Plugin != "" {
		return target{}, c.finding("", config.CodeMissing, "there is no %s in %s or above it, which would say what plugins and pipelines are; name a module instead: \"module\": \"../NAME.wasm\"", configFile, dir)
	}
	for _, at := range []string{dir, filepath.Join(dir, "..")} {
		modules, err := filepath.Glob(filepath.Join(at, "*.wasm"))
		if err == nil && len(modules) == 1 {
			return r.module(c, modules[0])
		}
	}
	return target{}, c.finding("", config.CodeMissing, "there is no %s in %s or above it, and not one module beside it; name one in the first line: {\"case\": \"what it shows\", \"module\": \"../NAME.wasm\"}", configFile, dir)
}

// module is the target of a case that is about a file, under default limits.
func (r *Runner) module(c *Case, path string) (target, error) {
	if _, err := os.Stat(path); err != nil {
		return target{}, c.finding("module", config.CodeFile, "there is no module %s; build it first", path)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".wasm")
	grants := c.Grants
	cfg := &config.Config{Plugins: map[string]config.Plugin{"module": {Path: path, Grants: grants}}}
	p, err := plan.From(cfg, filepath.Join(filepath.Dir(path), configFile))
	if err != nil {
		return target{}, err
	}
	g := p.Plugins[0]
	g.Name = name
	if g.Path, err = filepath.Abs(path); err != nil {
		return target{}, err
	}
	return target{plan: p, plugin: &g}, nil
}

// checkPlugins reports settings for plugins that the pipeline does not run.
func (c *Case) checkPlugins(l *plan.Pipeline) error {
	var all config.Findings
	for name := range c.Plugins {
		if slices.Contains(l.Stages, name) {
			continue
		}
		all = append(all, c.one("plugins", config.CodeDangling, fmt.Sprintf("plugins.%s: pipeline %q does not run a plugin of that name; it runs %s",
			name, l.Name, strings.Join(l.Stages, ", ")), config.Nearest(name, l.Stages)))
	}
	for i := range c.Steps {
		if s := &c.Steps[i]; s.Event.Key != "" {
			f := c.one("", config.CodeConflict, "the events of a pipeline have no key of their own: it comes from the pipeline's key", "")
			f.Line, f.Col = s.line, 1
			all = append(all, f)
		}
	}
	return all.Err()
}

func (c *Case) dangling(key, name, file string, names []string) error {
	f := c.one(key, config.CodeDangling, fmt.Sprintf("there is no %s %q in %s; there are: %s", key, name, file, strings.Join(names, ", ")), config.Nearest(name, names))
	return config.Findings{f}
}

func (c *Case) finding(key, code, format string, args ...any) error {
	return config.Findings{c.one(key, code, fmt.Sprintf(format, args...), "")}
}

// one is a finding about a key of the head, or about the case as such.
func (c *Case) one(key, code, message, suggestion string) config.Finding {
	f := config.Finding{File: c.File, Line: 1, Col: 1, Severity: config.SeverityError, Code: code, Message: message, Suggestion: suggestion}
	if at, ok := c.places[key]; ok {
		p := parser{c: c}
		f.Line, f.Col = p.position(at)
	}
	return f
}

// Configs lists the wasmill.toml files that the cases in these files are about,
// each once.
func Configs(files []string) ([]string, error) {
	var all []string
	for _, file := range files {
		at, err := above(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		if at != "" {
			if at, err = filepath.Abs(at); err != nil {
				return nil, err
			}
			if !slices.Contains(all, at) {
				all = append(all, at)
			}
		}
	}
	return all, nil
}
