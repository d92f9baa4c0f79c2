package cases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/plan"
)

// Options say how cases are run.
type Options struct {
	Host     *host.Host                        // open
	Builtins map[string]func() ([]byte, error) // embedded plugins by name
	Match    *regexp.Regexp                    // of the names of the cases that are run; nil = all
	Update   bool                              // write what came into the files, in place of what they expect
}

// Report is what came of one case.
type Report struct {
	File        string
	Name        string // the file without its ending
	About       string
	Differences []Difference
	Logs        []string // what the plugins logged, in order
	Updated     bool     // the file was written
	Err         error    // the case could not be run: the file or what it names is not valid
	Duration    time.Duration
}

// Passed says whether everything was as expected, or is now.
func (r *Report) Passed() bool { return r.Err == nil && (len(r.Differences) == 0 || r.Updated) }

// Runner runs cases. It reads each wasmill.toml and compiles each module once.
type Runner struct {
	host     *host.Host
	builtins map[string]func() ([]byte, error)
	match    *regexp.Regexp
	update   bool

	mu struct {
		sync.Mutex
		projects map[string]project // by absolute path
		modules  map[string]*module
	}
}

// module is a module that is loaded once for all cases that run it.
type module struct {
	once sync.Once
	gen  *host.Generation
	err  error
}

// New returns a runner. Close it to free the modules.
func New(o Options) *Runner {
	r := &Runner{host: o.Host, builtins: o.Builtins, match: o.Match, update: o.Update}
	r.mu.projects, r.mu.modules = map[string]project{}, map[string]*module{}
	return r
}

// Close frees the modules.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for key, m := range r.mu.modules {
		if m.gen != nil {
			errs = append(errs, m.gen.Close(ctx))
		}
		delete(r.mu.modules, key)
	}
	return errors.Join(errs...)
}

// Find lists the case files at a path: of a directory those that are in a
// directory called cases, in it, below it, or that it is in.
func Find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	within, err := isWithin(path)
	if err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(path, func(name string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if base := entry.Name(); name != path && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "target") {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		parents := strings.Split(filepath.ToSlash(filepath.Dir(rel)), "/")
		if filepath.Ext(name) == Ext && (within || slices.Contains(parents, Dir)) {
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// isWithin says whether a directory is one called cases, or in one, of its
// project: what the directories above the project are called is nobody's business.
func isWithin(dir string) (bool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if filepath.Base(abs) == Dir {
		return true, nil
	}
	config, err := above(abs)
	if err != nil || config == "" {
		return false, err
	}
	rel, err := filepath.Rel(filepath.Dir(config), abs)
	return slices.Contains(strings.Split(filepath.ToSlash(rel), "/"), Dir), err
}

// nameOf is how a case is called: its file, without the ending.
func nameOf(file string) string { return filepath.ToSlash(strings.TrimSuffix(file, Ext)) }

// Run runs the cases in these files, as many at a time as there are processors,
// and returns their reports in the order of the files.
func (r *Runner) Run(ctx context.Context, files []string) ([]Report, error) {
	if r.match != nil {
		files = slices.DeleteFunc(slices.Clone(files), func(file string) bool { return !r.match.MatchString(nameOf(file)) })
	}
	reports := make([]Report, len(files))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i, file := range files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			reports[i] = r.one(ctx, file)
		})
	}
	wg.Wait()
	return reports, ctx.Err()
}

// one runs one case.
func (r *Runner) one(ctx context.Context, file string) (report Report) {
	begin := time.Now()
	report = Report{File: file, Name: nameOf(file)}
	defer func() { report.Duration = time.Since(begin) }()
	c, err := Read(file)
	if err != nil {
		report.Err = err
		return report
	}
	report.About = c.About
	t, err := r.target(c)
	if err != nil {
		report.Err = err
		return report
	}
	s := newStage(c)
	if t.pipeline != nil {
		err = r.runPipeline(ctx, s, t)
	} else {
		err = r.runPlugin(ctx, s, t)
	}
	if err != nil {
		report.Err = err
		return report
	}
	results := s.results()
	unopened := results[0].failed()
	if unopened {
		results = results[:1] // nothing else can be said
	}
	for i := range results {
		step := &Step{Kind: StepClose, line: c.lastLine()}
		if i < len(c.Steps) {
			step = &c.Steps[i]
		}
		if d := step.compare(file, results[i]); d != nil {
			report.Differences = append(report.Differences, *d)
		}
		for _, l := range results[i].lines {
			if l.Kind == LineLog {
				report.Logs = append(report.Logs, l.Level+" "+l.Log)
			}
		}
	}
	// A refusal is not what somebody wants whose case has events: none of them was run.
	if r.update && len(report.Differences) > 0 && (!unopened || len(c.Steps) < 2) {
		report.Err = write(file, c.updated(results))
		report.Updated = report.Err == nil
	}
	return report
}

// write replaces a file in one step.
func write(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.tmp")
	if err != nil {
		return fmt.Errorf("update %s: %w", file, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("update %s: %w", file, err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("update %s: %w", file, err)
	}
	return nil
}

// load returns the module of a plugin under these grants, compiled once.
func (r *Runner) load(ctx context.Context, g *plan.Plugin) (*host.Generation, error) {
	key := fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%s\x00%v", g.Name, g.Path, g.Builtin, g.SHA256, strings.Join(g.Grants, " "), g.Limits)
	r.mu.Lock()
	m := r.mu.modules[key]
	if m == nil {
		m = &module{}
		r.mu.modules[key] = m
	}
	r.mu.Unlock()
	m.once.Do(func() {
		spec, err := engine.PluginSpec(r.builtins, *g)
		if err == nil {
			spec.Config = nil
			m.gen, err = r.host.Load(ctx, spec)
		}
		var refused *host.LoadError
		if errors.As(err, &refused) && refused.Path == "" {
			refused.Path = g.Path
		}
		m.err = err
	})
	return m.gen, m.err
}
