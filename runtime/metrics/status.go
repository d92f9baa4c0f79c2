package metrics

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wasmill/wasmill/runtime/status"
)

// statusTimeout bounds how long a scrape waits for the engine and the broker.
const statusTimeout = 3 * time.Second

// statusCollector turns the engine's status into gauges at each scrape. A
// pipeline, topic or generation that is gone leaves no series behind.
type statusCollector struct {
	source atomic.Pointer[func(context.Context) status.Status]
	seen   func(plugin string) // called for each plugin at each scrape

	build, ready                  *prometheus.Desc
	running, lag                  *prometheus.Desc
	quarantined, quarantines      *prometheus.Desc
	inFlight, inFlightBytes       *prometheus.Desc
	partitions, restarts          *prometheus.Desc
	generation, loadSeconds       *prometheus.Desc
	memory                        *prometheus.Desc
	topicMessages, topicBytes     *prometheus.Desc
	topicLost, pipelineLost       *prometheus.Desc
	storeBytes, generationCounter *prometheus.Desc
	storing, storeFree            *prometheus.Desc
	storeRestarts                 *prometheus.Desc
}

var _ prometheus.Collector = (*statusCollector)(nil)

func (s *statusCollector) init(seen func(plugin string)) {
	s.seen = seen
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	s.build = desc("wasmill_build_info", "Always 1; the version is in the label.", "version")
	s.ready = desc("wasmill_ready", "1 when /readyz answers 200, otherwise 0.")
	s.running = desc("wasmill_pipeline_running", "1 when a pipeline is running, otherwise 0.", "pipeline")
	s.quarantined = desc("wasmill_pipeline_quarantined", "1 when a pipeline is set aside because it fails on nearly every event, otherwise 0.", "pipeline")
	s.quarantines = desc("wasmill_pipeline_quarantines_total", "Times a pipeline was set aside.", "pipeline")
	s.lag = desc("wasmill_lag_events", "Events of its topic that a pipeline has not finished.", "pipeline")
	s.inFlight = desc("wasmill_in_flight_events", "Events a pipeline holds now.", "pipeline")
	s.inFlightBytes = desc("wasmill_in_flight_bytes", "Bytes of the events a pipeline holds now.", "pipeline")
	s.partitions = desc("wasmill_pipeline_partitions", "Partitions of a pipeline.", "pipeline")
	s.restarts = desc("wasmill_pipeline_restarts_total", "Times a pipeline was started again after it had failed.", "pipeline")
	s.generation = desc("wasmill_generation_info", "Always 1; the digest of the generation in use is in the label.", "plugin", "digest")
	s.generationCounter = desc("wasmill_generation_number", "Number of the plugin's generation in use, counted from the start of the process.", "plugin")
	s.loadSeconds = desc("wasmill_generation_load_seconds", "Time it took to load the plugin's generation in use.", "plugin")
	s.memory = desc("wasmill_instance_memory_bytes", "Linear memory of all instances of a plugin.", "plugin")
	s.topicMessages = desc("wasmill_topic_messages", "Messages a topic holds.", "topic")
	s.topicBytes = desc("wasmill_topic_bytes", "Bytes a topic holds.", "topic")
	s.topicLost = desc("wasmill_topic_lost_total", "Messages of a topic that were stored and are gone, by damage of the store.", "topic")
	s.pipelineLost = desc("wasmill_events_lost_total", "Events that their topic lost before a pipeline had finished them.", "pipeline")
	s.storeBytes = desc("wasmill_store_bytes", "Bytes of the embedded server's store in use.")
	s.storing = desc("wasmill_store_storing", "1 when topics take messages, 0 when they refuse them because of a full or broken disk.")
	s.storeFree = desc("wasmill_store_free_bytes", "Bytes left on the disk of the embedded server's store.")
	s.storeRestarts = desc("wasmill_store_restarts_total", "Times the embedded server was restarted after its store had failed.")
}

// SetStatus names where the gauges of the status come from. fn is called once
// a scrape and must be safe for concurrent use; before the first call there
// are no such gauges.
func (m *Metrics) SetStatus(fn func(context.Context) status.Status) { m.status.source.Store(&fn) }

// Describe implements prometheus.Collector.
func (s *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.build, s.ready, s.running, s.quarantined, s.quarantines, s.lag, s.inFlight, s.inFlightBytes, s.partitions, s.restarts,
		s.generation, s.generationCounter, s.loadSeconds, s.memory, s.topicMessages, s.topicBytes, s.storeBytes,
		s.topicLost, s.pipelineLost, s.storing, s.storeFree, s.storeRestarts,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *statusCollector) Collect(ch chan<- prometheus.Metric) {
	fn := s.source.Load()
	if fn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	st := (*fn)(ctx)

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(s.build, 1, st.Version)
	gauge(s.ready, one(st.Ready))
	gauge(s.storeBytes, float64(st.Server.StoreBytes))
	gauge(s.storing, one(st.Server.Storing))
	gauge(s.storeFree, float64(st.Server.StoreFree))
	ch <- prometheus.MustNewConstMetric(s.storeRestarts, prometheus.CounterValue, float64(st.Server.StoreRestarts))
	for i := range st.Pipelines {
		p := &st.Pipelines[i]
		gauge(s.running, one(p.State == status.StateRunning), p.Name)
		gauge(s.quarantined, one(p.State == status.StateQuarantined), p.Name)
		ch <- prometheus.MustNewConstMetric(s.quarantines, prometheus.CounterValue, float64(p.Quarantines), p.Name)
		gauge(s.lag, float64(p.Lag), p.Name)
		gauge(s.inFlight, float64(p.InFlight), p.Name)
		gauge(s.inFlightBytes, float64(p.InFlightBytes), p.Name)
		gauge(s.partitions, float64(p.Partitions), p.Name)
		ch <- prometheus.MustNewConstMetric(s.restarts, prometheus.CounterValue, float64(p.Restarts), p.Name)
		ch <- prometheus.MustNewConstMetric(s.pipelineLost, prometheus.CounterValue, float64(p.Lost), p.Name)
	}
	for i := range st.Plugins {
		p := &st.Plugins[i]
		s.seen(p.Name)
		gauge(s.generation, 1, p.Name, p.Generation.Digest)
		gauge(s.generationCounter, float64(p.Generation.Number), p.Name)
		gauge(s.loadSeconds, p.Generation.Compile, p.Name)
		gauge(s.memory, float64(p.Generation.Memory), p.Name)
	}
	for i := range st.Topics {
		t := &st.Topics[i]
		gauge(s.topicMessages, float64(t.Messages), t.Name)
		gauge(s.topicBytes, float64(t.Bytes), t.Name)
		ch <- prometheus.MustNewConstMetric(s.topicLost, prometheus.CounterValue, float64(t.Lost), t.Name)
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
