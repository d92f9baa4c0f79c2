// Package engine runs what a plan asks for: it owns the pipelines and the
// plugin generations, applies the difference between two plans, reloads and
// rolls back plugins, and says how all of it is.
//
//	file → config → plan → Apply: diff → prepare beside → switch → retire
//	                       ReloadPlugin ───────┘
//
// Every change follows the same way: what is new is loaded and opened beside
// what runs; nothing is touched until all of it has succeeded (A8); pipelines
// switch between two batches (A5); what is old is closed when nobody needs it.
// Each pipeline has a supervisor goroutine of its own, so that one that fails,
// halts or hangs leaves the others alone.
//
// Lock order: the operations lock (Engine.ops), Engine.mu, then one of
// plugin.mu, supervisor.mu or pool.mu, which are never held together. Nothing
// blocks under a mutex; only the operations lock is held over I/O.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
)

// Errors of operations, matched with errors.Is.
var (
	ErrNotFound   = errors.New("not found")
	ErrClosed     = errors.New("engine is closed")
	ErrNoPrevious = errors.New("there is no earlier generation to go back to")
	ErrStandby    = errors.New("another process owns the pipeline")
)

// Deps is what an Engine works with. Broker and Host are open already, and are
// closed by their owner after the Engine.
type Deps struct {
	Broker   *broker.Broker
	Host     *host.Host
	Builtins map[string]func() ([]byte, error) // what reads the module of a ready-made plugin, by its name
	Listener event.Listener
	Log      *slog.Logger // nil discards
	Version  string       // of this program, for the status
	Taps     *event.Taps  // where events can be looked at; nil is nowhere
	Tracer   event.Tracer // chooses the events that are traced; nil traces none

	// Access, when not nil, prepares what of the server and the admin endpoint
	// changes while they run, which is who may use them. It changes nothing
	// itself, and refuses what cannot be: a secret that is not there. set does it
	// and cannot fail.
	Access func(next *plan.Plan) (set func(), err error)

	// DrainTimeout bounds how long a stopping pipeline finishes what is in
	// flight; 0 is 30 s.
	DrainTimeout time.Duration
	// Probation is how long a generation that replaced another can be rolled
	// back by itself; 0 is one minute.
	Probation time.Duration
	// ModuleDir keeps copies of loaded modules for rollbacks, by digest; "" is
	// "modules" in the store directory, or a temporary one when there is none.
	ModuleDir string
}

// swapTimeout is how long a change waits for a pipeline to switch. One that is
// still inside a call then switches when the call returns.
const swapTimeout = 30 * time.Second

// Engine runs the pipelines of one plan. Its methods are safe for concurrent
// use; those that change something run one after the other.
type Engine struct {
	deps Deps
	log  *slog.Logger

	topics    topicStore
	data      dataPath
	messages  messageStore
	records   recordStore
	loader    loader
	newRunner func(pipeline.Config, pipeline.Deps) (runner, error)

	pool    *pool
	archive *archive
	ops     chan struct{} // capacity 1: held by the operation at work
	letters chan struct{} // the same for changes of the dead letters
	crew    *crew

	throttle *pipeline.Throttle // of all pipelines
	trend    trend
	previews previews

	mu struct {
		sync.RWMutex
		plan      *plan.Plan // nil before Open
		plugins   map[string]*plugin
		pipelines map[string]*supervisor
		started   time.Time
		closing   bool // no further changes
		closed    bool
	}
}

// New returns an engine that runs nothing yet. It does no I/O.
func New(d Deps) *Engine {
	e := &Engine{
		deps: d, log: d.Log,
		topics: d.Broker, data: brokerPath{d.Broker}, messages: d.Broker, records: d.Broker, loader: hostLoader{d.Host},
		newRunner: func(cfg pipeline.Config, deps pipeline.Deps) (runner, error) {
			p, err := pipeline.New(cfg, deps)
			if err != nil {
				return nil, err
			}
			return p, nil
		},
	}
	e.init()
	return e
}

func (e *Engine) init() {
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.deps.DrainTimeout <= 0 {
		e.deps.DrainTimeout = 30 * time.Second
	}
	if e.deps.Probation <= 0 {
		e.deps.Probation = time.Minute
	}
	e.deps.Listener = e.deps.Listener.WithDefaults()
	e.pool, e.ops, e.crew = newPool(), make(chan struct{}, 1), newCrew()
	e.letters = make(chan struct{}, 1)
	e.throttle = pipeline.NewThrottle()
	e.mu.plugins, e.mu.pipelines = map[string]*plugin{}, map[string]*supervisor{}
}

// Open makes the topics, loads and opens every plugin, and starts the
// pipelines. Everything that keeps it from that is reported in one error;
// then nothing runs and nothing stays loaded. Pipelines start on their own
// after Open has returned: Status says when they run. An Engine is opened once.
func (e *Engine) Open(ctx context.Context, p *plan.Plan) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	if e.plan() != nil {
		return errors.New("open engine: it has been opened before")
	}
	var err error
	if e.archive, err = openArchive(e.deps.ModuleDir, p.Server.StoreDir); err != nil {
		return err
	}
	errs := []error{e.ensureTopics(ctx, p.Topics)}
	modules, err := e.loadAll(ctx, p, p.Plugins, originStart)
	errs = append(errs, err)
	plugins := map[string]*plugin{}
	for i, spec := range p.Plugins {
		if modules[i] != nil {
			plugins[spec.Name] = newPlugin(spec)
			e.recall(ctx, plugins[spec.Name], p)
			plugins[spec.Name].install(modules[i], nil, originStart, "")
		}
	}
	if err := errors.Join(errs...); err == nil {
		module := current(plugins)
		errs = append(errs, e.prepare(ctx, everyStage(p), module), e.proveIdle(ctx, p, module))
	}
	if err := errors.Join(errs...); err != nil {
		e.pool.drop(func(place, *instance) bool { return true })
		for _, pl := range plugins {
			pl.retire()
		}
		return errors.Join(err, e.archive.close())
	}
	e.mu.Lock()
	e.mu.plan, e.mu.plugins, e.mu.started = p, plugins, time.Now()
	e.mu.Unlock()
	setUsers(p, plugins)
	for i := range p.Pipelines {
		if err := e.startPipeline(p, &p.Pipelines[i], nil); err != nil {
			return err
		}
	}
	e.crew.start(e.watchStalls)
	e.crew.start(e.watchStore)
	return nil
}

// Close drains all pipelines at once, waits for them, and closes every
// generation. It is idempotent; every call returns when all is closed or ctx
// has ended, which is an error and leaves what has not ended to itself.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.mu.closing = true
	e.mu.Unlock()
	e.crew.cancel() // ends every supervisor and, with them, the operation at work
	select {
	case e.ops <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("close engine: wait for the change at work: %w", ctx.Err())
	}
	defer e.unlock()
	pipelines := e.supervisors()
	errs := make([]error, len(pipelines))
	var wg sync.WaitGroup
	for i, s := range pipelines {
		wg.Go(func() { errs[i] = s.stop(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close engine: %w", err)
	}
	e.mu.Lock()
	closed := e.mu.closed
	e.mu.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.pool.drop(func(place, *instance) bool { return true })
	for _, p := range e.pluginList() {
		if p.retire() {
			p.changed() // its trial ends here, with what was rescued
		}
	}
	e.crew.wait()
	if e.archive != nil {
		return e.archive.close()
	}
	return nil
}

// lock takes the operations lock: changes run one after the other.
func (e *Engine) lock(ctx context.Context) error {
	select {
	case e.ops <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.mu.RLock()
	closing := e.mu.closing
	e.mu.RUnlock()
	if closing {
		e.unlock()
		return ErrClosed
	}
	return nil
}

func (e *Engine) unlock() {
	e.saveHistories()
	<-e.ops
}

func (e *Engine) plan() *plan.Plan {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.mu.plan
}

// supervisors lists the pipelines by name.
func (e *Engine) supervisors() []*supervisor {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.SortedFunc(maps.Values(e.mu.pipelines), func(a, b *supervisor) int { return strings.Compare(a.name, b.name) })
}

func (e *Engine) supervisor(name string) (*supervisor, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if s := e.mu.pipelines[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("pipeline %q: %w", name, ErrNotFound)
}

// pluginList lists the plugins by name.
func (e *Engine) pluginList() []*plugin {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.SortedFunc(maps.Values(e.mu.plugins), func(a, b *plugin) int { return strings.Compare(a.name, b.name) })
}

func (e *Engine) plugin(name string) (*plugin, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if p := e.mu.plugins[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("plugin %q: %w", name, ErrNotFound)
}

// startPipeline starts the supervisor of a pipeline; before is the one it
// takes the place of, already stopped, or nil.
func (e *Engine) startPipeline(p *plan.Plan, spec *plan.Pipeline, before *supervisor) error {
	stages := make([]*plugin, len(spec.Stages))
	for i, name := range spec.Stages {
		pl, err := e.plugin(name)
		if err != nil {
			return fmt.Errorf("start pipeline %q: %w", spec.Name, err)
		}
		stages[i] = pl
	}
	if err := e.data.Protect(spec.Name); err != nil {
		e.log.Warn("applications may disturb the consumer of a pipeline", "pipeline", spec.Name, "error", err)
	}
	s := newSupervisor(*spec, e.pipelineOps(p, spec, stages), before)
	e.mu.Lock()
	e.mu.pipelines[spec.Name] = s
	e.mu.Unlock()
	s.start(e.crew.ctx)
	return nil
}

// ensureTopics makes or changes topics and reports everything that fails.
func (e *Engine) ensureTopics(ctx context.Context, topics []plan.Topic) error {
	return each(len(topics), func(i int) error { return e.topics.EnsureTopic(ctx, topicConfig(&topics[i])) })
}

func topicConfig(t *plan.Topic) broker.TopicConfig {
	return broker.TopicConfig{
		Name: t.Name, Subjects: t.Subjects, MaxAge: t.MaxAge, MaxBytes: t.MaxBytes, MaxMessages: t.MaxMessages,
		RefuseWhenFull: t.Full == plan.Refuse, Replicas: t.Replicas,
	}
}

// crew holds the goroutines that live as long as the engine and are not a
// pipeline's: it is the one worker helper that keeps a context.
type crew struct {
	ctx    context.Context //nolint:containedctx // it is the lifetime of the goroutines it starts
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newCrew() *crew {
	c := &crew{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *crew) start(f func(ctx context.Context)) { c.wg.Go(func() { f(c.ctx) }) }

func (c *crew) wait() { c.wg.Wait() }
