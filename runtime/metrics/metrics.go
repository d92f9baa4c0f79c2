// Package metrics exposes what a running Wasmill does in the Prometheus text
// format, or in OpenMetrics, which has exemplars: the traces of events behind
// the latencies. It subscribes to the data path as an event.Listener and, at each
// scrape, to the engine's status; it has a registry of its own and never
// touches the default one.
//
// All names begin with wasmill_, units are base units, and the labels are
// pipeline, stage, plugin, topic, plus reason, fault, result, digest and version
// where a family is split by them. Names that begin with wasmill_plugin_ belong
// to the plugins themselves.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is one registry with every family of Wasmill in it. It is safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	families families
	handles  handles
	guests   guests
	status   statusCollector
}

// families are the metric vectors the Listener writes to.
type families struct {
	fetchedEvents, fetchedBytes         *prometheus.CounterVec // pipeline
	doneEvents                          *prometheus.CounterVec // pipeline
	endToEnd                            *prometheus.HistogramVec
	publishedEvents, publishedBytes     *prometheus.CounterVec // pipeline, topic
	in, out, dropped, retried, deadEnds *prometheus.CounterVec // pipeline, stage, plugin
	batch, call                         *prometheus.HistogramVec
	backpressure                        *prometheus.CounterVec // pipeline, reason
	faults                              *prometheus.CounterVec // pipeline, stage, plugin, fault
	reloads                             *prometheus.CounterVec // plugin, result
	logLines                            *prometheus.CounterVec // plugin
	refusedGuest                        *prometheus.CounterVec // plugin
	traces                              *prometheus.CounterVec // result
}

// New returns a Metrics with everything registered and nothing counted.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	f := &m.families

	pipeline := []string{"pipeline"}
	stage := []string{"pipeline", "stage", "plugin"}
	topic := []string{"pipeline", "topic"}

	f.fetchedEvents = m.counter("wasmill_events_fetched_total", "Events a pipeline has read from its topic.", pipeline)
	f.fetchedBytes = m.counter("wasmill_fetched_bytes_total", "Bytes (subject, headers, payload) a pipeline has read from its topic.", pipeline)
	f.doneEvents = m.counter("wasmill_events_done_total", "Events a pipeline has finished: everything they caused is confirmed.", pipeline)
	f.endToEnd = m.histogram("wasmill_end_to_end_seconds",
		"Time from the topic storing an event to everything it caused being confirmed; the oldest event of each batch.",
		pipeline, prometheus.ExponentialBuckets(0.00025, 2, 20))
	f.publishedEvents = m.counter("wasmill_events_published_total", "Outputs a pipeline has handed to a topic.", topic)
	f.publishedBytes = m.counter("wasmill_published_bytes_total", "Bytes (subject, headers, payload) a pipeline has handed to a topic.", topic)

	f.in = m.counter("wasmill_events_in_total", "Events a stage has answered for, retries included.", stage)
	f.out = m.counter("wasmill_events_out_total", "Events a stage has emitted.", stage)
	f.dropped = m.counter("wasmill_events_dropped_total", "Events a stage has dropped.", stage)
	f.retried = m.counter("wasmill_events_retried_total", "Events a stage will see again.", stage)
	f.deadEnds = m.counter("wasmill_events_dead_lettered_total", "Events that went from a stage to the dead-letter topic.", stage)
	f.batch = m.histogram("wasmill_batch_events", "Events in one call of a plugin.", stage, prometheus.ExponentialBuckets(1, 2, 13))
	f.call = m.histogram("wasmill_call_seconds", "Time one call of a plugin took.", stage, prometheus.ExponentialBuckets(0.000005, 2.5, 16))

	f.backpressure = m.counter("wasmill_backpressure_seconds_total", "Time a pipeline did not fetch or publish, by reason.", []string{"pipeline", "reason"})
	f.faults = m.counter("wasmill_faults_total", "Calls of a plugin that failed, by kind of fault.", append(stage[:3:3], "fault"))
	f.reloads = m.counter("wasmill_reloads_total",
		"Replacements of a plugin's generation, or of the configuration (no plugin label), by result.", []string{"plugin", "result"})
	f.logLines = m.counter("wasmill_log_lines_total", "Lines a plugin has logged.", []string{"plugin"})
	f.refusedGuest = m.counter("wasmill_guest_metrics_refused_total",
		"Values of a plugin's own metrics that were not kept: a bad name, another kind than before, or too many names.", []string{"plugin"})
	f.traces = m.counter("wasmill_traces_total",
		"Events whose trace was sent, refused by the receiver or for want of one, or dropped because too many waited, by result.", []string{"result"})

	m.handles.init(f)
	m.guests.init(m.registry, f.refusedGuest)
	m.status.init(func(plugin string) { m.handles.logLines.get(plugin) }) // what logs nothing has a rate, too
	m.registry.MustRegister(
		&m.status,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the registry. What can be gathered is served even when one
// collector fails.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		EnableOpenMetrics:   true, // exemplars travel in that format alone
		DisableCompression:  true, // it would take longer than all the rest
		MaxRequestsInFlight: 4,
	})
}

// Gather returns the registry for tests and for other expositions.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

func (m *Metrics) counter(name, help string, labels []string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) histogram(name, help string, labels []string, buckets []float64) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(v)
	return v
}
