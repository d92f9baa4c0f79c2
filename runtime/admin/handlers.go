package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// Readiness is what /readyz answers. Reasons are withheld from who has no
// token where one is demanded.
type Readiness struct {
	Ready   bool     `json:"ready"`
	State   string   `json:"state"`
	Reasons []string `json:"reasons,omitempty"`
}

// healthz answers as long as the process serves at all.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 503 while something keeps events from flowing.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	st := s.deps.Status(r.Context())
	out := Readiness{Ready: st.Ready, State: st.State}
	code := http.StatusOK
	if !st.Ready {
		code = http.StatusServiceUnavailable
		if !s.access.wanted() {
			out.Reasons = reasons(st)
		}
	}
	s.writeJSON(w, code, out)
}

func reasons(st status.Status) []string {
	out := st.Problems
	if len(out) > 0 {
		return out
	}
	for _, p := range st.Pipelines {
		switch p.State {
		case status.StateRunning, status.StatePaused, status.StateStandby:
		default:
			out = append(out, fmt.Sprintf("pipeline %s is %s%s", p.Name, p.State, colon(p.Reason)))
		}
	}
	if len(out) == 0 {
		out = append(out, "not started yet")
	}
	return out
}

func colon(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func (s *Server) status(r *http.Request) (any, error) { return s.deps.Status(r.Context()), nil }

func (s *Server) config(r *http.Request) (any, error) {
	return s.deps.Config(r.Context())
}

// Reloaded is what a reload answers.
type Reloaded struct {
	Changes []plan.Change `json:"changes"`
}

func (s *Server) reload(r *http.Request) (any, error) {
	changes, err := s.deps.Reload(r.Context())
	if err != nil {
		return nil, err
	}
	a := actionOf(r.Context())
	for _, c := range changes {
		a.detail(c.What+" "+c.Name, c.Op)
	}
	return Reloaded{Changes: changes}, nil
}

func (s *Server) topics(r *http.Request) (any, error) {
	list, err := s.deps.Topics.Topics(r.Context())
	return notNil(list), err
}

func (s *Server) topic(r *http.Request) (any, error) {
	return s.deps.Topics.Topic(r.Context(), r.PathValue("name"))
}

func (s *Server) pipelines(r *http.Request) (any, error) {
	return notNil(s.deps.Status(r.Context()).Pipelines), nil
}

func (s *Server) pipeline(r *http.Request) (any, error) {
	return s.deps.Pipelines.Pipeline(r.PathValue("name"))
}

func (s *Server) pause(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if err := s.deps.Pipelines.Pause(r.Context(), name); err != nil {
		return nil, err
	}
	return s.deps.Pipelines.Pipeline(name)
}

func (s *Server) resume(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if err := s.deps.Pipelines.Resume(r.Context(), name); err != nil {
		return nil, err
	}
	return s.deps.Pipelines.Pipeline(name)
}

// resetRequest says where a pipeline starts again.
type resetRequest struct {
	To string `json:"to"` // "start", "end", a sequence or an RFC 3339 time
	// DryRun asks what it would do.
	DryRun bool `json:"dry_run,omitempty"`
	// Epoch, when it is there, is that of the Reset that was looked at before: the
	// request is refused if the pipeline was reset since.
	Epoch *uint64 `json:"epoch,omitempty"`
}

func (s *Server) reset(r *http.Request) (any, error) {
	var req resetRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.To == "" {
		return nil, failure(http.StatusBadRequest, `reset: "to" is missing: "start", "end", a sequence or an RFC 3339 time`)
	}
	name, a := r.PathValue("name"), actionOf(r.Context())
	a.detail("to", req.To)
	a.silent = req.DryRun
	would, err := s.deps.Pipelines.PreviewReset(r.Context(), name, req.To)
	if err != nil {
		return nil, err
	}
	if req.Epoch != nil && *req.Epoch != would.Epoch {
		return nil, failure(http.StatusConflict, "pipeline %s was reset since you looked at it%s: look again, and repeat the reset if it is still wanted",
			name, s.turns.lastOf(thePipeline(r)))
	}
	if would.DryRun = req.DryRun; req.DryRun {
		return would, nil
	}
	if would.Unknown == "" {
		a.detail("from_seq", strconv.FormatUint(would.FromSeq, 10))
		a.detail("repeated", strconv.FormatUint(would.Repeated, 10))
		a.detail("skipped", strconv.FormatUint(would.Skipped, 10))
	}
	a.detail("next_seq", strconv.FormatUint(would.NextSeq, 10))
	a.announce(r.Context()) // a crash on the way must not leave the move untold
	seq, err := s.deps.Pipelines.Reset(r.Context(), name, req.To)
	if err != nil {
		return nil, err
	}
	a.detail("next_seq", strconv.FormatUint(seq, 10))
	would.NextSeq = seq
	return would, nil
}

func (s *Server) plugins(r *http.Request) (any, error) {
	return notNil(s.deps.Plugins.Plugins(r.Context())), nil
}

func (s *Server) plugin(r *http.Request) (any, error) {
	name := r.PathValue("name")
	for _, p := range s.deps.Plugins.Plugins(r.Context()) {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, failure(http.StatusNotFound, "no plugin is named %q", name)
}

func (s *Server) rollback(r *http.Request) (any, error) {
	g, err := s.deps.Plugins.Rollback(r.Context(), r.PathValue("name"))
	if err == nil {
		actionOf(r.Context()).detail("digest", g.Digest)
	}
	return g, err
}

// Count says how many things a request touched.
type Count struct {
	Count int `json:"count"`
}

// maxList is how many dead letters one list request returns at most.
const maxList = 1000

func (s *Server) deadLetters(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := status.DeadLetterFilter{
		Pipeline: q.Get("pipeline"), Stage: q.Get("stage"), Plugin: q.Get("plugin"), Fault: q.Get("fault"),
		Subject: q.Get("subject"), Reason: q.Get("reason"), Limit: 100,
	}
	for key, at := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v := q.Get(key); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return nil, failure(http.StatusBadRequest, "%s %q is not an RFC 3339 time", key, v)
			}
			*at = t
		}
	}
	if err := checkPattern(f.Subject); err != nil {
		return nil, err
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxList {
			return nil, failure(http.StatusBadRequest, "limit %q is not a number from 1 to %d", v, maxList)
		}
		f.Limit = n
	}
	if v := q.Get("before"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return nil, failure(http.StatusBadRequest, "before %q is not an id", v)
		}
		f.Before = n
	}
	list, err := s.deps.DeadLetters.List(r.Context(), f)
	return notNil(list), err
}

func (s *Server) deadLetter(r *http.Request) (any, error) {
	id, err := letterID(r)
	if err != nil {
		return nil, err
	}
	return s.deps.DeadLetters.Show(r.Context(), id)
}

func letterID(r *http.Request) (uint64, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, failure(http.StatusBadRequest, "%q is not the id of a dead letter: a number is expected", r.PathValue("id"))
	}
	return id, nil
}

// Redriven says where a redriven event is stored.
type Redriven struct {
	ID    uint64 `json:"id"`
	Topic string `json:"topic"`
	Seq   uint64 `json:"seq"`
}

func (s *Server) redriveEdited(r *http.Request) (any, error) {
	id, err := letterID(r)
	if err != nil {
		return nil, err
	}
	var edit status.Edit
	if err := decodeLarge(r, &edit); err != nil {
		return nil, err
	}
	l, err := s.deps.DeadLetters.Show(r.Context(), id)
	if err != nil {
		return nil, err
	}
	a := actionOf(r.Context())
	a.detail("edited", "true")
	seq, err := s.deps.DeadLetters.RedriveEdited(r.Context(), id, edit)
	if seq > 0 {
		a.detail("stored", fmt.Sprintf("%s/%d", l.SourceTopic, seq))
	}
	return Redriven{ID: id, Topic: l.SourceTopic, Seq: seq}, err
}

func (s *Server) purge(r *http.Request) (any, error) {
	sel, err := selected(r)
	if err != nil {
		return nil, err
	}
	sel.tell(actionOf(r.Context()))
	n, err := s.deps.DeadLetters.Purge(r.Context(), sel.IDs, sel.Filter())
	actionOf(r.Context()).detail("count", strconv.Itoa(n))
	return Count{n}, err
}

// notNil makes an empty list of a nil one: JSON readers expect [].
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
