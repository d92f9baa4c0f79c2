package metrics

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wasmill/wasmill/sdk/abi"
)

// Limits of what plugins may define themselves. A plugin is not trusted
// (invariant A6): names are rewritten to the allowed alphabet and counted.
const (
	guestPrefix        = "wasmill_plugin_"
	maxGuestName       = 64   // bytes, without the prefix
	maxGuestPerPlugin  = 64   // names one plugin may define
	maxGuestIdentities = 4096 // names as plugins spell them, times pipelines
)

type guestKey struct {
	pipeline, plugin, name string
	kind                   int
}

// guestHandle is where the values of one guest metric go; nil functions refuse.
type guestHandle struct{ record func(float64) }

type guestFamily struct {
	kind    int
	counter *prometheus.CounterVec
	gauge   *prometheus.GaugeVec
	histo   *prometheus.HistogramVec
}

// guests keeps the metrics that plugins define. Plugins that give a name to
// metrics of one kind share the family and differ in the plugin label. A name
// has one kind in the exposition: who comes later with another one gets a name
// with its own in it, so that no plugin can take a name away from another.
type guests struct {
	registry *prometheus.Registry
	refused  *prometheus.CounterVec
	handles  cache[guestKey, guestHandle]

	mu struct {
		sync.Mutex
		families map[string]*guestFamily    // by full name
		names    map[string]map[string]bool // plugin → full names
	}
}

func (g *guests) init(r *prometheus.Registry, refused *prometheus.CounterVec) {
	g.registry, g.refused = r, refused
	g.mu.families = map[string]*guestFamily{}
	g.mu.names = map[string]map[string]bool{}
	g.handles.limit = maxGuestIdentities
	g.handles.init(g.resolve)
}

// record takes one value: added to a counter, observed by a histogram, the new
// value of a gauge.
func (g *guests) record(pipeline, plugin, name string, kind int, value float64) {
	if len(name) > maxGuestName || math.IsNaN(value) || math.IsInf(value, 0) {
		g.refused.WithLabelValues(plugin).Inc()
		return
	}
	h := g.handles.get(guestKey{pipeline, plugin, name, kind})
	if h.record == nil {
		g.refused.WithLabelValues(plugin).Inc()
		return
	}
	h.record(value)
}

// resolve runs under the cache's writer lock, once per identity.
func (g *guests) resolve(k guestKey) guestHandle {
	g.mu.Lock()
	defer g.mu.Unlock()
	name, ok := guestName(k.name, k.kind)
	if !ok {
		return guestHandle{}
	}
	f := g.familyLocked(k.plugin, name, k.kind)
	if f == nil {
		return guestHandle{}
	}
	switch k.kind {
	case abi.MetricCounter:
		c := f.counter.WithLabelValues(k.pipeline, k.plugin)
		return guestHandle{func(v float64) {
			if v >= 0 { // a counter never falls
				c.Add(v)
			}
		}}
	case abi.MetricGauge:
		return guestHandle{f.gauge.WithLabelValues(k.pipeline, k.plugin).Set}
	default:
		return guestHandle{f.histo.WithLabelValues(k.pipeline, k.plugin).Observe}
	}
}

func (g *guests) familyLocked(plugin, name string, kind int) *guestFamily {
	names := g.mu.names[plugin]
	f := g.mu.families[name]
	for wanted, n := name, 1; f != nil && f.kind != kind; n++ {
		if names[name] {
			return nil // it has given the name to another kind itself
		}
		name = ownName(wanted, plugin, n)
		f = g.mu.families[name]
	}
	if !names[name] && len(names) >= maxGuestPerPlugin {
		return nil
	}
	if f == nil {
		if f = g.define(name, kind); f == nil {
			return nil
		}
		g.mu.families[name] = f
	}
	if names == nil {
		names = map[string]bool{}
		g.mu.names[plugin] = names
	}
	names[name] = true
	return f
}

// ownName is the nth name for a plugin's metric when another plugin has given
// the one that it wanted to another kind. There is always one that is free.
func ownName(wanted, plugin string, n int) string {
	own := strings.ReplaceAll(plugin, "-", "_")
	if n > 1 {
		own += "_" + strconv.Itoa(n)
	}
	return guestPrefix + own + "__" + strings.TrimPrefix(wanted, guestPrefix)
}

func (g *guests) define(name string, kind int) *guestFamily {
	f := &guestFamily{kind: kind}
	labels := []string{"pipeline", "plugin"}
	const help = "Defined by a plugin."
	var c prometheus.Collector
	switch kind {
	case abi.MetricCounter:
		f.counter = prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		c = f.counter
	case abi.MetricGauge:
		f.gauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		c = f.gauge
	case abi.MetricHistogram:
		f.histo = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 4, 16),
		}, labels)
		c = f.histo
	default:
		return nil
	}
	if g.registry.Register(c) != nil {
		return nil
	}
	return f
}

// guestName returns the exposed name of a guest's metric: the prefix, the name
// in lower case with every other byte than [a-z0-9_] as '_', and "_total" behind a
// counter. Suffixes that the text format gives to histograms are refused for
// the others, so that no two families can collide.
func guestName(name string, kind int) (string, bool) {
	if name == "" {
		return "", false
	}
	b := []byte(guestPrefix + strings.TrimPrefix(name, guestPrefix))
	for i, c := range b {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		default:
			b[i] = '_'
		}
	}
	full := string(b)
	if kind == abi.MetricCounter {
		if !strings.HasSuffix(full, "_total") {
			full += "_total"
		}
		return full, true
	}
	for _, suffix := range []string{"_total", "_sum", "_count", "_bucket"} {
		if strings.HasSuffix(full, suffix) {
			return "", false
		}
	}
	return full, true
}
