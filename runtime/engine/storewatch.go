package engine

import (
	"context"
	"time"
)

// storeLook is the time between two looks whether topics can be used.
const storeLook = 500 * time.Millisecond

// watchStore starts pipelines that failed and wait for their next start as soon
// as topics can be used again: after a long time without, they would wait for
// half a minute.
func (e *Engine) watchStore(ctx context.Context) {
	tick := time.NewTicker(storeLook)
	defer tick.Stop()
	var before error
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := e.topics.Healthy()
		if before != nil && now == nil {
			for _, s := range e.supervisors() {
				s.retryWaiting()
			}
		}
		before = now
	}
}
