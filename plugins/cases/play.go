package cases

import (
	"context"
	"fmt"

	"github.com/wasmill/wasmill/runtime/plan"
)

// Played is what a pipeline makes of an event.
type Played struct {
	Lines  []Line // without those of the log
	Logs   []Line
	Detail string // of a fault: the guest's stack and last words
}

// Play runs events through a pipeline of a plan as a case would, with the
// secrets that the plan names, and returns what comes of each. When the pipeline
// cannot be started because a plugin refuses its configuration, that is an error.
func (r *Runner) Play(ctx context.Context, p *plan.Plan, name string, events []Event) ([]Played, error) {
	l := p.Pipeline(name)
	if l == nil {
		return nil, fmt.Errorf("there is no pipeline %q", name)
	}
	c := &Case{Head: Head{Pipeline: name, Plugins: map[string]Setting{}}, Steps: []Step{{Kind: StepOpen}}}
	for _, plugin := range l.Stages {
		g := p.Plugin(plugin)
		s := Setting{}
		for key, secret := range g.Secrets {
			v, err := secret.Resolve(p.Dir)
			if err != nil {
				return nil, fmt.Errorf("plugin %q: secret %q: %w", plugin, key, err)
			}
			if s.Secrets == nil {
				s.Secrets = map[string]string{}
			}
			s.Secrets[key] = v
		}
		c.Plugins[plugin] = s
	}
	for _, e := range events {
		c.Steps = append(c.Steps, Step{Kind: StepEvent, Event: e})
	}
	s := newStage(c)
	if err := r.runPipeline(ctx, s, target{plan: p, pipeline: l}); err != nil {
		return nil, err
	}
	results := s.results()
	for _, line := range results[0].lines {
		if line.Kind != LineLog {
			return nil, fmt.Errorf("pipeline %q does not start: %s", name, line.JSON())
		}
	}
	played := make([]Played, len(events))
	for i, result := range results[1 : len(events)+1] {
		played[i].Detail = result.detail
		for _, line := range result.lines {
			if line.Kind == LineLog {
				played[i].Logs = append(played[i].Logs, line)
			} else {
				played[i].Lines = append(played[i].Lines, line)
			}
		}
	}
	return played, nil
}
