package live

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// Pictures takes the status at most once a second, however many look, and says
// what is different from the one before. It has no goroutine: whoever asks when
// the last one is old takes the next.
type Pictures struct {
	take  func(ctx context.Context) status.Status
	every time.Duration

	mu struct {
		sync.Mutex
		taken time.Time
		n     uint64
		parts map[string]json.RawMessage
		full  []byte
		delta []byte
	}
}

// NewPictures returns Pictures of what take says.
func NewPictures(take func(ctx context.Context) status.Status, every time.Duration) *Pictures {
	return &Pictures{take: take, every: every}
}

// A picture in JSON, whole or what is different from the one before. Parts are
// named "status", "topic NAME", "plugin NAME" and "pipeline NAME"; one that is
// null is no more.
type picture struct {
	N     uint64                     `json:"n"`
	Time  time.Time                  `json:"time"`
	Full  bool                       `json:"full"`
	Parts map[string]json.RawMessage `json:"parts"`
}

// Next returns the newest picture as JSON and its number, for a reader who has
// seen picture seen: what has changed when that is the one before, else the
// whole. Nothing is returned when there is none newer yet.
func (p *Pictures) Next(ctx context.Context, seen uint64) (out []byte, n uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.mu.n == 0 || now.Sub(p.mu.taken) >= p.every-p.every/10 {
		// One reader that leaves must not spoil the picture for the others; what
		// the status waits for has a limit of its own.
		if err := p.next(context.WithoutCancel(ctx), now); err != nil {
			return nil, seen, err
		}
	}
	switch {
	case seen == p.mu.n:
		return nil, seen, nil
	case seen > 0 && seen+1 == p.mu.n:
		return p.mu.delta, p.mu.n, nil
	}
	return p.mu.full, p.mu.n, nil
}

func (p *Pictures) next(ctx context.Context, now time.Time) error {
	parts, err := partsOf(p.take(ctx))
	if err != nil {
		return err
	}
	changed := map[string]json.RawMessage{}
	for name, part := range parts {
		if !bytes.Equal(part, p.mu.parts[name]) {
			changed[name] = part
		}
	}
	for name := range p.mu.parts {
		if parts[name] == nil {
			changed[name] = json.RawMessage("null")
		}
	}
	n := p.mu.n + 1
	full, err := json.Marshal(picture{n, now, true, parts})
	if err != nil {
		return err
	}
	delta, err := json.Marshal(picture{n, now, false, changed})
	if err != nil {
		return err
	}
	p.mu.parts, p.mu.full, p.mu.delta, p.mu.n, p.mu.taken = parts, full, delta, n, now
	return nil
}

func partsOf(st status.Status) (map[string]json.RawMessage, error) {
	parts := map[string]json.RawMessage{}
	put := func(name string, v any) error {
		b, err := json.Marshal(v)
		parts[name] = b
		return err
	}
	for i := range st.Topics {
		if err := put("topic "+st.Topics[i].Name, st.Topics[i]); err != nil {
			return nil, err
		}
	}
	for i := range st.Plugins {
		if err := put("plugin "+st.Plugins[i].Name, st.Plugins[i]); err != nil {
			return nil, err
		}
	}
	for i := range st.Pipelines {
		if err := put("pipeline "+st.Pipelines[i].Name, st.Pipelines[i]); err != nil {
			return nil, err
		}
	}
	st.Topics, st.Plugins, st.Pipelines = nil, nil, nil
	return parts, put("status", st)
}
