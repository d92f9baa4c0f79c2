package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// maxRefused is how many of those that no topic takes one redrive names.
const maxRefused = 10

// Redrive publishes the originals to their source topics again, under their
// own subjects and headers and with Wasmill-Redrive: <id>, and removes each
// record once its original is stored: a failure in between makes a duplicate
// and never a loss. Every pipeline that reads the topic gets the event. It
// takes the records with those ids, in that order, or, when there are none,
// those that f chooses, oldest first, and returns how many it has redriven. A
// record whose original no topic takes stays; the others go on, and the error
// names it.
func (d DeadLetters) Redrive(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (int, error) {
	r, err := d.RedriveSome(ctx, ids, f, 0)
	var refused []error
	for _, text := range r.Errors {
		refused = append(refused, errors.New(text))
	}
	if more := r.Refused - len(r.Errors); more > 0 {
		refused = append(refused, fmt.Errorf("and %d more that no topic takes", more))
	}
	if err = errors.Join(append(refused, err)...); err != nil {
		return r.Count, fmt.Errorf("redrive dead letters (%d done): %w", r.Count, err)
	}
	return r.Count, nil
}

// RedriveSome is Redrive for many: at most f.Limit records (0 = all), at most
// rate a second (0 = as fast as they are stored), one in memory at a time. That
// no topic takes some is no error but part of the result, which is also true when
// there is an error: it says what was done before.
func (d DeadLetters) RedriveSome(ctx context.Context, ids []uint64, f status.DeadLetterFilter, rate float64) (status.Redriven, error) {
	limit, seen, began := f.Limit, 0, time.Now()
	f.Limit = 0 // counts what is refused as well
	r := status.Redriven{Before: f.Before}
	if r.Before == 0 && len(ids) == 0 {
		topic, err := d.messages.Topic(ctx, plan.DeadLetters)
		if err != nil {
			return r, err
		}
		r.Before = topic.LastSeq + 1
		f.Before = r.Before
	}
	n, err := d.forEach(ctx, ids, f, func(l status.DeadLetter) error {
		if limit > 0 && seen == limit {
			r.More = true
			return errEnough
		}
		if rate > 0 {
			if err := sleepUntil(ctx, began.Add(time.Duration(float64(seen)/rate*float64(time.Second)))); err != nil {
				return err
			}
		}
		seen++
		out, err := original(&l)
		if err == nil {
			_, err = d.messages.Publish(ctx, l.SourceTopic, out)
		}
		if no := new(event.RefusedError); errors.As(err, &no) {
			r.Last = l.ID
			if r.Refused++; len(r.Errors) < maxRefused {
				r.Errors = append(r.Errors, fmt.Sprintf("dead letter %d: %v", l.ID, err))
			}
			return errLeft
		}
		if err != nil {
			return err
		}
		if err := d.messages.DeleteMessage(ctx, plan.DeadLetters, l.ID); err != nil {
			return err
		}
		r.Last = l.ID
		return nil
	})
	r.Count = n
	return r, err
}

// Tally says what RedriveSome would do, and changes nothing.
func (d DeadLetters) Tally(ctx context.Context, ids []uint64, f status.DeadLetterFilter) (status.Redriven, error) {
	r := status.Redriven{DryRun: true}
	kinds := map[status.DeadLetterCount]int{}
	f.Limit = 0
	n, err := d.forEach(ctx, ids, f, func(l status.DeadLetter) error {
		kinds[status.DeadLetterCount{Pipeline: l.Pipeline, Stage: l.Stage, Fault: l.Fault, Topic: l.SourceTopic}]++
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("count dead letters: %w", err)
	}
	for k, count := range kinds {
		k.Count = count
		r.Kinds = append(r.Kinds, k)
	}
	slices.SortFunc(r.Kinds, func(a, b status.DeadLetterCount) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Fault, b.Fault), cmp.Compare(a.Topic, b.Topic))
	})
	r.Count = n
	return r, nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
