package sdk

import "github.com/wasmill/wasmill/sdk/abi"

// Counter counts up. Make one with NewCounter, usually in a package variable.
type Counter struct{ metric }

// NewCounter returns a counter of that name, [a-z][a-z0-9_]*; end it in _total.
// The host adds the plugin and the pipeline. A name it refuses counts nothing.
func NewCounter(name string) *Counter { return &Counter{metric{name: name, kind: abi.MetricCounter}} }

// Add adds n, which is not negative.
func (c *Counter) Add(n int64) { c.add(n) }

// Inc adds 1.
func (c *Counter) Inc() { c.add(1) }

// Gauge is a value that goes up and down.
type Gauge struct{ metric }

// NewGauge returns a gauge of that name, as NewCounter does.
func NewGauge(name string) *Gauge { return &Gauge{metric{name: name, kind: abi.MetricGauge}} }

// Set sets the gauge to v.
func (g *Gauge) Set(v float64) { g.observe(v) }

// Histogram counts values by their size, in buckets that the host chooses.
type Histogram struct{ metric }

// NewHistogram returns a histogram of that name, as NewCounter does; end it in
// the base unit, such as _seconds or _bytes.
func NewHistogram(name string) *Histogram {
	return &Histogram{metric{name: name, kind: abi.MetricHistogram}}
}

// Observe counts v.
func (h *Histogram) Observe(v float64) { h.observe(v) }
