package engine

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
)

// loaded is one module in memory. Whoever may still need it holds a reference:
// the plugin whose current generation it is, the trial that may fall back to
// it, and every instance. The last release closes it whole, so that it is never
// closed under a call, and a call that never returns costs only its memory.
type loaded struct {
	module
	spec   plan.Plugin // what it was loaded for
	size   int         // bytes of the module
	label  label
	refs   atomic.Int64
	closed func(error)
}

func newLoaded(m module, spec plan.Plugin, size int, closed func(error)) *loaded {
	l := &loaded{module: m, spec: spec, size: size, closed: closed}
	l.refs.Store(1)
	return l
}

// retain takes a reference; the caller must know that there still is one.
func (l *loaded) retain() { l.refs.Add(1) }

// retainIfHeld takes a reference unless the last one is gone.
func (l *loaded) retainIfHeld() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (l *loaded) release() {
	if l.refs.Add(-1) == 0 {
		l.closed(l.Close(context.Background()))
	}
}

// instance is one instance and the reference it holds.
type instance struct {
	pipeline.Processor
	of        *loaded
	discarded bool
}

// instantiate opens an instance. The caller must hold a reference to l.
func (l *loaded) instantiate(ctx context.Context, spec host.InstanceSpec) (*instance, error) {
	proc, err := l.NewInstance(ctx, spec)
	if err != nil {
		return nil, err // names the plugin and the pipeline
	}
	l.retain()
	return &instance{Processor: proc, of: l}, nil
}

// Discard frees the instance and gives its reference back.
func (i *instance) Discard() {
	if i.discarded {
		return
	}
	i.discarded = true
	i.Processor.Discard()
	i.of.release()
}

// Digest names the module.
func (i *instance) Digest() string { return i.of.Digest() }

// Started is how long the last call took to start a fresh guest, as far as the
// processor says; it belongs to what the pipeline charges to the plugin.
func (i *instance) Started() time.Duration {
	if s, ok := i.Processor.(interface{ Started() time.Duration }); ok {
		return s.Started()
	}
	return 0
}

// place is where an instance works, and what it was opened for.
type place struct {
	pipeline         string
	stage, partition int
	outputs          string
}

func placeOf(spec host.InstanceSpec, stage int) place {
	return place{spec.Pipeline, stage, spec.Partition, strings.Join(spec.Outputs, ",")}
}

// pool holds instances that were opened before they are needed, so that what
// cannot be opened is known before anything changes (invariants A5, A8).
type pool struct {
	mu struct {
		sync.Mutex
		at map[place]*instance
	}
}

func newPool() *pool {
	p := &pool{}
	p.mu.at = map[place]*instance{}
	return p
}

// put leaves an instance for a place; one that is already there is discarded.
func (p *pool) put(at place, i *instance) {
	p.mu.Lock()
	old := p.mu.at[at]
	p.mu.at[at] = i
	p.mu.Unlock()
	if old != nil {
		old.Discard()
	}
}

// take returns the instance of l left for a place, or nil.
func (p *pool) take(at place, l *loaded) *instance {
	p.mu.Lock()
	i := p.mu.at[at]
	delete(p.mu.at, at)
	p.mu.Unlock()
	if i == nil || i.of == l {
		return i
	}
	i.Discard()
	return nil
}

// drop discards what was left for places that match.
func (p *pool) drop(match func(place, *instance) bool) {
	p.mu.Lock()
	var out []*instance
	maps.DeleteFunc(p.mu.at, func(at place, i *instance) bool {
		if !match(at, i) {
			return false
		}
		out = append(out, i)
		return true
	})
	p.mu.Unlock()
	for _, i := range out {
		i.Discard()
	}
}
