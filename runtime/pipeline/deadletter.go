package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

const (
	maxCause  = 1 << 10
	maxDetail = 4 << 10
)

// deadLetter writes the source event with the cause to the dead-letter topic.
// Invariant A1: its confirmation is part of what the batch waits for.
//
// What made an event fail must not keep it from being stored here. A header
// that cannot be written again, because it is no single line, is mended or left
// out; when the topic refuses the rest, the headers go and the payload stays.
func (r *run) deadLetter(ctx context.Context, k, at, attempts int, why failure) error {
	st := r.stages[k]
	r.reach(at)
	if at < 0 { // made by a plugin without an event: there is nothing to keep
		r.count(st, event.Counts{Dropped: 1})
		if why.kind == abi.FaultHandlerError || why.kind == abi.FaultPanic { // all others have been reported
			r.p.deps.Listener.Fault(r.p.cfg.Name, st.Name, st.Plugin, why.kind, errors.New(why.cause))
		}
		return nil
	}
	e := &r.batch.events[at]
	cfg := &r.p.cfg
	topic := len(cfg.Outputs)
	if cfg.Topic == cfg.DeadLetters && !cfg.Loop {
		return fmt.Errorf("%w: event %d comes from the dead-letter topic and would go back to it: %s", ErrHalted, e.Seq, why.cause)
	}
	msg := event.Output{Subject: DeadLetterPrefix + cfg.Name + "." + st.Name, Payload: e.Payload, Cause: e.Seq}
	var pos uint64
	var err error
	parent := ""
	if t := r.traceOf(at); t != nil {
		parent = t.Output(cfg.DeadLetters, r.p.deps.Tracer).Parent
	}
	for _, keep := range [...]bool{true, false} {
		r.deadHeaders(&msg, k, e, attempts, why, keep, parent)
		pos, err = r.sink.Add(ctx, topic, &msg)
		if no := new(event.RefusedError); !errors.As(err, &no) {
			break
		}
	}
	if err != nil {
		// Not even the dead-letter topic can keep it: halt rather than lose it.
		return fmt.Errorf("%w: event %d of topic %q cannot be dead-lettered (%s): %w", ErrHalted, e.Seq, cfg.Topic, why.cause, err)
	}
	r.pos[topic] = pos
	r.note(topic, &msg)
	if len(r.batch.traces) > 0 {
		r.traceNote(at, noteDeadLetter, st, attempts, 0, why)
		r.tracePublished(at, cfg.DeadLetters, &msg)
	}
	r.count(st, event.Counts{DeadLettered: 1})
	r.p.deps.Listener.DeadLettered(cfg.Name, st.Name, st.Plugin, e.Seq, why.kind, why.cause)
	return nil
}

// deadHeaders sets the headers of a dead letter: those of the event, as far as
// keep is set and they can be written again, and those that say what happened.
// parent, when not empty, takes the place of the event's traceparent.
func (r *run) deadHeaders(msg *event.Output, k int, e *abi.Event, attempts int, why failure, keep bool, parent string) {
	cfg, st := &r.p.cfg, r.stages[k]
	h, count, left := make([]byte, 0, 1024), 0, 0
	if parent != "" {
		h = abi.AppendHeader(h, event.HeaderTraceParent, parent)
		count++
	}
	for block := e.Headers; ; {
		key, value, rest, ok := abi.NextHeader(block)
		if !ok {
			break
		}
		block = rest
		switch {
		case reservedHeader(asString(key)), parent != "" && isTraceParent(asString(key)):
		case !keep || !headerName(key):
			left++
		default:
			h = abi.AppendHeader(h, string(key), oneLine.Replace(asString(value)))
			count++
		}
	}
	leftOut := ""
	if left > 0 {
		leftOut = strconv.Itoa(left)
	}
	for _, f := range [...][2]string{
		{HeaderCause, line(why.cause, maxCause)},
		{HeaderFault, why.kind},
		{HeaderPlugin, st.Plugin},
		{HeaderDigest, why.digest},
		{HeaderSourceTopic, cfg.Topic},
		{HeaderSourceSeq, strconv.FormatUint(e.Seq, 10)},
		{HeaderSourceSubject, oneLine.Replace(asString(e.Subject))},
		{HeaderAttempts, strconv.Itoa(attempts)},
		{HeaderDetail, line(why.detail, maxDetail)},
		{HeaderQuarantine, line(why.quarantine, maxCause)},
		{HeaderLeftOut, leftOut},
	} {
		if f[1] != "" {
			h = abi.AppendHeader(h, f[0], f[1])
			count++
		}
	}
	msg.Headers, msg.HeaderCount = h, count
}

// headerName reports whether key can be the name of a header.
func headerName(key []byte) bool {
	for _, c := range key {
		if c <= ' ' || c == ':' {
			return false
		}
	}
	return len(key) > 0
}

// line makes s fit for a header value: one line, valid UTF-8, at most limit bytes.
func line(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return lineBreaks.Replace(strings.TrimSpace(s))
}

// oneLine keeps everything but what would end a header.
var oneLine = strings.NewReplacer("\r\n", " | ", "\n", " | ", "\r", " ", "\x00", " ")

var lineBreaks = strings.NewReplacer("\r\n", " | ", "\n", " | ", "\r", " ", "\x00", " ", "\t", " ")
