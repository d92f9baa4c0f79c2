package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/abi"
)

// headerRedrive names the dead letter that a redriven event comes from.
const headerRedrive = "Wasmill-Redrive"

// defaultList is how many dead letters a list holds unless it is told.
const defaultList = 100

// firstWindow is how many sequences List looks at first, from the end; each
// further window is twice as large.
const firstWindow = 256

// DeadLetters reads and changes the dead-letter topic. Safe for concurrent
// use. A dead letter's id is its sequence in that topic.
type DeadLetters struct {
	messages messageStore
	turn     chan struct{} // capacity 1: held by who changes them, so that two never redrive the same one
}

// DeadLetters returns the dead letters of this engine's broker.
func (e *Engine) DeadLetters() DeadLetters { return DeadLetters{e.messages, e.letters} }

func (d DeadLetters) lock(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another change of the dead letters is at work: %w", ctx.Err())
	}
}

func (d DeadLetters) unlock() { <-d.turn }

// List returns the dead letters that f chooses, newest first.
func (d DeadLetters) List(ctx context.Context, f status.DeadLetterFilter) ([]status.DeadLetter, error) {
	if f.Limit <= 0 {
		f.Limit = defaultList
	}
	topic, err := d.messages.Topic(ctx, plan.DeadLetters)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	var list []status.DeadLetter
	end := topic.LastSeq + 1
	if f.Before > 0 {
		end = min(end, f.Before)
	}
	topic.FirstSeq = max(topic.FirstSeq, f.After+1)
	// The broker only searches forward, so newest first means windows.
	for window := uint64(firstWindow); end > topic.FirstSeq && len(list) < f.Limit; window *= 2 {
		begin := topic.FirstSeq
		if end > begin+window {
			begin = end - window
		}
		var found []status.DeadLetter
		err := d.walk(ctx, f, begin, end, func(l status.DeadLetter) error {
			found = append(found, l)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		slices.Reverse(found)
		list = append(list, found[:min(len(found), f.Limit-len(list))]...)
		end = begin
	}
	return list, nil
}

// Show returns one dead letter; ErrNotFound when there is none with that id.
func (d DeadLetters) Show(ctx context.Context, id uint64) (status.DeadLetter, error) {
	m, err := d.messages.Get(ctx, plan.DeadLetters, id)
	if errors.Is(err, broker.ErrNotFound) {
		return status.DeadLetter{}, fmt.Errorf("dead letter %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return status.DeadLetter{}, fmt.Errorf("show dead letter %d: %w", id, err)
	}
	return deadLetter(&m), nil
}

// RedriveEdited publishes the original of one dead letter, changed as edit says,
// to its source topic again and removes the record, as Redrive does. It returns
// the sequence at which it is stored.
func (d DeadLetters) RedriveEdited(ctx context.Context, id uint64, edit status.Edit) (uint64, error) {
	if err := d.lock(ctx); err != nil {
		return 0, err
	}
	defer d.unlock()
	l, err := d.Show(ctx, id)
	if err != nil {
		return 0, err
	}
	if edit.Subject != nil {
		l.SourceSubject = *edit.Subject
	}
	if edit.Headers != nil {
		l.Headers = edit.Headers
	}
	if edit.Payload != nil {
		l.Payload, l.Base64 = *edit.Payload, nil
	}
	if edit.Base64 != nil {
		l.Base64 = edit.Base64
	}
	out, err := original(&l)
	if err == nil {
		if bad := abi.CheckHeaders(out.Headers, out.HeaderCount); bad != nil {
			err = &event.RefusedError{Topic: l.SourceTopic, Reason: bad.Error()}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("redrive dead letter %d: %w", id, err)
	}
	seq, err := d.messages.Publish(ctx, l.SourceTopic, out)
	if err != nil {
		return 0, fmt.Errorf("redrive dead letter %d: %w", id, err)
	}
	if err := d.messages.DeleteMessage(ctx, plan.DeadLetters, id); err != nil && !errors.Is(err, broker.ErrNotFound) {
		return seq, fmt.Errorf("redrive dead letter %d: it is stored as event %d of topic %q, the record stays: %w", id, seq, l.SourceTopic, err)
	}
	return seq, nil
}

// Purge removes the records with those ids or, when there are none, those that
// f chooses, and returns how many it has removed.
func (d DeadLetters) Purge(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (int, error) {
	n, err := d.forEach(ctx, ids, f, func(l status.DeadLetter) error {
		return d.messages.DeleteMessage(ctx, plan.DeadLetters, l.ID)
	})
	if err != nil {
		return n, fmt.Errorf("purge dead letters (%d done): %w", n, err)
	}
	return n, nil
}

var (
	errEnough = errors.New("enough")     // ends a walk
	errLeft   = errors.New("left alone") // goes on without counting
)

// forEach calls do for the chosen dead letters that exist when it is called,
// and returns for how many it succeeded.
func (d DeadLetters) forEach(ctx context.Context, ids []uint64, f status.DeadLetterFilter, do func(status.DeadLetter) error) (int, error) {
	if err := d.lock(ctx); err != nil {
		return 0, err
	}
	defer d.unlock()
	n := 0
	if len(ids) > 0 {
		for _, id := range ids {
			l, err := d.Show(ctx, id)
			if err == nil {
				err = do(l)
			}
			if errors.Is(err, errLeft) {
				continue
			}
			if err != nil {
				return n, fmt.Errorf("dead letter %d: %w", id, err)
			}
			n++
		}
		return n, nil
	}
	topic, err := d.messages.Topic(ctx, plan.DeadLetters)
	if err != nil {
		return n, err
	}
	// Up to the last one there is now: a redriven event that fails again must
	// not be redriven again.
	end := topic.LastSeq + 1
	if f.Before > 0 {
		end = min(end, f.Before)
	}
	err = d.walk(ctx, f, max(topic.FirstSeq, f.After+1), end, func(l status.DeadLetter) error {
		if err := do(l); errors.Is(err, errLeft) {
			return nil
		} else if err != nil {
			return fmt.Errorf("dead letter %d: %w", l.ID, err)
		}
		if n++; n == f.Limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// walk calls do, oldest first, for the dead letters from begin to before end
// that f chooses.
func (d DeadLetters) walk(ctx context.Context, f status.DeadLetterFilter, begin, end uint64, do func(status.DeadLetter) error) error {
	subject := strings.TrimSuffix(plan.DeadLetterSubject, ">") + orAny(f.Pipeline) + "." + orAny(f.Stage)
	for seq := max(begin, 1); seq < end; {
		m, err := d.messages.Next(ctx, plan.DeadLetters, seq, subject)
		if errors.Is(err, broker.ErrNotFound) || (err == nil && m.Seq >= end) {
			return nil
		}
		if err != nil {
			return err
		}
		seq = m.Seq + 1
		l := deadLetter(&m)
		if !chosen(&f, &l) {
			continue
		}
		if err := do(l); err != nil {
			return err
		}
	}
	return nil
}

// chosen says whether the filter chooses a dead letter of its pipeline and stage.
func chosen(f *status.DeadLetterFilter, l *status.DeadLetter) bool {
	switch {
	case f.Plugin != "" && l.Plugin != f.Plugin, f.Fault != "" && l.Fault != f.Fault,
		f.Subject != "" && !event.Match(f.Subject, l.SourceSubject),
		f.Reason != "" && !strings.Contains(strings.ToLower(l.Cause), strings.ToLower(f.Reason)),
		l.Time.Before(f.Since), !f.Until.IsZero() && !l.Time.Before(f.Until):
		return false
	}
	return true
}

func orAny(token string) string {
	if token == "" {
		return "*"
	}
	return token
}

// deadLetter reads a record.
func deadLetter(m *status.Message) status.DeadLetter {
	get := func(key string) string {
		if v := m.Headers[key]; len(v) > 0 {
			return v[len(v)-1] // the pipeline's own come behind the original's
		}
		return ""
	}
	l := status.DeadLetter{
		ID: m.Seq, Time: m.Time, Plugin: get(pipeline.HeaderPlugin), Digest: get(pipeline.HeaderDigest), Fault: get(pipeline.HeaderFault),
		Cause: get(pipeline.HeaderCause), Detail: get(pipeline.HeaderDetail), SourceTopic: get(pipeline.HeaderSourceTopic), SourceSubject: get(pipeline.HeaderSourceSubject),
		Quarantine: get(pipeline.HeaderQuarantine),
		Payload:    m.Payload, Base64: m.Base64,
	}
	if rest := strings.TrimPrefix(m.Subject, strings.TrimSuffix(plan.DeadLetterSubject, ">")); rest != m.Subject {
		l.Pipeline, l.Stage, _ = strings.Cut(rest, ".")
	}
	l.Attempts, _ = strconv.Atoi(get(pipeline.HeaderAttempts))
	l.SourceSeq, _ = strconv.ParseUint(get(pipeline.HeaderSourceSeq), 10, 64)
	for k, v := range m.Headers {
		if isOwnHeader(k) {
			continue
		}
		if l.Headers == nil {
			l.Headers = map[string][]string{}
		}
		l.Headers[k] = v
	}
	return l
}

// isOwnHeader tells what the pipeline added to a record from what the event
// had. Wasmill-Source is the event's own: it says where it came from.
func isOwnHeader(key string) bool {
	switch key {
	case pipeline.HeaderCause, pipeline.HeaderDetail, pipeline.HeaderFault, pipeline.HeaderPlugin, pipeline.HeaderDigest, pipeline.HeaderAttempts,
		pipeline.HeaderSourceTopic, pipeline.HeaderSourceSeq, pipeline.HeaderSourceSubject, pipeline.HeaderQuarantine, pipeline.HeaderLeftOut:
		return true
	}
	return false
}

// original is the event that a record was made of.
func original(l *status.DeadLetter) (event.Output, error) {
	if l.SourceTopic == "" || l.SourceSubject == "" {
		return event.Output{}, errors.New("the record does not say which topic and subject the event came from")
	}
	out := event.Output{Subject: l.SourceSubject, Payload: []byte(l.Payload)}
	if l.Base64 != nil {
		out.Payload = l.Base64
	}
	for _, key := range slices.Sorted(maps.Keys(l.Headers)) {
		for _, v := range l.Headers[key] {
			out.Headers = abi.AppendHeader(out.Headers, key, v)
			out.HeaderCount++
		}
	}
	out.Headers = abi.AppendHeader(out.Headers, headerRedrive, strconv.FormatUint(l.ID, 10))
	out.HeaderCount++
	return out, nil
}
