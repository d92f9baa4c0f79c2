package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Lease is the right of this process to run a pipeline. On an embedded server
// it is a formality, since no other process can use the store.
//
// On an external server it is the last message on a subject of its own, written
// with the expected last sequence of that subject (compare and set). The owner
// writes it again every leaseRenew. A process that waits watches the message's
// sequence and takes over once it has not moved for leaseTTL, measured by its
// own monotonic clock from when it saw it: no two clocks are compared. The
// owner counts from before it sent its last successful renewal and gives up
// leaseRenew earlier than anybody can take over. A process that gave up because
// the server was away takes its own record again at once: it has stopped the
// pipeline, and the expected sequence says that nobody else has begun. The
// sources and sinks of the pipeline that are opened meanwhile are bound to the
// lease's tenure.
type Lease struct {
	b        *Broker // nil when embedded
	pipeline string
	record   leaseRecord
	tenure   *tenure // nil when embedded
	lost     chan struct{}
	stop     context.CancelFunc
	ended    chan struct{} // closed when the renewing goroutine has returned

	// Owned by the renewing goroutine until ended is closed.
	revision uint64

	release sync.Once
}

type leaseRecord struct {
	Owner string `json:"owner"` // "" when released; one token a process
	Host  string `json:"host,omitempty"`
	PID   int    `json:"pid,omitempty"`
}

// AcquireLease returns when this process owns the pipeline: at once on an
// embedded server (where it protects the pipeline's consumer from applications,
// see Protect), else when no other process has it. It returns ctx's error
// when ctx ends first, and ErrClosed when the broker is closed.
func (b *Broker) AcquireLease(ctx context.Context, pipeline string) (*Lease, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	l := &Lease{pipeline: pipeline, lost: make(chan struct{}), ended: make(chan struct{})}
	if b.embedded != nil {
		if err := b.Protect(pipeline); err != nil {
			return nil, err
		}
		close(l.ended)
		return l, nil
	}
	if err := b.state.ensure(ctx); err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only shown to people
	l.b, l.record = b, leaseRecord{Owner: b.owner, Host: host, PID: os.Getpid()}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	sent, err := l.acquire(ctx)
	if b.life.Err() != nil {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("acquire the lease of pipeline %q: %w", pipeline, err)
	}
	renewing, stop := context.WithCancel(b.life)
	l.stop = stop
	if !b.track() {
		stop()
		return nil, ErrClosed
	}
	l.begin(sent)
	go func() {
		defer b.workers.Done()
		defer close(l.ended)
		l.renew(renewing, sent)
	}()
	return l, nil
}

// Lost is closed when this process must stop running the pipeline: another one
// has taken it, or renewing has failed for too long, or the broker is closed.
// Release does not close it.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release gives the pipeline up, so that a waiting process has it at once. It
// is idempotent and waits. When the server cannot be reached before ctx ends,
// others take over when the lease runs out.
func (l *Lease) Release(ctx context.Context) {
	if l.b == nil {
		return
	}
	l.release.Do(func() {
		l.stop()
		<-l.ended
		l.tenure.end()
		if l.isLost() {
			return
		}
		ctx, cancel := l.b.bound(ctx)
		defer cancel()
		if _, err := l.write(ctx, leaseRecord{}); err != nil {
			l.b.log.Warn("the lease could not be released, others take over when it runs out", "pipeline", l.pipeline, "error", err)
		}
	})
}

// begin makes the tenure of a lease that was sent at that time.
func (l *Lease) begin(sent time.Time) {
	l.tenure = newTenure()
	l.extend(sent)
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.b.mu.tenures[l.pipeline] = l.tenure
}

// extend makes the tenure last as long as nobody can take over the record that
// was sent at that time.
func (l *Lease) extend(sent time.Time) {
	t := l.b.cfg.timing
	l.tenure.extend(uptime() - time.Since(sent) + t.leaseTTL - t.leaseRenew)
}

// lose ends the lease.
func (l *Lease) lose() {
	l.tenure.end()
	close(l.lost)
}

// tenureOf is what the data path of a pipeline is bound to; nil when no other
// process can take the pipeline over.
func (b *Broker) tenureOf(pipeline string) *tenure {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.tenures[pipeline]
}

func (l *Lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// acquire returns when the record is ours, with the time before it was sent.
func (l *Lease) acquire(ctx context.Context) (sent time.Time, err error) {
	t := l.b.cfg.timing
	// Plain subscriptions see every write to the subject, refused ones too: a
	// hint to read, nothing more.
	hints := make(chan struct{}, 1)
	sub, err := l.b.nc.Subscribe(l.subject(), func(*nats.Msg) {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return sent, fmt.Errorf("watch: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()

	var seen struct {
		revision uint64
		at       time.Time
	}
	waiting := false
	for {
		rec, revision, err := l.read(ctx)
		switch {
		case ctx.Err() != nil:
			return sent, ctx.Err()
		case err != nil:
			l.b.log.Warn("cannot read the lease, trying again", "pipeline", l.pipeline, "error", err)
			seen.at = time.Now() // what is not seen does not age
		default:
			now := time.Now()
			if revision != seen.revision {
				seen.revision, seen.at = revision, now
			}
			if rec.Owner == "" || rec.Owner == l.record.Owner || now.Sub(seen.at) >= t.leaseTTL {
				l.revision, sent = revision, now
				ok, err := l.write(ctx, l.record)
				if ok {
					return sent, nil
				}
				if err != nil && ctx.Err() == nil {
					l.b.log.Warn("cannot take the lease, trying again", "pipeline", l.pipeline, "error", err)
				}
			} else if !waiting {
				waiting = true
				l.b.log.Info("standing by, another process runs this pipeline", "pipeline", l.pipeline, "host", rec.Host, "pid", rec.PID)
			}
		}
		wait := t.leaseRenew
		if left := t.leaseTTL - time.Since(seen.at); seen.revision != 0 && left > 0 {
			wait = min(wait, left)
		}
		if err := pause(ctx, wait, hints); err != nil {
			return sent, err
		}
	}
}

// pause waits for d, a hint, or the end of ctx.
func pause(ctx context.Context, d time.Duration, hints <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	case <-hints:
	}
	return nil
}

// renew keeps the record ours until ctx ends; it closes lost when it cannot.
func (l *Lease) renew(ctx context.Context, last time.Time) {
	t := l.b.cfg.timing
	next := time.NewTimer(t.leaseRenew)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			if l.b.life.Err() != nil {
				l.lose()
			}
			return
		case <-next.C:
		}
		deadline := last.Add(t.leaseTTL - t.leaseRenew)
		sent := time.Now()
		// A server that restarts answers nothing of what it got before: several
		// short attempts find it sooner than one long.
		attempt, cancel := context.WithDeadline(ctx, earlier(deadline, sent.Add(t.leaseRenew/2)))
		ok, err := l.write(attempt, l.record)
		cancel()
		next.Reset(t.leaseRenew / 8)
		switch {
		case ok:
			last = sent
			l.extend(sent)
			next.Reset(t.leaseRenew)
			continue
		case ctx.Err() != nil:
			continue
		case err == nil:
			// Somebody wrote: an earlier renewal of ours whose answer was lost, or another process.
			attempt, cancel := context.WithDeadline(ctx, earlier(deadline, time.Now().Add(t.leaseRenew)))
			rec, revision, err := l.read(attempt)
			cancel()
			if err == nil && rec.Owner != l.record.Owner {
				l.b.log.Warn("another process has taken this pipeline", "pipeline", l.pipeline, "host", rec.Host, "pid", rec.PID)
				l.lose()
				return
			}
			if err == nil {
				l.revision = revision // the next renewal confirms it
			}
		default:
			l.b.log.Warn("the lease could not be renewed, trying again", "pipeline", l.pipeline, "error", err)
		}
		if !time.Now().Before(deadline) {
			l.b.log.Error("the lease has run out", "pipeline", l.pipeline)
			l.lose()
			return
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// write stores rec if the record's revision is still l.revision. ok is false
// with a nil error when it is not.
func (l *Lease) write(ctx context.Context, rec leaseRecord) (ok bool, err error) {
	body, err := json.Marshal(rec)
	if err != nil {
		return false, fmt.Errorf("encode lease: %w", err)
	}
	revision, err := l.b.state.put(ctx, l.subject(), body, l.revision)
	if errors.Is(err, errRevision) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.revision = revision
	return true, nil
}

// read asks the stream's leader, since a replica may be behind. A pipeline that
// was never run has revision 0.
func (l *Lease) read(ctx context.Context) (rec leaseRecord, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.b.cfg.timing.connect)
	defer cancel()
	body, revision, err := l.b.state.get(ctx, l.subject())
	switch {
	case errors.Is(err, ErrNotFound):
		return rec, 0, nil
	case err != nil:
		return rec, 0, err
	}
	// A record that cannot be read belongs to nobody and is overwritten.
	if json.Unmarshal(body, &rec) != nil {
		rec = leaseRecord{}
	}
	return rec, revision, nil
}

func (l *Lease) subject() string { return leaseSubject + l.pipeline }
