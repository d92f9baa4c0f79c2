package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// Selection says which dead letters a request is for. All must be said: an
// empty selection never means everything.
type Selection struct {
	IDs      []uint64  `json:"ids,omitempty"`
	Pipeline string    `json:"pipeline,omitempty"`
	Stage    string    `json:"stage,omitempty"`
	Plugin   string    `json:"plugin,omitempty"`
	Fault    string    `json:"fault,omitempty"`
	Subject  string    `json:"subject,omitempty"` // pattern of the original's subject
	Reason   string    `json:"reason,omitempty"`  // part of the cause
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	All      bool      `json:"all,omitempty"`

	// Of a redrive only. With a limit the answer says where the next request goes
	// on, and what no topic takes is in it; without, that is an error.
	Rate   float64 `json:"rate,omitempty"`  // at most so many a second, 0 = no limit
	Limit  int     `json:"limit,omitempty"` // at most so many, 0 = all
	After  uint64  `json:"after,omitempty"` // only ids above this one
	Before uint64  `json:"before,omitempty"`
	DryRun bool    `json:"dry_run,omitempty"`
}

// Filter is the selection without ids.
func (sel *Selection) Filter() status.DeadLetterFilter {
	return status.DeadLetterFilter{
		Pipeline: sel.Pipeline, Stage: sel.Stage, Plugin: sel.Plugin, Fault: sel.Fault,
		Subject: sel.Subject, Reason: sel.Reason, Since: sel.Since, Until: sel.Until,
	}
}

// Filtered reports whether something is asked of the dead letters.
func (sel *Selection) Filtered() bool { return sel.Filter() != (status.DeadLetterFilter{}) }

// tell puts the selection into the record of the action.
func (sel *Selection) tell(a *action) {
	ids := make([]string, 0, min(len(sel.IDs), 100))
	for _, id := range sel.IDs[:cap(ids)] {
		ids = append(ids, strconv.FormatUint(id, 10))
	}
	a.detail("ids", strings.Join(ids, " "))
	a.detail("pipeline", sel.Pipeline)
	a.detail("stage", sel.Stage)
	a.detail("plugin", sel.Plugin)
	a.detail("fault", sel.Fault)
	a.detail("subject", sel.Subject)
	a.detail("reason", sel.Reason)
	for key, t := range map[string]time.Time{"since": sel.Since, "until": sel.Until} {
		if !t.IsZero() {
			a.detail(key, t.Format(time.RFC3339))
		}
	}
	if sel.All {
		a.detail("all", "true")
	}
}

func selected(r *http.Request) (Selection, error) {
	var sel Selection
	if err := decode(r, &sel); err != nil {
		return sel, err
	}
	some := sel.Filtered()
	switch {
	case len(sel.IDs) == 0 && !some && !sel.All:
		return sel, failure(http.StatusBadRequest, "say which dead letters: ids, pipeline, stage, plugin, fault, subject, reason, since, until, or all")
	case len(sel.IDs) > 0 && (some || sel.All), some && sel.All:
		return sel, failure(http.StatusBadRequest, "say either ids, or a filter, or all")
	}
	return sel, checkPattern(sel.Subject)
}

func checkPattern(subject string) error {
	if subject == "" {
		return nil
	}
	if err := event.CheckFilter(subject); err != nil {
		return failure(http.StatusBadRequest, "%v", err)
	}
	return nil
}

// redrive makes events of dead letters again, or says of how many.
func (s *Server) redrive(r *http.Request) (any, error) {
	sel, err := selected(r)
	switch {
	case err != nil:
		return nil, err
	case sel.Rate < 0, sel.Limit < 0:
		return nil, failure(http.StatusBadRequest, "rate and limit are not below zero")
	}
	a, f := actionOf(r.Context()), sel.Filter()
	f.After, f.Before, f.Limit = sel.After, sel.Before, sel.Limit
	if sel.DryRun {
		a.silent = true
		return s.deps.DeadLetters.Tally(r.Context(), sel.IDs, f)
	}
	sel.tell(a)
	if sel.Limit == 0 && sel.Rate == 0 {
		n, err := s.deps.DeadLetters.Redrive(r.Context(), sel.IDs, f)
		a.detail("count", strconv.Itoa(n))
		return status.Redriven{Count: n}, err
	}
	done, err := s.deps.DeadLetters.RedriveSome(r.Context(), sel.IDs, f, sel.Rate)
	a.detail("count", strconv.Itoa(done.Count))
	if done.Refused > 0 {
		a.detail("refused", strconv.Itoa(done.Refused))
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letters (%d done): %w", done.Count, err)
	}
	return done, nil
}
