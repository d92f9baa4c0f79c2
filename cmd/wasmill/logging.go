package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// newLogger makes the logger of a run: text for people, json for machines.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, invalid("--log-level %q: it is one of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, invalid("--log-format %q: it is one of text, json", format)
}

// logListener writes what plugins log, and that events were dead-lettered, to
// the log. Payloads are never logged.
func logListener(log *slog.Logger) event.Listener {
	var quiet limiter
	return event.Listener{
		Log: func(pipeline, plugin string, partition, level int, line string) {
			//nolint:sloglint // the message is the plugin's own
			log.LogAttrs(context.Background(), slog.Level(level), line,
				slog.String("plugin", plugin), slog.String("pipeline", pipeline), slog.Int("partition", partition))
		},
		DeadLettered: func(pipeline, stage, plugin string, seq uint64, kind, cause string) {
			ok, missed := quiet.allow(time.Now())
			if !ok {
				return
			}
			log.Warn("an event went to the dead letters", "pipeline", pipeline, "stage", stage, "plugin", plugin,
				"seq", seq, "fault", kind, "cause", cause, "not_logged_before", missed)
		},
	}
}

// limiter lets one line a second through: a stream of poison must not become a
// stream of log lines. dlq list and the metrics have them all.
type limiter struct {
	next   atomic.Int64 // ns since the epoch
	missed atomic.Int64
}

func (l *limiter) allow(now time.Time) (ok bool, missed int64) {
	at := l.next.Load()
	if now.UnixNano() < at || !l.next.CompareAndSwap(at, now.Add(time.Second).UnixNano()) {
		l.missed.Add(1)
		return false, 0
	}
	return true, l.missed.Swap(0)
}
