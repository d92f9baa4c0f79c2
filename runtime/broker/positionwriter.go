package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

const (
	// positionTimeout bounds one request about a record.
	positionTimeout = 5 * time.Second
	// positionRetry is the pause after a failed write; it doubles up to positionLastRetry.
	positionRetry     = 20 * time.Millisecond
	positionLastRetry = 2 * time.Second
)

// position is a pipeline's claimed position. One goroutine writes the record:
// whatever advance was told meanwhile goes out in one write, so that a busy
// pipeline writes as often as the server answers and an idle one not at all.
// All methods are safe for concurrent use.
type position struct {
	state    *stateStore
	pipeline string
	subject  string
	moved    func()
	life     context.Context //nolint:containedctx // it is the life of the writing goroutine
	end      context.CancelFunc
	kick     chan struct{} // capacity 1
	done     chan struct{} // closed when the writing goroutine has ended

	mu struct {
		sync.Mutex
		rec      positionRecord // as stored
		revision uint64
		want     uint64
		idle     chan struct{} // closed when nothing is left to store; nil = nobody waits
		trouble  string        // why the last write failed; "" since the last success
		err      error
	}
}

func newPosition(s *stateStore, pipeline string, rec positionRecord, revision uint64, moved func()) *position {
	p := &position{
		state: s, pipeline: pipeline, subject: positionSubject(pipeline, rec.Topic), moved: moved,
		kick: make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.mu.rec, p.mu.revision, p.mu.want = rec, revision, rec.Position
	go p.run()
	return p
}

// advance asks for every event up to seq to be noted as finished. It does not
// wait; what is behind the position already changes nothing.
func (p *position) advance(seq uint64) {
	p.mu.Lock()
	more := seq > p.mu.want && p.mu.err == nil
	if more {
		p.mu.want = seq
	}
	p.mu.Unlock()
	if more {
		select {
		case p.kick <- struct{}{}:
		default:
		}
	}
}

// stored is the position that a crash does not undo.
func (p *position) stored() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.rec.Position
}

// record returns the record as stored and its revision.
func (p *position) record() (positionRecord, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.rec, p.mu.revision
}

// failed says why the position will never be written again; ErrReplaced when
// another process has claimed it.
func (p *position) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.err
}

// trouble says why the position is not being stored at the moment, or is "".
func (p *position) trouble() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.trouble
}

// close waits until everything is stored, writing has failed for good, or ctx
// ends. Then nothing is written any more. Idempotent.
func (p *position) close(ctx context.Context) {
	p.mu.Lock()
	var idle chan struct{}
	if p.mu.err == nil && p.mu.want > p.mu.rec.Position {
		if p.mu.idle == nil {
			p.mu.idle = make(chan struct{})
		}
		idle = p.mu.idle
	}
	p.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
	p.end()
	<-p.done
}

func (p *position) run() {
	defer close(p.done)
	defer p.settle(true)
	pause := time.Duration(0)
	for {
		if pause > 0 {
			if sleep(p.life, pause) != nil {
				return
			}
		}
		p.mu.Lock()
		next, revision := p.mu.rec, p.mu.revision
		next.Position = p.mu.want
		behind := p.mu.want > p.mu.rec.Position
		p.mu.Unlock()
		if !behind {
			select {
			case <-p.kick:
				continue
			case <-p.life.Done():
				return
			}
		}
		err := p.write(next, revision)
		switch {
		case err == nil:
			pause = 0
		case p.life.Err() != nil:
			return
		case errors.Is(err, errLost):
			p.fail(err)
			return
		default:
			pause = min(max(2*pause, positionRetry), positionLastRetry)
			p.stumbled(err)
			continue
		}
		p.settle(false)
		p.moved()
	}
}

// errLost ends writing for good.
var errLost = errors.New("the position cannot be written any more")

// write stores next in place of the record with that revision.
func (p *position) write(next positionRecord, revision uint64) error {
	doc, err := next.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.life, positionTimeout)
	defer cancel()
	event.Failpoint(event.FailPosition)
	written, err := p.state.put(ctx, p.subject, doc, revision)
	if err == nil {
		event.Failpoint(event.FailStored)
		p.store(next, written)
		return nil
	}
	// Either somebody else wrote, or an earlier write of ours whose answer was
	// lost: what is there now tells.
	have, now, readErr := p.state.readPosition(ctx, p.subject)
	switch {
	case errors.Is(readErr, errNoState), readErr == nil && now == 0:
		return fmt.Errorf("%w: the record of pipeline %q is gone: it was deleted behind the pipeline's back", errLost, p.pipeline)
	case now == 0:
		return errors.Join(err, readErr)
	case readErr != nil:
		return fmt.Errorf("%w: pipeline %q: %w", errLost, p.pipeline, readErr)
	case have.Owner != next.Owner || have.Epoch != next.Epoch:
		return fmt.Errorf("%w: pipeline %q: %w", errLost, p.pipeline, ErrReplaced)
	}
	p.store(have, now)
	if have.Position != next.Position {
		return err
	}
	return nil
}

func (p *position) store(rec positionRecord, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rec, p.mu.revision, p.mu.trouble = rec, revision, ""
}

// settle wakes close when nothing is left to store, or at the end.
func (p *position) settle(end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.idle != nil && (end || p.mu.want <= p.mu.rec.Position) {
		close(p.mu.idle)
		p.mu.idle = nil
	}
}

func (p *position) stumbled(err error) {
	p.mu.Lock()
	first := p.mu.trouble == ""
	p.mu.trouble = err.Error()
	p.mu.Unlock()
	if first {
		p.state.log.Warn("a pipeline's position could not be stored, trying again", "pipeline", p.pipeline, "error", err)
	}
}

func (p *position) fail(err error) {
	p.mu.Lock()
	p.mu.err = err
	p.mu.Unlock()
	p.moved()
}
