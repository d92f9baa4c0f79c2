package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// Audit lists records of the audit log, newest first.
func (c *Client) Audit(ctx context.Context, f status.AuditFilter) ([]status.AuditRecord, error) {
	return call[[]status.AuditRecord](ctx, c, http.MethodGet, "/api/v1/audit", auditQuery(f), nil)
}

// TailAudit calls f with each record that the filter chooses, from the place on
// that from names as in TailRequest, until f fails or ctx is done.
func (c *Client) TailAudit(ctx context.Context, filter status.AuditFilter, from string, f func(status.AuditRecord) error) error {
	q := auditQuery(filter)
	q.Set("from", from)
	return c.send(ctx, http.MethodGet, "/api/v1/audit/tail", q, nil, "", func(res *http.Response) error {
		if res.StatusCode >= http.StatusBadRequest {
			return c.read(res, &struct{}{})
		}
		return readLines(ctx, c, res.Body, func(l *auditLine) error { return f(l.AuditRecord) })
	})
}

type auditLine struct {
	status.AuditRecord
	Code string `json:"code"` // of the error that ends the stream
}

func (l *auditLine) failed() errorBody { return errorBody{Error: l.Error, Code: l.Code} }

func auditQuery(f status.AuditFilter) url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"action": f.Action, "actor": f.Actor, "target": f.Target, "outcome": f.Outcome} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatUint(f.Before, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}
