package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
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
				"seq", seq, "fault", kind, "cause", cause, "others_not_logged", missed)
		},
	}
}

// logged is how many dead letters a second are logged.
const logged = 10

// limiter lets a few lines a second through: a stream of poison must not become
// a stream of log lines. dlq list and the metrics have them all.
type limiter struct {
	mu     sync.Mutex
	end    time.Time // of the second at hand
	left   int       // lines that it still lets through
	missed int       // lines not let through since the last one that was
}

func (l *limiter) allow(now time.Time) (ok bool, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.end) {
		l.end, l.left = now.Add(time.Second), logged
	}
	if l.left == 0 {
		l.missed++
		return false, 0
	}
	l.left--
	missed, l.missed = l.missed, 0
	return true, missed
}
