package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/tetratelabs/wazero"
)

// Options configure a Host.
type Options struct {
	// CacheDir keeps compiled modules over restarts; processes may share it. It is
	// created with mode 0700 and refused when others can write to it: what lies in
	// it is executed. Empty = modules are compiled anew by each Host.
	CacheDir string
	// CacheBytes bounds what is kept in CacheDir; what was used last stays, and
	// what is in use. 0 = 512 MiB.
	CacheBytes int64
	// Worker is a program with arguments that calls CompileWorker with one more
	// argument, a directory. Modules are compiled there, under limits of time and
	// memory; see Executable. Empty = they are compiled in this process, where
	// only the caps of package inspect bound what a module costs: for tests, and
	// for modules that are trusted.
	Worker []string
	// Log gets what concerns the host itself; what plugins write goes to
	// Spec.Log. nil = nothing is logged.
	Log *slog.Logger
}

// Host loads plugins. Its methods are safe for concurrent use.
type Host struct {
	dir    string
	own    bool // dir is this Host's alone and goes with it
	most   int64
	worker []string
	log    *slog.Logger
	cache  wazero.CompilationCache
	store  *store // nil = nothing is kept

	// working holds a token while a module is compiled into the store, compiling
	// while one is loaded into this process. Never both in one goroutine but Close.
	working, compiling chan struct{}

	mu struct {
		sync.Mutex
		open        bool
		generations map[*Generation]struct{} // those not closed
	}
}

// New returns a Host that is not open yet. It does no I/O.
func New(o Options) *Host {
	h := &Host{
		dir: o.CacheDir, most: o.CacheBytes, worker: o.Worker, log: o.Log,
		working: make(chan struct{}, 1), compiling: make(chan struct{}, 1),
	}
	if h.most <= 0 {
		h.most = 512 << 20
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.mu.generations = map[*Generation]struct{}{}
	return h
}

// Open prepares the cache directory.
func (h *Host) Open(_ context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.open {
		return errors.New("open host: it is open already")
	}
	if err := h.openCache(); err != nil {
		return fmt.Errorf("open compile cache: %w", err)
	}
	h.mu.open = true
	return nil
}

func (h *Host) openCache() (err error) {
	if h.dir == "" && len(h.worker) > 0 { // a worker must leave its result somewhere
		if h.dir, err = os.MkdirTemp("", "wasmill-modules-"); err != nil {
			return err
		}
		h.own = true
	}
	if h.dir == "" {
		h.cache = wazero.NewCompilationCache()
		return nil
	}
	if h.store, err = openStore(h.dir, h.most); err != nil {
		return err
	}
	h.cache, err = wazero.NewCompilationCacheWithDir(h.store.dir)
	return err
}

// Close waits for a module that is being compiled and closes every generation
// that has no instances left. One that still has closes with its last instance;
// it is an error to leave it so. Calling Close again does nothing.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	if !h.mu.open {
		h.mu.Unlock()
		return nil
	}
	h.mu.open = false
	var left []*Generation
	for gen := range h.mu.generations {
		left = append(left, gen)
	}
	h.mu.Unlock()

	h.working <- struct{}{}
	defer func() { <-h.working }()
	h.compiling <- struct{}{} // from here on nothing uses the cache
	defer func() { <-h.compiling }()
	var errs []error
	for _, gen := range left {
		errs = append(errs, gen.Close(ctx))
		if n := gen.instances(); n > 0 {
			errs = append(errs, fmt.Errorf("close host: plugin %q still has %d instances", gen.spec.Name, n))
		}
	}
	if err := h.cache.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("close compile cache: %w", err))
	}
	if h.own {
		errs = append(errs, os.RemoveAll(h.dir))
		h.dir, h.own = "", false
	}
	return errors.Join(errs...)
}

// register takes a new generation in; it fails when the host is not open.
func (h *Host) register(gen *Generation) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mu.open {
		return fmt.Errorf("the host is %w", ErrClosed)
	}
	h.mu.generations[gen] = struct{}{}
	return nil
}

func (h *Host) forget(gen *Generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.generations, gen)
}
