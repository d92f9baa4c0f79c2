package engine

import (
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/status"
)

// trend gives topics a rate: how far their last sequences have moved between
// two looks. It keeps two looks, at least a second apart, whoever asks.
type trend struct {
	mu struct {
		sync.Mutex
		before, last sighting
	}
}

type sighting struct {
	at  time.Time
	seq map[string]uint64
}

// trendAge is when a look is too old to say anything of now.
const trendAge = 30 * time.Second

// rate fills in the rates of the topics as they are at now.
func (t *trend) rate(topics []status.Topic, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.mu.last.at) >= time.Second {
		next := sighting{at: now, seq: make(map[string]uint64, len(topics))}
		for i := range topics {
			next.seq[topics[i].Name] = topics[i].LastSeq
		}
		t.mu.before, t.mu.last = t.mu.last, next
	}
	past := t.mu.before
	dt := now.Sub(past.at)
	if past.seq == nil || dt <= 0 || dt > trendAge {
		return
	}
	for i := range topics {
		// A topic that was made anew begins at 1 again.
		if seq, ok := past.seq[topics[i].Name]; ok && topics[i].LastSeq >= seq {
			r := float64(topics[i].LastSeq-seq) / dt.Seconds()
			topics[i].Rate = &r
		}
	}
}
