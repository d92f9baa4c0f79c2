// Package reload notices when the configuration or a plugin's module changes,
// and hands the change on.
//
//	file events ─┐                          ┌→ Apply(plan)     when the TOML has other bytes
//	SIGHUP ──────┼→ wait for quiet → look ──┤
//	Reload ──────┘                          └→ Plugin(name)    when a module has other bytes
//	ReloadWith ───→ look ─→ another Apply
//
// It watches directories, not files: editors and compilers rename a new file
// over the old one, a volume of Kubernetes swaps a symbolic link beside it, and
// a build may remove the whole directory for a moment. What an event says does
// not matter, only that there was one: the bytes decide.
package reload

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
)

// Options say what to watch and whom to tell.
type Options struct {
	File     string   // the TOML file
	Builtins []string // names of built-in plugins that the TOML may use
	Manual   bool     // nothing is watched: only Trigger, Reload and ReloadWith look at the files

	// Apply makes a plan what runs. It is called with every plan whose file has
	// other bytes than the last, one call at a time.
	Apply func(ctx context.Context, p *plan.Plan) ([]plan.Change, error)
	// Plugin reloads a plugin whose module has other bytes than before.
	Plugin func(ctx context.Context, name string) error

	Log      *slog.Logger   // nil discards
	Listener event.Listener // only Reload is called, for the configuration

	timing timing
}

// timing holds the waits; tests shorten them.
type timing struct {
	quiet    time.Duration // without an event before the files are read
	patience time.Duration // for quiet; then the files are read all the same
	settle   time.Duration // without an event before half a file counts as broken
	limit    time.Duration // for that; then it is reported all the same
	missing  time.Duration // between two looks for modules that the TOML names and that are not there
}

func (t timing) withDefaults() timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.quiet, 100*time.Millisecond)
	def(&t.patience, time.Second)
	def(&t.settle, 500*time.Millisecond)
	def(&t.limit, 10*time.Second)
	def(&t.missing, 2*time.Second)
	return t
}

// ErrClosed is what Reload returns when the watcher is closed.
var ErrClosed = errors.New("the watcher is closed")

// Watcher watches the TOML file and the module of every plugin in it. One
// goroutine does all the work; the methods are safe for concurrent use.
type Watcher struct {
	o     Options
	log   *slog.Logger
	files files

	trigger chan struct{} // capacity 1
	asked   chan request
	done    chan struct{} // closed when the goroutine has ended

	mu struct {
		sync.Mutex
		cancel context.CancelFunc // nil before Open
	}
}

// request is a Reload that waits for its answer.
type request struct {
	ctx    context.Context //nolint:containedctx // of the caller who waits for the answer
	apply  applyFunc       // in place of Options.Apply; nil = that
	answer chan<- answer
}

// applyFunc makes a plan what runs.
type applyFunc func(ctx context.Context, p *plan.Plan) ([]plan.Change, error)

// DeclinedError is what an apply function of ReloadWith returns when it has not
// tried to apply the plan: nothing is known of it, and nothing is reported.
type DeclinedError struct{ Err error }

func (e *DeclinedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *DeclinedError) Unwrap() error { return e.Err }

type answer struct {
	changes []plan.Change
	err     error
}

// New returns a watcher that does nothing before Open.
func New(o Options) *Watcher {
	o.timing = o.timing.withDefaults()
	o.Listener = o.Listener.WithDefaults()
	w := &Watcher{o: o, log: o.Log, trigger: make(chan struct{}, 1), asked: make(chan request), done: make(chan struct{})}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	return w
}

// Open begins to watch, and looks at every file once: what changed before Open
// is not missed. A manual watcher does neither. When the system can watch no
// more directories that is logged, and only Trigger and the reloads work. ctx
// bounds Open only.
func (w *Watcher) Open(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.cancel != nil {
		return errors.New("open watcher: it has been opened before")
	}
	var fs *fsnotify.Watcher
	var err error
	if !w.o.Manual {
		fs, err = fsnotify.NewWatcher()
	}
	if err != nil {
		w.log.Warn("files cannot be watched: send SIGHUP to reload them", "error", err)
		fs = nil
	}
	w.files = newFiles(w.o.File, fs)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.mu.cancel = cancel
	go w.loop(life)
	return nil
}

// Trigger reads everything again and hands on what has changed, without
// waiting for it. It is what SIGHUP does.
func (w *Watcher) Trigger() {
	select {
	case w.trigger <- struct{}{}:
	default:
	}
}

// Reload is Trigger with an answer: what has changed in the configuration, and
// everything that was refused, of plugins as well. ErrClosed.
func (w *Watcher) Reload(ctx context.Context) ([]plan.Change, error) { return w.ReloadWith(ctx, nil) }

// ReloadWith is Reload with apply in place of Options.Apply, called with the
// plan of the file as it is now. It hands modules on only when apply has
// succeeded. Reloads run one after the other. ErrClosed.
func (w *Watcher) ReloadWith(ctx context.Context, apply func(ctx context.Context, p *plan.Plan) ([]plan.Change, error)) ([]plan.Change, error) {
	got := make(chan answer, 1)
	select {
	case w.asked <- request{ctx, apply, got}:
	case <-w.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case a := <-got:
		return a.changes, a.err
	case <-w.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops watching and waits for the change at work. It is idempotent.
func (w *Watcher) Close() {
	w.mu.Lock()
	cancel := w.mu.cancel
	w.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-w.done
}

// loop is the watcher's goroutine.
func (w *Watcher) loop(ctx context.Context) {
	defer close(w.done)
	defer w.files.close()
	t := w.o.timing
	quiet, settle, missing := newAlarm(), newAlarm(), newAlarm()
	defer quiet.stop()
	defer settle.stop()
	defer missing.stop()
	var first time.Time   // of the events that are waited for to end
	var unclear time.Time // when a file was first found to be half a file
	look := func(ctx context.Context, mode mode, apply applyFunc) ([]plan.Change, error) {
		quiet.stop()
		first = time.Time{}
		if !unclear.IsZero() && time.Since(unclear) >= t.limit {
			mode = final
		}
		changes, out, err := w.look(ctx, mode, apply)
		switch out {
		case half:
			if unclear.IsZero() {
				unclear = time.Now()
			}
			settle.set(t.settle)
		case incomplete:
			unclear = time.Time{}
			settle.stop()
			if !w.o.Manual {
				missing.set(t.missing)
			}
		default:
			unclear = time.Time{}
			settle.stop()
			missing.stop()
		}
		return changes, err
	}
	if !w.o.Manual {
		_, _ = look(ctx, usual, nil) // what is wrong is reported where it is found
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-w.files.events:
			if !w.files.concerns(ev) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.set(max(0, min(t.quiet, t.patience-time.Since(first))))
		case err := <-w.files.errors:
			// Events were lost, or more than that: the bytes will tell.
			w.log.Warn("watching files", "error", err)
			quiet.set(t.quiet)
		case <-quiet.c:
			_, _ = look(ctx, usual, nil)
		case <-settle.c:
			if first.IsZero() { // else it is being written to
				_, _ = look(ctx, final, nil)
			}
		case <-missing.c:
			_, _ = look(ctx, usual, nil)
		case <-w.trigger:
			w.files.forget()
			_, _ = look(ctx, final, nil)
		case r := <-w.asked:
			w.files.forget()
			both, cancel := context.WithCancel(r.ctx)
			stop := context.AfterFunc(ctx, cancel)
			changes, err := look(both, final, r.apply)
			stop()
			cancel()
			r.answer <- answer{changes, err}
		}
	}
}

// alarm is a timer that is off until it is set.
type alarm struct {
	*time.Timer
	c <-chan time.Time
}

func newAlarm() *alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &alarm{t, t.C}
}

func (a *alarm) set(d time.Duration) { a.Reset(d) }
func (a *alarm) stop()               { a.Stop() }

// mode says what half a file means.
type mode bool

const (
	usual mode = false // somebody may still be writing it
	final mode = true  // it is broken
)

// outcome is what a look at the files has shown, the worst of all.
type outcome int

const (
	settled    outcome = iota // every file was handed on, or is as before
	incomplete                // the TOML names a module that is not there
	half                      // a file looks as if somebody were still writing it
)

// look reads every file and hands on what has changed, the TOML to apply if that
// is not nil.
func (w *Watcher) look(ctx context.Context, mode mode, apply applyFunc) (changes []plan.Change, out outcome, err error) {
	w.watch()
	changes, out, err = w.config(ctx, mode, or(apply, w.o.Apply))
	w.watch() // the plan may name other modules now, and a directory may have come back
	if apply != nil && err != nil {
		return changes, out, err
	}
	worst, pluginErr := w.plugins(ctx, mode)
	return changes, max(out, worst), errors.Join(err, pluginErr)
}

func or(f, otherwise applyFunc) applyFunc {
	if f != nil {
		return f
	}
	return otherwise
}

func (w *Watcher) watch() {
	if err := w.files.watch(); err != nil {
		w.log.Warn("a directory cannot be watched: send SIGHUP after changes in it", "error", err)
	}
}
