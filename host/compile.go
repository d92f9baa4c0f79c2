package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/host/rewrite"
	"github.com/wasmill/wasmill/sdk/abi"
)

// compiled is a generation's runtime with what runs in it.
type compiled struct {
	rt     wazero.Runtime
	code   wazero.CompiledModule
	linker wazero.CompiledModule // puts the tick into an instance of code
	held   *os.File              // keeps the entry of the store; nil = there is none
}

// close closes the runtime, with its host modules and instances, and the code,
// which the shared cache would keep.
func (c *compiled) close(ctx context.Context) error {
	var errs []error
	if c.code != nil {
		errs = append(errs, c.code.Close(ctx))
	}
	if c.held != nil {
		errs = append(errs, c.held.Close())
	}
	return errors.Join(append(errs, c.rt.Close(ctx))...)
}

// compile returns a runtime with the module's machine code, and what the module
// shows of itself: from the store if it is there. What is not there is inspected,
// rewritten, and compiled into the store, aside if there is a worker: this process
// then only ever loads what a worker has made (invariant A4). digest is that of
// binary; fits says whether the host can run what is shown.
func (h *Host) compile(ctx context.Context, digest string, binary []byte, fits func(*inspect.Module) error) (compiled, *inspect.Module, error) {
	var err error
	if h.store != nil {
		var k *kept
		if k, err = h.store.acquire(digest); k != nil {
			var c compiled
			var m *inspect.Module
			if c, m, err = h.loadKept(ctx, k, fits); err == nil {
				return c, m, nil
			}
		}
		if err != nil && !isCacheError(err) {
			return compiled{}, nil, err
		}
	}
	m, rewritten, prepared := prepare(binary, fits)
	if prepared != nil {
		return compiled{}, nil, prepared
	}
	if h.store == nil {
		c, err := h.load(ctx, h.cache, rewritten, m, nil)
		return c, m, err
	}
	if err == nil {
		var k *kept
		if k, err = h.compileAside(ctx, digest, rewritten, m); err == nil {
			var c compiled
			if c, _, err = h.loadKept(ctx, k, fits); err == nil {
				return c, m, nil
			}
		}
		if !isCacheError(err) {
			return compiled{}, nil, err
		}
	}
	// A full disk or a broken entry must not keep a good plugin from running.
	// That it can be compiled within the limits has been seen, or it is seen now.
	h.log.Warn("the store of compiled modules is not usable for this module, compiling without it; remove the directory if this repeats",
		"dir", h.store.dir, "error", err)
	if err := h.tryOnly(ctx, rewritten, m); err != nil {
		return compiled{}, nil, err
	}
	c, err := h.load(ctx, nil, rewritten, m, nil)
	return c, m, err
}

// prepare reads a module with our own parser, before wazero sees it, and adds to
// it the checks with which it can be stopped.
func prepare(binary []byte, fits func(*inspect.Module) error) (*inspect.Module, []byte, error) {
	m, err := inspect.Parse(binary, inspect.Caps{})
	if err != nil {
		return nil, nil, err
	}
	if err := fits(m); err != nil {
		return nil, nil, err
	}
	rewritten, err := rewrite.Module(m, rewrite.Options{})
	return m, rewritten, err
}

// errStub says that wazero did not find the machine code of a stub and has
// compiled the stub itself.
var errStub = &os.PathError{Op: "load", Path: "compiled module", Err: errors.New("wazero does not take it")}

// loadKept loads a module of the store and takes k over.
func (h *Host) loadKept(ctx context.Context, k *kept, fits func(*inspect.Module) error) (compiled, *inspect.Module, error) {
	m, err := inspect.Parse(k.outline, inspect.Caps{})
	if err == nil {
		err = fits(m)
	}
	if err != nil {
		k.held.Close()
		return compiled{}, nil, err
	}
	c, err := h.load(ctx, h.cache, k.stub, m, k.held)
	if err != nil {
		return compiled{}, nil, err
	}
	// Had wazero compiled the stub, it would have put that in the entry's place.
	if !samePath(k.held, k.held.Name()) {
		return compiled{}, nil, errors.Join(errStub, c.close(ctx))
	}
	return c, m, nil
}

// compileAside compiles a module into the store and holds the entry. One module
// is compiled at a time: that bounds memory, leaves the other cores to the data
// path, and lets a second load of the same module find the first one's result.
// m describes binary before it was rewritten, digest is its sha256 then.
func (h *Host) compileAside(ctx context.Context, digest string, binary []byte, m *inspect.Module) (*kept, error) {
	select {
	case h.working <- struct{}{}:
		defer func() { <-h.working }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if k, err := h.store.acquire(digest); k != nil || err != nil {
		return k, err
	}
	work, err := h.store.work()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := h.compileTo(ctx, work, binary, m); err != nil {
		return nil, err
	}
	if err := h.store.add(digest, work, rewrite.Outline(m), rewrite.Stub(binary)); err != nil {
		return nil, err
	}
	k, err := h.store.acquire(digest)
	if k == nil && err == nil {
		err = &os.PathError{Op: "keep", Path: digest, Err: os.ErrNotExist}
	}
	return k, err
}

// compileTo compiles a module into a directory, in a worker if there is one.
func (h *Host) compileTo(ctx context.Context, dir string, binary []byte, m *inspect.Module) error {
	if len(h.worker) > 0 {
		return h.work(ctx, dir, binary, m)
	}
	if err := compileBoth(ctx, dir, binary); err != nil {
		if isCacheError(err) {
			return err
		}
		return invalidModule(err)
	}
	return nil
}

// tryOnly lets a worker compile a module when its result cannot be kept: only
// to see that it can be done within the limits.
func (h *Host) tryOnly(ctx context.Context, binary []byte, m *inspect.Module) error {
	if len(h.worker) == 0 {
		return nil
	}
	select {
	case h.working <- struct{}{}:
		defer func() { <-h.working }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.work(ctx, "", binary, m)
}

// load makes the generation's runtime with the host functions that the module
// imports, and takes the module's code from the cache, or compiles it. The
// result owns held; so does load when it fails.
func (h *Host) load(ctx context.Context, cache wazero.CompilationCache, binary []byte, m *inspect.Module, held *os.File) (compiled, error) {
	release := func(err error) (compiled, error) {
		if held != nil {
			held.Close()
		}
		return compiled{}, err
	}
	select {
	case h.compiling <- struct{}{}:
		defer func() { <-h.compiling }()
	case <-ctx.Done():
		return release(ctx.Err())
	}
	h.mu.Lock()
	open := h.mu.open
	h.mu.Unlock()
	if !open {
		return release(fmt.Errorf("cannot be loaded: the host is %w", ErrClosed))
	}
	c, err := compileWith(ctx, cache, binary, m)
	if err != nil {
		return release(err)
	}
	c.held = held
	return c, nil
}

// runtimeConfig is that of every runtime, also in a worker: wazero's key of an
// entry depends on some of it.
func runtimeConfig() wazero.RuntimeConfig {
	// The memory limit is not wazero's to enforce: a growth that it refuses by
	// itself would be invisible, and could not be told from another trap.
	// Debug information is not read: it is untrusted and large.
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(maxMemory / wasmPage).
		WithCloseOnContextDone(false).
		WithDebugInfoEnabled(false)
}

func compileWith(ctx context.Context, cache wazero.CompilationCache, binary []byte, m *inspect.Module) (c compiled, err error) {
	cfg := runtimeConfig()
	if cache != nil {
		cfg = cfg.WithCompilationCache(cache)
	}
	c.rt = wazero.NewRuntimeWithConfig(ctx, cfg)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be compiled: %v", r)
		}
		if err != nil {
			err = errors.Join(err, c.close(ctx))
		}
	}()
	if err := offer(ctx, c.rt, wasiModule, wasiFunctions(), m); err != nil {
		return c, fmt.Errorf("offer %s: %w", wasiModule, err)
	}
	if err := offer(ctx, c.rt, abi.ImportModule, hostFunctions(), m); err != nil {
		return c, fmt.Errorf("offer %s: %w", abi.ImportModule, err)
	}
	if c.linker, err = offerTick(ctx, c.rt); err != nil {
		return c, err
	}
	// On one goroutine, ours: a panic of the compiler is then an error
	// (invariant A4), and the other cores stay with the data path.
	c.code, err = c.rt.CompileModule(ctx, binary)
	if err != nil {
		return c, invalidModule(err)
	}
	return c, nil
}

func invalidModule(err error) error {
	return fmt.Errorf("is not a valid WebAssembly module: %w", err)
}
