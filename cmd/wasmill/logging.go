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
	quiet := limiter{}
	return event.Listener{
		Log: func(pipeline, plugin string, partition, level int, line string) {
			//nolint:sloglint // the message is the plugin's own
			log.LogAttrs(context.Background(), slog.Level(level), line,
				slog.String("plugin", plugin), slog.String("pipeline", pipeline), slog.Int("partition", partition))
		},
		DeadLettered: func(pipeline, stage, plugin string, seq uint64, kind, cause string) {
			ok, missed := quiet.allow([3]string{pipeline, stage, kind}, time.Now())
			if !ok {
				return
			}
			log.Warn("an event went to the dead letters", "pipeline", pipeline, "stage", stage, "plugin", plugin,
				"seq", seq, "fault", kind, "cause", cause, "others_not_logged", missed)
		},
	}
}

// How many dead letters of a stage for the same kind of fault are logged: a few
// at once, then one in a while.
const (
	loggedAtOnce = 3
	loggedEvery  = 10 * time.Second
)

// limiter lets few of many lines through that say the same: a stream of poison
// must not become a stream of log lines. dlq list and the metrics have them all.
type limiter struct {
	mu sync.Mutex
	of map[[3]string]*repeated
}

// repeated counts the lines that say the same.
type repeated struct {
	left   int       // that are let through
	filled time.Time // when left last grew
	missed int       // not let through since the last one that was
}

func (l *limiter) allow(what [3]string, now time.Time) (ok bool, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of[what]
	if r == nil {
		if l.of == nil {
			l.of = map[[3]string]*repeated{}
		}
		r = &repeated{left: loggedAtOnce, filled: now}
		l.of[what] = r
	}
	if n := int(now.Sub(r.filled) / loggedEvery); n > 0 {
		r.left = min(r.left+n, loggedAtOnce)
		r.filled = r.filled.Add(time.Duration(n) * loggedEvery)
	}
	if r.left == 0 {
		r.missed++
		return false, 0
	}
	r.left--
	missed, r.missed = r.missed, 0
	return true, missed
}
