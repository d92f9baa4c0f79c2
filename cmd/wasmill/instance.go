package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/audit"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/live"
	"github.com/wasmill/wasmill/runtime/metrics"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/reload"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/runtime/trace"
)

// drainTimeout is how long pipelines may finish what is in flight at the end.
const drainTimeout = 30 * time.Second

// instance is one running Wasmill: the rooms wired together. They open in the
// order of the fields and close in the opposite one, but for the admin
// endpoint, which answers until everything else is closed.
type instance struct {
	plan    *plan.Plan
	metrics *metrics.Metrics
	broker  *broker.Broker
	host    *host.Host
	engine  *engine.Engine
	admin   *admin.Server // nil when [admin] listen is ""
	watch   *reload.Watcher
	taps    *event.Taps
	audit   *audit.Log
	tracer  *trace.Tracer // nil without [tracing] endpoint
	log     *slog.Logger

	watching  atomic.Bool                        // watch is open
	opened    bool                               // nothing is left to fail of the start
	interrupt func()                             // ends the verb as a signal does
	ended     atomic.Pointer[status.AuditRecord] // who had it drained over the admin endpoint
}

// opening says how an instance is opened.
type opening struct {
	acceptLoss bool // open also a store from which messages are gone
	manual     bool // changed files are taken only when somebody asks for it
	log        *slog.Logger
	listener   *event.Listener // told of what happens in place of the log; nil = the log is
}

// open starts everything that a plan asks for. What fails is closed again.
func (a *app) open(ctx context.Context, p *plan.Plan, o opening) (_ *instance, err error) {
	log := o.log
	in := &instance{plan: p, metrics: metrics.New(), taps: event.NewTaps(), audit: audit.New(log), interrupt: a.interrupt, log: log}
	defer func() {
		if err != nil {
			// What was open is closed quietly; err says why.
			_ = in.close()
		}
	}()
	told, reloads := logListener(log), log
	if o.listener != nil {
		told, reloads = *o.listener, nil // the listener is told of reloads
	}
	now := live.New()
	listener := event.Tee(in.metrics.Listener(), told, now.Listener(), reloadsTo(in.audit.Note))
	bc, err := brokerConfig(p)
	if err != nil {
		return nil, err
	}
	bc.AcceptLoss = o.acceptLoss
	b := broker.New(bc, broker.Options{Log: log, Listener: listener})
	if err := b.Open(ctx); err != nil {
		return nil, err
	}
	in.broker = b
	in.audit.Open(b, broker.ErrNotFound)
	if in.host, err = a.openHost(ctx, log); err != nil {
		return nil, err
	}
	if in.tracer, err = a.openTracer(ctx, p, log, listener); err != nil {
		return nil, err
	}
	var tracer event.Tracer
	if in.tracer != nil {
		tracer = in.tracer
	}
	in.engine = engine.New(engine.Deps{
		Broker: b, Host: in.host, Builtins: a.builtins, Listener: listener, Log: log,
		Version: a.version, DrainTimeout: drainTimeout, Taps: in.taps, Tracer: tracer, Access: in.access,
	})
	in.metrics.SetStatus(in.engine.Status)
	in.watch = reload.New(reload.Options{
		File: p.File, Builtins: a.builtinNames(), Manual: o.manual, Apply: in.engine.Apply, Plugin: in.engine.ReloadPlugin,
		Log: reloads, Listener: listener,
	})
	if err := in.openAdmin(ctx, a, now, in.taps); err != nil {
		return nil, err
	}
	if err := in.engine.Open(ctx, p); err != nil {
		var env *broker.EnvError
		if errors.As(err, &env) || ctx.Err() != nil {
			return nil, err
		}
		return nil, &exitError{exitInvalid, config.Place(relative(p.File), err)}
	}
	in.opened = true
	return in, nil
}

// watchFiles applies changes of the TOML file and of modules from now on.
func (in *instance) watchFiles(ctx context.Context) error {
	if err := in.watch.Open(ctx); err != nil {
		in.opened = false
		return environment("watch %s: %w", in.plan.Dir, err)
	}
	in.watching.Store(true)
	return nil
}

// reload is what POST /api/v1/reload does; before the watcher is open there is
// nobody to do it.
func (in *instance) reload(ctx context.Context) ([]plan.Change, error) {
	if !in.watching.Load() {
		return nil, reload.ErrClosed
	}
	return in.watch.Reload(ctx)
}

// close drains the pipelines and closes every room. The first failure counts;
// the rooms behind it are closed all the same.
func (in *instance) close() error {
	var errs []error
	keep := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("close the %s: %w", what, err))
		}
	}
	if in.watch != nil {
		in.watch.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout+10*time.Second)
	defer cancel()
	if in.engine != nil {
		err := in.engine.Close(ctx)
		keep("engine", err)
		in.noteEnd(err)
	}
	if in.tracer != nil {
		in.tracer.Close()
	}
	if in.admin != nil {
		keep("admin endpoint", in.admin.Close())
	}
	in.audit.Close()
	if in.host != nil {
		keep("host", in.host.Close(ctx))
	}
	if in.broker != nil {
		keep("broker", in.broker.Close())
	}
	return errors.Join(errs...)
}

func (a *app) openHost(ctx context.Context, log *slog.Logger) (*host.Host, error) {
	dir, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	worker, err := host.Executable(compileWorker)
	if err != nil {
		return nil, environment("module cache: %w", err)
	}
	h := host.New(host.Options{CacheDir: dir, Worker: worker, Log: log})
	if err := h.Open(ctx); err != nil {
		return nil, environment("module cache: %w; or name another directory with WASMILL_CACHE", err)
	}
	return h, nil
}

// cacheDir is where compiled modules are kept between runs.
func (a *app) cacheDir() (string, error) {
	if dir := a.getenv("WASMILL_CACHE"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", environment("module cache: WASMILL_CACHE=%s: %w", dir, err)
		}
		return abs, nil
	}
	base, err := os.UserCacheDir() // $XDG_CACHE_HOME, or the system's place
	if err != nil {
		return "", environment("module cache: %w; name a directory with WASMILL_CACHE", err)
	}
	return filepath.Join(base, "wasmill", "modules"), nil
}

func brokerConfig(p *plan.Plan) (broker.Config, error) {
	s := &p.Server
	password, err := s.Password.Resolve(p.Dir)
	if err != nil {
		return broker.Config{}, invalid("%s: [server] password: %w", p.File, err)
	}
	token, err := s.Token.Resolve(p.Dir)
	if err != nil {
		return broker.Config{}, invalid("%s: [server] token: %w", p.File, err)
	}
	users, err := usersOf(p)
	if err != nil {
		return broker.Config{}, err
	}
	return broker.Config{
		StoreDir: s.StoreDir, Ledger: ledgerBeside(s.StoreDir), Listen: s.Listen, Durability: s.Durability, MaxStore: s.MaxStore,
		Users: users, TLSCert: s.TLSCert, TLSKey: s.TLSKey,
		URL: s.URL, User: s.User, Password: password, Token: token, Credentials: s.Credentials,
		TLS: broker.TLSConfig{CA: s.TLS.CA, Cert: s.TLS.Cert, Key: s.TLS.Key},
	}, nil
}

// openTracer starts to send traces where [tracing] says; nil when it says nowhere.
func (a *app) openTracer(ctx context.Context, p *plan.Plan, log *slog.Logger, listener event.Listener) (*trace.Tracer, error) {
	if p.Tracing.Endpoint == "" {
		return nil, nil
	}
	headers := map[string]string{}
	for name, secret := range p.Tracing.Headers {
		value, err := secret.Resolve(p.Dir)
		if err != nil {
			return nil, invalid("%s: [tracing] headers: %s: %w", p.File, name, err)
		}
		headers[name] = value
	}
	t, err := trace.New(trace.Options{
		Endpoint: p.Tracing.Endpoint, Headers: headers, Ratio: p.Tracing.SampleRatio, Service: p.Tracing.ServiceName,
		Version: a.version, Timeout: p.Tracing.Timeout, Log: log, Listener: listener,
	})
	if err != nil {
		return nil, invalid("%s: [tracing]: %w", p.File, err)
	}
	if err := t.Open(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// ledgerBeside is where the second copy of a store's ledger is: not in it, so
// that it is still there when the whole store is gone.
func ledgerBeside(storeDir string) string {
	if storeDir == "" {
		return ""
	}
	return filepath.Clean(storeDir) + ".ledger"
}

// openAdmin listens before the plugins are loaded, so that /readyz can say
// "not yet" and a busy port is known at once.
func (in *instance) openAdmin(ctx context.Context, a *app, now *live.Live, taps *event.Taps) error {
	if in.plan.Admin.Listen == "" {
		return nil
	}
	cfg, err := adminConfig(in.plan)
	if err != nil {
		return err
	}
	b := in.broker
	file := &fileCheck{file: in.plan.File, builtins: a.builtinNames()}
	s, err := admin.New(cfg, admin.Deps{
		Status:    file.with(in.engine.Status),
		Pipelines: replays{in.engine},
		Plugins:   in.engine,
		Topics:    b,
		Publisher: func(ctx context.Context, topic string) (admin.Publisher, error) {
			p, err := b.NewPublisher(ctx, topic)
			if err != nil {
				return nil, err
			}
			return topicPublisher{p}, nil
		},
		DeadLetters: in.engine.DeadLetters(),
		Audit:       in.audit,
		Reload:      in.reload,
		Drain:       in.drain,
		Plan: func(ctx context.Context, text *string) (status.Plan, error) {
			return in.planned(ctx, text, a.builtinNames())
		},
		Apply: func(ctx context.Context, r admin.ApplyRequest) (status.Applied, error) {
			return in.apply(ctx, r, a.builtinNames())
		},
		Backup:   func(ctx context.Context, w io.Writer) error { return in.backup(ctx, w, a.version) },
		Config:   func(context.Context) (status.Configuration, error) { return in.configuration(a.builtinNames()) },
		Live:     now,
		Taps:     taps,
		Metrics:  in.metrics.Handler(),
		StatusOf: httpStatus,
		Version:  a.version,
		Log:      in.log,
	})
	if err != nil {
		return &exitError{exitInvalid, fmt.Errorf("%s: %w", in.plan.File, err)}
	}
	if err := s.Open(ctx); err != nil {
		return err
	}
	in.admin = s
	return nil
}

// topicPublisher is a broker's publisher with an end to its patience: a topic
// that is full must become an error of the request, not a hanging one.
type topicPublisher struct{ p *broker.Publisher }

func (t topicPublisher) Add(ctx context.Context, m *event.Output) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	pos, err := t.p.Add(ctx, m)
	return pos, t.explain(err)
}

func (t topicPublisher) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	return t.explain(t.p.Flush(ctx))
}

// Close ends without waiting: Flush has said what is stored.
func (t topicPublisher) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return t.p.Close(ctx)
}

func (t topicPublisher) explain(err error) error {
	if why := t.p.Err(); errors.Is(err, context.DeadlineExceeded) && why != "" {
		return fmt.Errorf("the topic does not store messages at the moment: %s", why)
	}
	return err
}

// publishPatience is how long a publish request waits for a topic.
const publishPatience = 20 * time.Second

// httpStatus maps what the engine and the broker say to what HTTP says.
func httpStatus(err error) int {
	var findings config.Findings
	var load *host.LoadError
	var refused *event.RefusedError
	var fault *host.Fault
	var moved *engine.MovedError
	var gone *broker.GoneError
	var held *engine.DrainError
	switch {
	case errors.Is(err, engine.ErrNotFound), errors.Is(err, broker.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, broker.ErrBadStart), errors.Is(err, engine.ErrBadHash), errors.Is(err, engine.ErrBadReplay):
		return http.StatusBadRequest
	case errors.As(err, &held):
		return http.StatusServiceUnavailable
	case errors.As(err, &gone):
		return http.StatusUnprocessableEntity
	case errors.Is(err, broker.ErrNoStore):
		return http.StatusUnprocessableEntity
	case errors.Is(err, engine.ErrNoPrevious), errors.Is(err, engine.ErrStandby), errors.Is(err, engine.ErrResumed), errors.As(err, &moved), errors.Is(err, errOtherFile):
		return http.StatusConflict
	case errors.Is(err, engine.ErrClosed), errors.Is(err, broker.ErrClosed), errors.Is(err, reload.ErrClosed):
		return http.StatusServiceUnavailable
	case errors.As(err, &findings), errors.As(err, &load), errors.As(err, &refused), errors.As(err, &fault):
		return http.StatusUnprocessableEntity
	}
	return 0
}

func (a *app) builtinNames() []string { return slices.Sorted(maps.Keys(a.builtins)) }

// waitReady returns when every pipeline runs, or what keeps one from it after
// the time is up. Pipelines start on their own, so it is no failure then.
func (in *instance) waitReady(ctx context.Context, timeout time.Duration) (status.Status, bool) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if st := in.engine.Status(ctx); st.Ready {
			return st, true
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return in.engine.Status(ctx), false
		case <-ctx.Done():
			return in.engine.Status(context.WithoutCancel(ctx)), false
		}
	}
}
