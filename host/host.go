package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero"
)

// Options configure a Host.
type Options struct {
	// CacheDir keeps compiled modules over restarts. It is created with mode
	// 0700 and refused when others can write to it: what lies in it is executed.
	// Empty = modules are compiled anew by each process.
	CacheDir string
	// Log gets what concerns the host itself; what plugins write goes to
	// Spec.Log. nil = nothing is logged.
	Log *slog.Logger
}

// Host loads plugins. Its methods are safe for concurrent use.
type Host struct {
	dir   string
	log   *slog.Logger
	cache wazero.CompilationCache

	// compiling holds a token while a module is compiled: one at a time bounds
	// memory, leaves the other cores to the data path, and lets a second load of
	// the same module find the first one's result.
	compiling chan struct{}

	mu struct {
		sync.Mutex
		open        bool
		generations map[*Generation]struct{} // those not closed
	}
}

// New returns a Host that is not open yet. It does no I/O.
func New(o Options) *Host {
	h := &Host{dir: o.CacheDir, log: o.Log, compiling: make(chan struct{}, 1)}
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
	h.cache = wazero.NewCompilationCache()
	if h.dir != "" {
		cache, err := openCache(h.dir)
		if err != nil {
			return err
		}
		h.cache = cache
	}
	h.mu.open = true
	return nil
}

// openCache makes the directory ours alone, then hands it to wazero, which
// keys its entries by the module's digest, its own version and the processor.
// Entries carry a checksum, not a signature: whoever can write there can run
// code in this process (invariant A4).
func openCache(dir string) (wazero.CompilationCache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open compile cache: %s is not a directory", dir)
	}
	if err := checkPrivate(dir, info); err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	return cache, nil
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
