package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
)

// applyLoop finishes commits in their order: what they owe to other topics is
// published, and then their positions count. Invariant A1.
func (e *Exact) applyLoop(ctx context.Context) error {
	swept := newSweeper(e)
	defer swept.timer.Stop()
	for {
		select {
		case c, ok := <-e.queue:
			if !ok {
				return nil
			}
			if err := e.finish(ctx, c); err != nil {
				return err
			}
			swept.add(ctx, c)
		case <-swept.timer.C:
			swept.sweep(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *Exact) finish(ctx context.Context, c *commit) error {
	if c.ref.Chunks > 0 {
		event.Failpoint(event.FailExactApply)
		for i := range c.side {
			if len(c.side[i]) == 0 {
				continue
			}
			if err := e.apply(ctx, i, c.ref, c.side[i]); err != nil {
				return err
			}
		}
		event.Failpoint(event.FailExactApplied)
		e.mu.Lock()
		e.mu.journals = slices.DeleteFunc(e.mu.journals, func(r journalRef) bool { return r.Epoch == c.ref.Epoch && r.Batch == c.ref.Batch })
		e.mu.Unlock()
	}
	close(c.applied)
	for _, p := range c.parts {
		p.sink.stored(p)
	}
	return nil
}

// apply publishes the outputs that a journal owes to one stream, in atomic
// batches that each say how far they come, so that none is stored twice.
func (e *Exact) apply(ctx context.Context, stream int, ref journalRef, out []atomicMessage) error {
	to := &e.streams[stream]
	for !to.at.reaches(ref.Epoch, ref.Batch, len(out)) {
		n := 0
		if to.at.Epoch == ref.Epoch && to.at.Batch == ref.Batch {
			n = to.at.Outputs
		}
		k, size := n, 0
		for k < len(out) && k-n < maxAtomic-2 && (k == n || size < e.maxBytes) {
			size += len(out[k].subject) + len(out[k].header) + len(out[k].payload)
			k++
		}
		next := applied{Epoch: ref.Epoch, Batch: ref.Batch, Outputs: k}
		record, err := sealRecord(appliedMagic, &next)
		if err != nil {
			return err
		}
		b := &exactBatch{to: to, out: make([]atomicMessage, 1, k-n+2)}
		b.out = append(append(b.out, out[n:k]...), atomicMessage{subject: asBytes(to.applied), payload: record})
		b.open = func(torn []piece, begun bool, done int) ([]byte, error) {
			before := applied{Epoch: ref.Epoch, Batch: ref.Batch, Outputs: n + done, Begun: begun}
			if !begun { // those before it are counted
				before.Torn = torn[len(torn)-1:]
			}
			return sealRecord(appliedMagic, &before)
		}
		b.stored = func(data []byte) (bool, error) {
			var have applied
			if err := openRecord(appliedMagic, data, &have); err != nil || have.Begun || len(have.Torn) > 0 || !have.reaches(next.Epoch, next.Batch, next.Outputs) {
				return false, err
			}
			next = have // a new owner of the pipeline may have gone further
			return true, nil
		}
		seq, err := e.store(ctx, e.applies, b, to.revision)
		if err != nil {
			return fmt.Errorf("publish to topic %q: %w", to.topic, err)
		}
		to.at, to.revision = next, seq
		event.Failpoint(event.FailExactPartApplied)
	}
	return nil
}

// sweeper removes journals that are applied: a few at a time, since the server
// stops the stream for some milliseconds to do it.
type sweeper struct {
	e      *Exact
	timer  *time.Timer
	chunks int
	upto   uint64 // sequence of the checkpoint behind the last of them
}

// A journal is removed when so many messages have gathered, or after so long.
const (
	sweepChunks = 64
	sweepAfter  = time.Second
)

func newSweeper(e *Exact) *sweeper {
	s := &sweeper{e: e, timer: time.NewTimer(sweepAfter)}
	s.timer.Stop()
	return s
}

func (s *sweeper) add(ctx context.Context, c *commit) {
	if c.ref.Chunks == 0 {
		return
	}
	if s.chunks == 0 {
		s.timer.Reset(sweepAfter)
	}
	s.chunks, s.upto = s.chunks+c.ref.Chunks, c.seq
	if s.chunks >= sweepChunks {
		s.sweep(ctx)
	}
}

func (s *sweeper) sweep(ctx context.Context) {
	s.timer.Stop()
	event.Failpoint(event.FailExactSweep)
	if err := s.e.purge(ctx, s.e.streams[0].topic, s.e.streams[0].journal, s.upto); err != nil && ctx.Err() == nil {
		s.e.log.Debug("journals that are applied could not be removed, trying again with the next", "pipeline", s.e.cfg.Pipeline, "error", err)
	}
	s.chunks = 0
}

// purge removes the messages on a subject that have a sequence below before; 0
// removes all.
func (e *Exact) purge(ctx context.Context, stream, subject string, before uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"filter": subject, "seq": before})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	m, err := e.wire.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+stream, body)
	if err != nil {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	var resp struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return fmt.Errorf("purge %s: the server's answer: %w", subject, err)
	}
	if resp.Error != nil {
		return fmt.Errorf("purge %s: %w", subject, errors.New(resp.Error.Description))
	}
	return nil
}
