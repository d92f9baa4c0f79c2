package host

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Generation is one loaded version of a plugin: its compiled code in a wazero
// Runtime of its own, from which instances are made. Safe for concurrent use.
type Generation struct {
	host *Host
	of   *Generation // whose code this one runs, see Variant; nil = its own
	spec Spec
	compiled
	funcs    int // of the module, without those that rewriting added
	digest   string
	size     int
	limit    int64 // bytes of memory of one instance
	gate     *gate // of what all instances log and observe
	redact   *redactor
	loadTime time.Duration

	memory atomic.Int64

	mu struct {
		sync.Mutex
		live    int            // instances not discarded
		retired bool           // Close was called
		closed  bool           // the runtime is closed
		metrics map[string]int // kinds by name, of all instances
	}
}

// Digest returns the module's sha256 in hexadecimal.
func (gen *Generation) Digest() string { return gen.digest }

// Size returns the module's size in bytes.
func (gen *Generation) Size() int { return gen.size }

// LoadTime returns how long Load took.
func (gen *Generation) LoadTime() time.Duration { return gen.loadTime }

// Memory returns the bytes of linear memory that the instances hold together.
func (gen *Generation) Memory() int64 { return gen.memory.Load() }

// Close retires the generation: no new instances. Its runtime, with all code,
// is closed at once, or with the last instance if there still are some: code
// is never taken away under a running call. Calling Close again does nothing.
func (gen *Generation) Close(ctx context.Context) error {
	gen.mu.Lock()
	gen.mu.retired = true
	gen.mu.Unlock()
	return gen.closeIfIdle(ctx)
}

func (gen *Generation) acquire() error {
	gen.mu.Lock()
	defer gen.mu.Unlock()
	if gen.mu.retired {
		return ErrClosed
	}
	gen.mu.live++
	return nil
}

// done ends an instance.
func (gen *Generation) done() {
	gen.mu.Lock()
	gen.mu.live--
	gen.mu.Unlock()
	if err := gen.closeIfIdle(context.Background()); err != nil {
		gen.host.log.Warn("a plugin generation did not close cleanly", "plugin", gen.spec.Name, "error", err)
	}
}

func (gen *Generation) closeIfIdle(ctx context.Context) error {
	gen.mu.Lock()
	ready := gen.mu.retired && gen.mu.live == 0 && !gen.mu.closed
	gen.mu.closed = gen.mu.closed || ready
	gen.mu.Unlock()
	if !ready {
		return nil
	}
	gen.host.forget(gen)
	if gen.of != nil {
		gen.of.done()
		return nil
	}
	if err := gen.close(ctx); err != nil {
		return fmt.Errorf("close plugin %q: %w", gen.spec.Name, err)
	}
	return nil
}

func (gen *Generation) instances() int {
	gen.mu.Lock()
	defer gen.mu.Unlock()
	return gen.mu.live
}

func (gen *Generation) granted(grant string) bool { return slices.Contains(gen.spec.Grants, grant) }

// defineMetric registers a metric for the generation. It returns an error
// number when there are too many, or the name has another kind in another instance.
func (gen *Generation) defineMetric(name string, kind int) int32 {
	gen.mu.Lock()
	defer gen.mu.Unlock()
	known, ok := gen.mu.metrics[name]
	switch {
	case ok && known != kind:
		return errnoInvalid
	case !ok && len(gen.mu.metrics) >= maxMetrics:
		return errnoNoSpace
	}
	gen.mu.metrics[name] = kind
	return 0
}
