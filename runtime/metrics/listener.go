package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wasmill/wasmill/runtime/event"
)

type (
	stageKey  struct{ pipeline, stage, plugin string }
	topicKey  struct{ pipeline, topic string }
	reasonKey struct{ pipeline, reason string }
	faultKey  struct{ pipeline, stage, plugin, fault string }
)

type pipelineHandles struct {
	events, bytes, done prometheus.Counter
	endToEnd            prometheus.Observer
}

type stageHandles struct {
	in, out, dropped, retried, deadEnds prometheus.Counter
	batch, call                         prometheus.Observer
}

type topicHandles struct{ events, bytes prometheus.Counter }

// handles holds the resolved children of the families, one cache per label set.
type handles struct {
	pipelines cache[string, *pipelineHandles]
	stages    cache[stageKey, *stageHandles]
	topics    cache[topicKey, *topicHandles]
	reasons   cache[reasonKey, prometheus.Counter]
	faults    cache[faultKey, prometheus.Counter]
	logLines  cache[string, prometheus.Counter]
}

func (h *handles) init(f *families) {
	h.pipelines.init(func(p string) *pipelineHandles {
		return &pipelineHandles{
			events:   f.fetchedEvents.WithLabelValues(p),
			bytes:    f.fetchedBytes.WithLabelValues(p),
			done:     f.doneEvents.WithLabelValues(p),
			endToEnd: f.endToEnd.WithLabelValues(p),
		}
	})
	h.stages.init(func(k stageKey) *stageHandles {
		return &stageHandles{
			in:       f.in.WithLabelValues(k.pipeline, k.stage, k.plugin),
			out:      f.out.WithLabelValues(k.pipeline, k.stage, k.plugin),
			dropped:  f.dropped.WithLabelValues(k.pipeline, k.stage, k.plugin),
			retried:  f.retried.WithLabelValues(k.pipeline, k.stage, k.plugin),
			deadEnds: f.deadEnds.WithLabelValues(k.pipeline, k.stage, k.plugin),
			batch:    f.batch.WithLabelValues(k.pipeline, k.stage, k.plugin),
			call:     f.call.WithLabelValues(k.pipeline, k.stage, k.plugin),
		}
	})
	h.topics.init(func(k topicKey) *topicHandles {
		return &topicHandles{
			events: f.publishedEvents.WithLabelValues(k.pipeline, k.topic),
			bytes:  f.publishedBytes.WithLabelValues(k.pipeline, k.topic),
		}
	})
	h.reasons.init(func(k reasonKey) prometheus.Counter {
		return f.backpressure.WithLabelValues(k.pipeline, k.reason)
	})
	h.faults.init(func(k faultKey) prometheus.Counter {
		return f.faults.WithLabelValues(k.pipeline, k.stage, k.plugin, k.fault)
	})
	h.logLines.init(func(plugin string) prometheus.Counter { return f.logLines.WithLabelValues(plugin) })
}

// Listener returns the functions that count what the data path reports. They
// take no lock and allocate nothing once a label set has been seen. Lag and
// what is in flight come from the engine's status at the scrape, see SetStatus,
// so that they vanish with their pipeline.
func (m *Metrics) Listener() event.Listener {
	h, f := &m.handles, &m.families
	return event.Listener{
		Fetched: func(pipeline string, n, bytes int, _ uint64) {
			p := h.pipelines.get(pipeline)
			p.events.Add(float64(n))
			p.bytes.Add(float64(bytes))
		},
		Called: func(pipeline, stage, plugin string, n int, d time.Duration, _ error, trace event.TraceID) {
			s := h.stages.get(stageKey{pipeline, stage, plugin})
			s.batch.Observe(float64(n))
			observe(s.call, d, trace)
		},
		Stage: func(pipeline, stage, plugin string, c event.Counts) {
			s := h.stages.get(stageKey{pipeline, stage, plugin})
			add(s.in, c.In)
			add(s.out, c.Out)
			add(s.dropped, c.Dropped)
			add(s.retried, c.Retried)
			add(s.deadEnds, c.DeadLettered)
		},
		Published: func(pipeline, topic string, n, bytes int) {
			t := h.topics.get(topicKey{pipeline, topic})
			t.events.Add(float64(n))
			t.bytes.Add(float64(bytes))
		},
		Done: func(pipeline string, n, _ int, oldest time.Duration, trace event.TraceID) {
			p := h.pipelines.get(pipeline)
			p.done.Add(float64(n))
			observe(p.endToEnd, oldest, trace)
		},
		Blocked: func(pipeline, reason string, d time.Duration) {
			h.reasons.get(reasonKey{pipeline, reason}).Add(max(d, 0).Seconds())
		},
		Fault: func(pipeline, stage, plugin, kind string, _ error) {
			h.faults.get(faultKey{pipeline, stage, plugin, kind}).Inc()
		},
		Reload: func(what, name, _, result string, _ error) {
			if what != "plugin" {
				name = ""
			}
			f.reloads.WithLabelValues(name, result).Inc()
		},
		Log:    func(_, plugin string, _, _ int, _ string) { h.logLines.get(plugin).Inc() },
		Traced: func(result string, n int) { f.traces.WithLabelValues(result).Add(float64(n)) },
		Metric: func(pipeline, plugin, name string, kind int, value float64) {
			m.guests.record(pipeline, plugin, name, kind, value)
		},
	}
}

func add(c prometheus.Counter, n int) {
	if n > 0 {
		c.Add(float64(n))
	}
}

// observe adds d to a histogram, with the trace of an event as an exemplar.
func observe(o prometheus.Observer, d time.Duration, trace event.TraceID) {
	v := max(d, 0).Seconds()
	if e, ok := o.(prometheus.ExemplarObserver); ok && trace != (event.TraceID{}) {
		e.ObserveWithExemplar(v, prometheus.Labels{"trace_id": trace.String()})
		return
	}
	o.Observe(v)
}
