package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// cache maps a label set to its resolved handles. Reading is one atomic load
// and one map lookup, without a lock and without an allocation; the first use
// of a label set copies the map, which happens a handful of times in the life
// of a process because label sets come from the configuration. Where they come
// from a plugin, limit bounds them: past it, get returns the zero value.
type cache[K comparable, V any] struct {
	current atomic.Pointer[map[K]V]
	mu      sync.Mutex // serializes writers
	make    func(K) V
	limit   int // label sets to keep, 0 = as many as come
}

func (c *cache[K, V]) init(makeValue func(K) V) {
	c.make = makeValue
	c.current.Store(&map[K]V{})
}

func (c *cache[K, V]) get(k K) V {
	if v, ok := (*c.current.Load())[k]; ok {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.current.Load()
	if v, ok := old[k]; ok {
		return v
	}
	var v V
	if c.limit > 0 && len(old) >= c.limit {
		return v
	}
	next := maps.Clone(old)
	v = c.make(k)
	next[k] = v
	c.current.Store(&next)
	return v
}
