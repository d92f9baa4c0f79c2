package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

// removal says what making a topic what t says would remove from it, also in
// words; nil and "" when that is nothing. When it cannot be found out, the words
// say so.
func (e *Engine) removal(ctx context.Context, now *plan.Plan, t *plan.Topic) (*status.Removal, string) {
	var followers []broker.Follower
	for i := range now.Pipelines {
		if p := &now.Pipelines[i]; p.From == t.Name {
			followers = append(followers, broker.Follower{Pipeline: p.Name, Filter: p.Filter})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, topicsTimeout)
	defer cancel()
	r, err := e.topics.Removal(ctx, topicConfig(t), followers)
	switch {
	case err != nil:
		return nil, fmt.Sprintf("how many stored events its limits remove is not known: %v", err)
	case r == nil:
		return nil, ""
	}
	return r, removalText(r)
}

func removalText(r *status.Removal) string {
	about, events := "", "events"
	if r.Estimated {
		about = "about "
	}
	if r.Events == 1 {
		events = "event"
	}
	text := fmt.Sprintf("its limits remove %s%d stored %s", about, r.Events, events)
	var parts []string
	for _, u := range r.Unfinished {
		parts = append(parts, fmt.Sprintf("%s%d not finished by pipeline %s", about, u.Events, u.Pipeline))
	}
	for _, name := range r.Unknown {
		parts = append(parts, fmt.Sprintf("how many not finished by pipeline %s is not known", name))
	}
	if len(parts) > 0 {
		text += ", " + strings.Join(parts, ", ")
	}
	return text
}
