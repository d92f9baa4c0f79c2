package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// How long a drain of a pipeline is waited for.
const (
	drainPatience = 30 * time.Second
	maxDrain      = actionTimeout - 10*time.Second
)

// drainRequest says how long to wait.
type drainRequest struct {
	Seconds float64 `json:"seconds,omitempty"` // 0 = 30
}

// drain pauses a pipeline and answers when nothing of it is in flight.
func (s *Server) drain(r *http.Request) (any, error) {
	var req drainRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	patience := drainPatience
	if req.Seconds != 0 {
		patience = time.Duration(req.Seconds * float64(time.Second))
	}
	if req.Seconds < 0 || patience > maxDrain {
		return nil, failure(http.StatusBadRequest, "seconds %g is not a number from 0 to %g", req.Seconds, maxDrain.Seconds())
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	name := r.PathValue("name")
	if err := s.deps.Pipelines.Drain(ctx, name); err != nil {
		return nil, err
	}
	return s.deps.Pipelines.Pipeline(name)
}

// Draining is the answer of an instance that will end.
type Draining struct {
	Draining bool      `json:"draining"`
	Started  time.Time `json:"started"` // of the process: what answers with another one is a new one
}

// drainInstance has the whole instance finish what is in flight and end.
func (s *Server) drainInstance(r *http.Request) (any, error) {
	if s.deps.Drain == nil {
		return nil, failure(http.StatusNotFound, "this process cannot be ended from here")
	}
	a := actionOf(r.Context())
	a.rec.Outcome = status.AuditBegun // its outcome is recorded at the end
	started := s.deps.Status(r.Context()).Started
	s.deps.Drain(a.rec)
	return Draining{Draining: true, Started: started}, nil
}
