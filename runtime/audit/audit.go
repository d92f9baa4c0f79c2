// Package audit keeps what operators have done to an instance: who, when, what,
// from where, and what came of it, in a topic of its own.
//
// An action never waits for its record, and never fails for want of one: an
// operator must be able to pause a pipeline when the disk is full, which is
// when nothing can be stored. A record that cannot be stored is told at once
// (Record returns why, and the process's log has all of it), kept in memory, and
// stored, in order, as soon as the topic takes messages again. Records are lost
// only with the process, and more than 1000 of them, the oldest first.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

const (
	maxWaiting = 1000             // records that are kept while they cannot be stored
	patience   = 2 * time.Second  // for storing one
	retryFirst = time.Second      // after a failure; doubled up to retryLast
	retryLast  = 15 * time.Second // between two attempts
	sumWindow  = time.Minute      // in which requests of a kind become one record
	maxSums    = 1000             // kinds of requests that are summed up at a time
	maxText    = 4 << 10          // bytes of an error or a detail
)

// Topics stores and reads messages.
type Topics interface {
	Topic(ctx context.Context, name string) (status.Topic, error)
	// Next returns the first message at or behind fromSeq whose subject matches.
	Next(ctx context.Context, topic string, fromSeq uint64, subject string) (status.Message, error)
	Publish(ctx context.Context, topic string, m event.Output) (uint64, error)
}

// Log is the audit log of one process. Its methods are safe for concurrent use.
type Log struct {
	log      *slog.Logger
	instance string
	topics   Topics
	notFound error // what Topics.Next answers when there is no message

	kick chan struct{} // capacity 1: something waits
	stop chan struct{}
	done chan struct{} // closed when the writer has ended

	mu struct {
		sync.Mutex
		waiting []*waiting // oldest first
		sums    map[sumKey]*sum
		open    bool
		closed  bool
	}
}

// waiting is a record that is not stored yet.
type waiting struct {
	rec   status.AuditRecord
	tried chan error // capacity 1: what came of the first attempt to store it
}

// sumKey says which requests become one record.
type sumKey struct{ actor, role, remote, action, target string }

// sum is what came after the first of such requests.
type sum struct {
	until time.Time
	rec   status.AuditRecord
	n     map[string]int64 // the details that are numbers
}

// New returns a log that keeps records in memory until it is opened. log gets
// every record.
func New(log *slog.Logger) *Log {
	host, _ := os.Hostname() // "" where there is none
	l := &Log{log: log, instance: host, kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	l.mu.sums = map[sumKey]*sum{}
	return l
}

// Open begins to store records in the topic plan.Audit, which need not exist
// yet. notFound is the error, matched with errors.Is, that says that there is no
// message.
func (l *Log) Open(topics Topics, notFound error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.open || l.mu.closed {
		return
	}
	l.mu.open, l.topics, l.notFound = true, topics, notFound
	go l.write()
}

// Close stores what waits, tries no longer than a few seconds, and ends. What
// could not be stored is only in the process's log then. It is idempotent.
func (l *Log) Close() {
	l.mu.Lock()
	open, closed := l.mu.open, l.mu.closed
	l.mu.closed = true
	l.mu.Unlock()
	if closed || !open {
		return
	}
	close(l.stop)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.mu.waiting); n > 0 {
		l.log.Error("audit records could not be stored: they are only in this log", "records", n)
	}
}

// Record keeps a record and returns once it is stored, or why it is not yet;
// then it is kept all the same and stored later. It waits two seconds at most.
// Time, Instance and Outcome are filled when they are empty.
func (l *Log) Record(ctx context.Context, rec status.AuditRecord) error {
	w := l.add(rec)
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case err := <-w.tried:
		return err
	case <-ctx.Done():
		return errors.New("the topic does not answer")
	}
}

// Note is Record without waiting, for what must not be held up.
func (l *Log) Note(rec status.AuditRecord) { l.add(rec) }

// Summed is Record for requests that come many a second: the first of its kind
// is stored at once, those of the minute after it as one record, in which the
// counts are added up.
func (l *Log) Summed(ctx context.Context, rec status.AuditRecord, counts map[string]int64) error {
	if rec.Outcome == "" {
		rec.Outcome = status.AuditOK
	}
	key := sumKey{rec.Actor, rec.Role, rec.Remote, rec.Action, rec.Target}
	l.mu.Lock()
	s := l.mu.sums[key]
	if s != nil {
		s.rec.Requests++
		s.rec.Time = time.Now()
		for k, v := range counts {
			s.n[k] += v
		}
		l.mu.Unlock()
		return nil
	}
	if len(l.mu.sums) < maxSums {
		s = &sum{until: time.Now().Add(sumWindow), rec: rec, n: map[string]int64{}}
		s.rec.Details = nil
		l.mu.sums[key] = s
	}
	l.mu.Unlock()
	rec.Details = withCounts(rec.Details, counts)
	return l.Record(ctx, rec)
}

func withCounts(details map[string]string, counts map[string]int64) map[string]string {
	out := map[string]string{}
	for k, v := range details {
		out[k] = v
	}
	for k, v := range counts {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// add queues a record and writes it to the process's log.
func (l *Log) add(rec status.AuditRecord) *waiting {
	if rec.Time.IsZero() {
		rec.Time = time.Now()
	}
	rec.Time = rec.Time.UTC()
	if rec.Outcome == "" {
		rec.Outcome = status.AuditOK
	}
	rec.Instance, rec.Error = l.instance, clip(rec.Error)
	for k, v := range rec.Details {
		rec.Details[k] = clip(v)
	}
	l.log.Info("audit", attributes(&rec)...)
	w := &waiting{rec: rec, tried: make(chan error, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		l.log.Error("an audit record came after the end: it is only in this log", "action", rec.Action)
		return nil
	}
	l.queueLocked(w)
	signal(l.kick)
	return w
}

func (l *Log) queueLocked(w *waiting) {
	if len(l.mu.waiting) >= maxWaiting {
		l.log.Error("too many audit records wait to be stored: the oldest is only in this log", "action", l.mu.waiting[0].rec.Action)
		l.mu.waiting = slices.Delete(l.mu.waiting, 0, 1)
	}
	l.mu.waiting = append(l.mu.waiting, w)
}

// attributes is a record as the process's log has it.
func attributes(r *status.AuditRecord) []any {
	out := []any{"action", r.Action}
	add := func(key, value string) {
		if value != "" {
			out = append(out, key, value)
		}
	}
	add("target", r.Target)
	add("actor", r.Actor)
	add("role", r.Role)
	add("remote", r.Remote)
	add("outcome", r.Outcome)
	for _, k := range sortedKeys(r.Details) {
		add(k, r.Details[k])
	}
	add("error", r.Error)
	return out
}

// write is the goroutine that stores records, one after the other.
func (l *Log) write() {
	defer close(l.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	retry, sums := newAlarm(), newAlarm()
	defer retry.Stop()
	defer sums.Stop()
	delay := retryFirst
	for ended := false; ; {
		sums.at(l.sumUp(ended))
		switch err := l.flush(ctx, ended); {
		case ended:
			return
		case err != nil:
			retry.Reset(delay)
			delay = min(2*delay, retryLast)
		default:
			retry.Stop()
			delay = retryFirst
		}
		select {
		case <-l.kick:
		case <-retry.C:
		case <-sums.C:
		case <-l.stop:
			ended = true
		}
	}
}

// flush stores what waits, until one cannot be stored. At the end one attempt
// is all that there is time for.
func (l *Log) flush(ctx context.Context, ended bool) error {
	if ended {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for {
		l.mu.Lock()
		if len(l.mu.waiting) == 0 {
			l.mu.Unlock()
			return nil
		}
		w := l.mu.waiting[0]
		l.mu.Unlock()
		err := l.store(ctx, &w.rec)
		l.mu.Lock()
		if err == nil {
			if len(l.mu.waiting) > 0 && l.mu.waiting[0] == w { // else it was the oldest of too many
				l.mu.waiting = slices.Delete(l.mu.waiting, 0, 1)
			}
			w.tell(nil)
		} else {
			for _, w := range l.mu.waiting { // nobody waits for the next attempt
				w.tell(err)
			}
		}
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (w *waiting) tell(err error) {
	select {
	case w.tried <- err:
	default: // has been told
	}
}

func (l *Log) store(ctx context.Context, rec *status.AuditRecord) error {
	body, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode an audit record: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = l.topics.Publish(ctx, plan.Audit, event.Output{Subject: prefix + rec.Action, Payload: body})
	return err
}

// prefix is what the subjects of records begin with.
var prefix = strings.TrimSuffix(plan.AuditSubject, ">")

// sumUp queues the records of minutes that are over, or of all when it ends,
// and returns when the next one is; zero when there is none.
func (l *Log) sumUp(ended bool) (next time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, s := range l.mu.sums {
		if !ended && now.Before(s.until) {
			if next.IsZero() || s.until.Before(next) {
				next = s.until
			}
			continue
		}
		delete(l.mu.sums, key)
		if s.rec.Requests == 0 {
			continue
		}
		s.rec.Instance, s.rec.Time = l.instance, s.rec.Time.UTC()
		s.rec.Details = withCounts(nil, s.n)
		l.log.Info("audit", append(attributes(&s.rec), "requests", s.rec.Requests)...)
		l.queueLocked(&waiting{rec: s.rec, tried: make(chan error, 1)})
	}
	return next
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// alarm is a timer that is off until it is set.
type alarm struct{ *time.Timer }

func newAlarm() alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return alarm{t}
}

// at sets it to a time; zero is off.
func (a alarm) at(t time.Time) {
	if t.IsZero() {
		a.Stop()
		return
	}
	a.Reset(max(0, time.Until(t)))
}
