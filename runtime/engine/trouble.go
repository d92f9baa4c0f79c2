package engine

import (
	"sync"

	"github.com/wasmill/wasmill/runtime/pipeline"
)

// troubled is a sink that can say why outputs are not being stored at the
// moment; "" when they are.
type troubled interface{ Err() string }

// placed is a source that can say why its position is not being stored at the
// moment; "" when it is.
type placed interface{ PositionErr() string }

// explained is a runner that knows why its outputs or its position are not being
// stored.
type explained struct {
	runner
	source pipeline.Source
	sinks  *sinks
}

// sinks are those of one run.
type sinks struct {
	mu  sync.Mutex
	all []troubled
}

func (s *sinks) add(sink pipeline.Sink) {
	if t, ok := sink.(troubled); ok {
		s.mu.Lock()
		s.all = append(s.all, t)
		s.mu.Unlock()
	}
}

// trouble is what keeps the first of the sinks that is in trouble, or "".
func (s *sinks) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.all {
		if why := t.Err(); why != "" {
			return why
		}
	}
	return ""
}

// trouble says why the outputs or the position of a run are not being stored, or
// is "".
func (a *attempt) trouble() string {
	e, ok := a.runner.(explained)
	if !ok {
		return ""
	}
	if why := e.sinks.trouble(); why != "" {
		return "outputs are not being stored: " + why
	}
	if p, ok := e.source.(placed); ok {
		if why := p.PositionErr(); why != "" {
			return "the position is not being stored: " + why
		}
	}
	return ""
}
