package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/host/inspect"
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

// compile returns a runtime with the module's machine code, from the store if it
// is there. What is not there is compiled into the store, aside if there is a
// worker: this process then only ever loads what a worker has made (invariant
// A4). m describes binary before it was rewritten.
func (h *Host) compile(ctx context.Context, binary []byte, m *inspect.Module) (compiled, error) {
	if h.store == nil {
		return h.load(ctx, h.cache, binary, m, nil)
	}
	sum := sha256.Sum256(binary)
	digest := hex.EncodeToString(sum[:])
	held, err := h.store.acquire(digest)
	if held == nil && err == nil {
		held, err = h.compileAside(ctx, digest, binary, m)
	}
	if err == nil {
		var c compiled
		if c, err = h.load(ctx, h.cache, binary, m, held); err == nil {
			return c, nil
		}
	}
	if !isCacheError(err) {
		return compiled{}, err
	}
	// A full disk or a broken entry must not keep a good plugin from running.
	// That it can be compiled within the limits has been seen, or it is seen now.
	h.log.Warn("the store of compiled modules is not usable for this module, compiling without it; remove the directory if this repeats",
		"dir", h.store.dir, "error", err)
	if err := h.tryOnly(ctx, binary, m); err != nil {
		return compiled{}, err
	}
	return h.load(ctx, nil, binary, m, nil)
}

// compileAside compiles a module into the store and holds the entry. One module
// is compiled at a time: that bounds memory, leaves the other cores to the data
// path, and lets a second load of the same module find the first one's result.
func (h *Host) compileAside(ctx context.Context, digest string, binary []byte, m *inspect.Module) (*os.File, error) {
	select {
	case h.working <- struct{}{}:
		defer func() { <-h.working }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if held, err := h.store.acquire(digest); held != nil || err != nil {
		return held, err
	}
	work, err := h.store.work()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := h.compileTo(ctx, work, binary, m); err != nil {
		return nil, err
	}
	if err := h.store.add(digest, work); err != nil {
		return nil, err
	}
	held, err := h.store.acquire(digest)
	if held == nil && err == nil {
		err = &os.PathError{Op: "keep", Path: digest, Err: os.ErrNotExist}
	}
	return held, err
}

// compileTo compiles a module into a directory, in a worker if there is one.
func (h *Host) compileTo(ctx context.Context, dir string, binary []byte, m *inspect.Module) error {
	if len(h.worker) > 0 {
		return h.work(ctx, dir, binary, m)
	}
	if err := compileInto(ctx, dir, binary); err != nil {
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
