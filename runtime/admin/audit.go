package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// WarningHeader is in an answer to something that was done, but not quite as it
// should have been: its audit record is not stored.
const WarningHeader = "Wasmill-Warning"

// Audit is what the endpoint needs of the audit log.
type Audit interface {
	// Record stores a record, or says why it is not stored yet.
	Record(ctx context.Context, rec status.AuditRecord) error
	// Summed is Record for requests that come many a second; the counts of
	// those of a minute are added up.
	Summed(ctx context.Context, rec status.AuditRecord, counts map[string]int64) error
	List(ctx context.Context, f status.AuditFilter) ([]status.AuditRecord, error)
}

// action is one request that changes something, while it is at work. It belongs
// to the goroutine of its request.
type action struct {
	log    Audit
	rec    status.AuditRecord
	began  time.Time
	counts map[string]int64 // not nil: it is one of many of its kind
	silent bool             // it has changed nothing, and was not meant to
}

// noAudit keeps nothing.
type noAudit struct{}

func (noAudit) Record(context.Context, status.AuditRecord) error { return nil }

func (noAudit) Summed(context.Context, status.AuditRecord, map[string]int64) error { return nil }

func (noAudit) List(context.Context, status.AuditFilter) ([]status.AuditRecord, error) {
	return nil, nil
}

type actionKey struct{}

// begin makes the record of a request; its target is the name in the path.
func (s *Server) begin(r *http.Request, verb string) (*action, *http.Request) {
	who := Actor(r.Context())
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	target := r.PathValue("name")
	if target == "" {
		target = r.PathValue("id")
	}
	a := &action{
		log: s.deps.Audit, began: time.Now(),
		rec: status.AuditRecord{Actor: who.Name, Role: who.Role, Remote: remote, Action: verb, Target: target},
	}
	return a, r.WithContext(context.WithValue(r.Context(), actionKey{}, a))
}

// actionOf returns the action that the request is; one that nobody keeps for a
// request that is none.
func actionOf(ctx context.Context) *action {
	if a, ok := ctx.Value(actionKey{}).(*action); ok {
		return a
	}
	return &action{silent: true}
}

// detail adds to what the record says of the action. Empty values are left out.
func (a *action) detail(key, value string) {
	if value == "" {
		return
	}
	if a.rec.Details == nil {
		a.rec.Details = map[string]string{}
	}
	a.rec.Details[key] = value
}

// announce stores that an action has begun that takes a while.
func (a *action) announce(ctx context.Context) {
	if a.silent {
		return
	}
	rec := a.rec
	rec.Outcome, rec.Details = status.AuditBegun, map[string]string{}
	for k, v := range a.rec.Details {
		rec.Details[k] = v
	}
	// That it cannot be stored, the record of the outcome says as well.
	_ = a.log.Record(context.WithoutCancel(ctx), rec)
}

// end stores the record and returns what whoever asked must know about it, "".
// A request that its client has left is recorded all the same.
func (a *action) end(ctx context.Context, failed error) (warning string) {
	if a.silent {
		return ""
	}
	ctx = context.WithoutCancel(ctx)
	if a.rec.Outcome == "" {
		a.rec.Outcome = status.AuditOK
	}
	if failed != nil {
		a.rec.Outcome, a.rec.Error = status.AuditFailed, failed.Error()
	}
	a.rec.Seconds = time.Since(a.began).Seconds()
	if failed != nil {
		for k, v := range a.counts {
			a.detail(k, strconv.FormatInt(v, 10))
		}
	}
	var err error
	if a.counts != nil && failed == nil {
		err = a.log.Summed(ctx, a.rec, a.counts)
	} else {
		err = a.log.Record(ctx, a.rec)
	}
	if err == nil {
		return ""
	}
	return strings.Join(strings.Fields("the audit record of this action is not stored yet: "+err.Error()), " ")
}

// auditRefused records that somebody has tried to change something without having
// the role. Requests without a token that is known are nobody's.
func (s *Server) auditRefused(r *http.Request, who Identity, refused error) {
	if who.Name == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	a, _ := s.begin(r.WithContext(WithActor(r.Context(), who)), "refused")
	a.rec.Outcome, a.rec.Error, a.rec.Target = status.AuditFailed, refused.Error(), ""
	// There may be many; that one cannot be stored yet is in the process's log.
	_ = s.deps.Audit.Summed(r.Context(), a.rec, map[string]int64{"requests": 1})
}

// act is serve for what changes something: it is in the audit log, with its
// outcome, before it is answered.
func (s *Server) act(verb string, h handler) http.HandlerFunc {
	return s.serve(func(r *http.Request) (any, error) {
		a, r := s.begin(r, verb)
		v, err := h(r)
		if warning := a.end(r.Context(), err); warning != "" {
			warn(r.Context(), warning)
		}
		return v, err
	})
}

// audit lists records, newest first.
func (s *Server) audit(r *http.Request) (any, error) {
	f, err := s.auditFilter(r)
	if err != nil {
		return nil, err
	}
	list, err := s.deps.Audit.List(r.Context(), f)
	return notNil(list), err
}

// actions lists what records can be of.
func (s *Server) actions() []string {
	out := []string{"config.reload", "plugins.reload", "refused"} // of the process itself, and of none that was let through
	for _, r := range s.routes() {
		if r.verb != "" {
			out = append(out, r.verb)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Server) auditFilter(r *http.Request) (status.AuditFilter, error) {
	q := r.URL.Query()
	f := status.AuditFilter{
		Action: q.Get("action"), Actor: q.Get("actor"), Target: q.Get("target"), Outcome: q.Get("outcome"), Limit: 100,
	}
	switch f.Outcome {
	case "", status.AuditBegun, status.AuditOK, status.AuditFailed:
	default:
		return f, failure(http.StatusBadRequest, "outcome %q is none of ok, failed, begun", f.Outcome)
	}
	if v, all := f.Action, s.actions(); v != "" && !slices.ContainsFunc(all, func(verb string) bool { return verb == v || strings.HasPrefix(verb, v+".") }) {
		return f, failure(http.StatusBadRequest, "action %q is none of %s, nor the first word of one", v, strings.Join(all, ", "))
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxList {
			return f, failure(http.StatusBadRequest, "limit %q is not a number from 1 to %d", v, maxList)
		}
		f.Limit = n
	}
	if v := q.Get("before"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return f, failure(http.StatusBadRequest, "before %q is not the seq of a record", v)
		}
		f.Before = n
	}
	if v := q.Get("since"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return f, failure(http.StatusBadRequest, "since %q is not an RFC 3339 time", v)
		}
		f.Since = t
	}
	return f, nil
}

// auditTail streams records as NDJSON, as tail does with messages.
func (s *Server) auditTail(w http.ResponseWriter, r *http.Request) {
	f, err := s.auditFilter(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.follow(w, r, plan.Audit, func(m *status.Message) (any, bool) {
		var rec status.AuditRecord
		if json.Unmarshal([]byte(m.Payload), &rec) != nil {
			return nil, false
		}
		rec.Seq = m.Seq
		wanted := f.Match(&rec)
		return rec, wanted
	})
}
