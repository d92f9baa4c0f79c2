package admin

import (
	"net/http"
	"strings"

	"github.com/wasmill/wasmill/runtime/status"
)

// PlanRequest says which configuration to plan.
type PlanRequest struct {
	// Config is the text of a TOML file, looked at as if it were that of the
	// instance's own; nil is what that says now.
	Config *string `json:"config,omitempty"`
}

func (s *Server) plan(r *http.Request) (any, error) {
	var req PlanRequest
	if err := decodeLarge(r, &req); err != nil {
		return nil, err
	}
	return s.deps.Plan(r.Context(), req.Config)
}

// ApplyRequest says under which conditions the instance takes its file. Without
// any it takes what the file says.
type ApplyRequest struct {
	Hash   string  `json:"hash,omitempty"`   // of a Plan: neither what runs nor what is wanted may have moved since
	Config *string `json:"config,omitempty"` // the file must mean the same as this text
}

// apply answers with what was done or, when that was refused, with the error
// and the plan that it is about.
func (s *Server) apply(r *http.Request) (any, error) {
	var req ApplyRequest
	if err := decodeLarge(r, &req); err != nil {
		return nil, err
	}
	a := actionOf(r.Context())
	a.detail("hash", req.Hash)
	done, err := s.deps.Apply(r.Context(), req)
	if err != nil {
		return nil, &applyError{done, err}
	}
	for _, c := range done.Changes {
		if c.Effect != status.EffectProcess {
			a.detail(c.What+" "+c.Name, c.Op)
		}
	}
	a.detail("waits for a restart", strings.Join(done.Restart, " "))
	return done, nil
}

// applyError is why an apply was refused, with what there is to say beside it.
type applyError struct {
	plan status.Applied
	err  error
}

func (e *applyError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *applyError) Unwrap() error { return e.err }
