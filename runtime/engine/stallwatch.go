package engine

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// stallLook is the time between two looks for pipelines that have stalled.
const stallLook = 10 * time.Second

// watchStalls logs when a pipeline stalls and when it goes on: nothing happens
// in a stalled pipeline that would be logged by itself.
func (e *Engine) watchStalls(ctx context.Context) {
	tick := time.NewTicker(stallLook)
	defer tick.Stop()
	stalled := map[string]bool{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, s := range e.supervisors() {
			p, err := e.Pipeline(s.name)
			switch {
			case err != nil: // removed since
				delete(stalled, s.name)
			case p.State == status.StateStalled && !stalled[s.name]:
				stalled[s.name] = true
				e.logState(s.name, p.State, errors.New(p.Reason))
			case p.State != status.StateStalled && stalled[s.name]:
				delete(stalled, s.name)
				e.logState(s.name, p.State, nil)
			}
		}
	}
}
