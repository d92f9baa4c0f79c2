package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// DeadLetters lists dead letters, newest first.
func (c *Client) DeadLetters(ctx context.Context, f status.DeadLetterFilter) ([]status.DeadLetter, error) {
	q := url.Values{}
	for k, v := range map[string]string{
		"pipeline": f.Pipeline, "stage": f.Stage, "plugin": f.Plugin, "fault": f.Fault, "subject": f.Subject, "reason": f.Reason,
	} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for k, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(k, t.Format(time.RFC3339Nano))
		}
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatUint(f.Before, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return call[[]status.DeadLetter](ctx, c, http.MethodGet, "/api/v1/dead-letters", q, nil)
}

// How much of a redrive is one request: so few that each is over within seconds.
const (
	redriveLot     = 500
	redriveSeconds = 10
)

// Redrive makes events of dead letters again, at most sel.Rate a second, in
// requests of bounded length. progress, unless it is nil, is told of what is
// done. What no topic takes is part of the result, which is true also when there
// is an error. With sel.DryRun it is said what would be done.
func (c *Client) Redrive(ctx context.Context, sel Selection, progress func(status.Redriven)) (status.Redriven, error) {
	const path = "/api/v1/dead-letters/redrive"
	if sel.DryRun {
		return callSlow[status.Redriven](ctx, c.asking(), path, sel)
	}
	sel.Limit = redriveLot
	if sel.Rate > 0 {
		sel.Limit = max(1, min(redriveLot, int(sel.Rate*redriveSeconds)))
	}
	var all status.Redriven
	ids := sel.IDs
	for {
		if len(ids) > 0 {
			sel.IDs = ids[:min(len(ids), sel.Limit)]
			ids = ids[len(sel.IDs):]
		}
		began := time.Now()
		r, err := callSlow[status.Redriven](ctx, c, path, sel)
		all.Count, all.Refused = all.Count+r.Count, all.Refused+r.Refused
		if len(all.Errors) < redriveErrors {
			all.Errors = append(all.Errors, r.Errors...)
		}
		if err != nil {
			return all, err
		}
		if progress != nil {
			progress(all)
		}
		if !r.More && len(ids) == 0 {
			return all, nil
		}
		if len(sel.IDs) == 0 {
			sel.After, sel.Before = r.Last, r.Before
		}
		if sel.Rate > 0 { // the first of the next request comes without a wait
			next := time.NewTimer(time.Until(began.Add(time.Duration(float64(r.Count+r.Refused) / sel.Rate * float64(time.Second)))))
			select {
			case <-next.C:
			case <-ctx.Done():
				next.Stop()
				return all, ctx.Err()
			}
		}
	}
}

// redriveErrors bounds what is said of those that no topic takes.
const redriveErrors = 10
