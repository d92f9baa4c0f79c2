package event

import "time"

// WithDefaults returns l with a no-op in place of every nil field.
func (l Listener) WithDefaults() Listener { return Tee(l) }

// Tee returns a Listener that calls each of ls in order.
func Tee(ls ...Listener) Listener {
	return Listener{
		Fetched: func(pipeline string, n, bytes int, lag uint64) {
			for i := range ls {
				if f := ls[i].Fetched; f != nil {
					f(pipeline, n, bytes, lag)
				}
			}
		},
		Called: func(pipeline, stage, plugin string, n int, d time.Duration, err error, trace TraceID) {
			for i := range ls {
				if f := ls[i].Called; f != nil {
					f(pipeline, stage, plugin, n, d, err, trace)
				}
			}
		},
		Stage: func(pipeline, stage, plugin string, c Counts) {
			for i := range ls {
				if f := ls[i].Stage; f != nil {
					f(pipeline, stage, plugin, c)
				}
			}
		},
		Published: func(pipeline, topic string, n, bytes int) {
			for i := range ls {
				if f := ls[i].Published; f != nil {
					f(pipeline, topic, n, bytes)
				}
			}
		},
		Done: func(pipeline string, n, bytes int, oldest time.Duration, trace TraceID) {
			for i := range ls {
				if f := ls[i].Done; f != nil {
					f(pipeline, n, bytes, oldest, trace)
				}
			}
		},
		Blocked: func(pipeline, reason string, d time.Duration) {
			for i := range ls {
				if f := ls[i].Blocked; f != nil {
					f(pipeline, reason, d)
				}
			}
		},
		InFlight: func(pipeline string, events, bytes int) {
			for i := range ls {
				if f := ls[i].InFlight; f != nil {
					f(pipeline, events, bytes)
				}
			}
		},
		Fault: func(pipeline, stage, plugin, kind string, err error) {
			for i := range ls {
				if f := ls[i].Fault; f != nil {
					f(pipeline, stage, plugin, kind, err)
				}
			}
		},
		DeadLettered: func(pipeline, stage, plugin string, seq uint64, kind, cause string) {
			for i := range ls {
				if f := ls[i].DeadLettered; f != nil {
					f(pipeline, stage, plugin, seq, kind, cause)
				}
			}
		},
		PipelineState: func(pipeline, state string, err error) {
			for i := range ls {
				if f := ls[i].PipelineState; f != nil {
					f(pipeline, state, err)
				}
			}
		},
		Reload: func(what, name, digest, result string, err error) {
			for i := range ls {
				if f := ls[i].Reload; f != nil {
					f(what, name, digest, result, err)
				}
			}
		},
		Log: func(pipeline, plugin string, partition, level int, line string) {
			for i := range ls {
				if f := ls[i].Log; f != nil {
					f(pipeline, plugin, partition, level, line)
				}
			}
		},
		Metric: func(pipeline, plugin, name string, kind int, value float64) {
			for i := range ls {
				if f := ls[i].Metric; f != nil {
					f(pipeline, plugin, name, kind, value)
				}
			}
		},
		Traced: func(result string, n int) {
			for i := range ls {
				if f := ls[i].Traced; f != nil {
					f(result, n)
				}
			}
		},
	}
}
