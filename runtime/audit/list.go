package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
)

const (
	defaultList = 100
	firstWindow = 256 // sequences that List looks at first, from the end; each further window is twice as large
)

// List returns the records that f chooses, newest first. Those that are not
// stored yet come first, without a Seq.
func (l *Log) List(ctx context.Context, f status.AuditFilter) ([]status.AuditRecord, error) {
	if f.Limit <= 0 {
		f.Limit = defaultList
	}
	var list []status.AuditRecord
	if f.Before == 0 {
		l.mu.Lock()
		for _, w := range slices.Backward(l.mu.waiting) {
			if f.Match(&w.rec) && len(list) < f.Limit {
				list = append(list, w.rec)
			}
		}
		l.mu.Unlock()
	}
	topic, err := l.topics.Topic(ctx, plan.Audit)
	if err != nil {
		return nil, fmt.Errorf("list the audit log: %w", err)
	}
	end := topic.LastSeq + 1
	if f.Before > 0 {
		end = min(end, f.Before)
	}
	// The broker only searches forward, so newest first means windows.
	for window := uint64(firstWindow); end > topic.FirstSeq && len(list) < f.Limit; window *= 2 {
		begin := topic.FirstSeq
		if end > begin+window {
			begin = end - window
		}
		found, older, err := l.between(ctx, &f, begin, end)
		if err != nil {
			return nil, fmt.Errorf("list the audit log: %w", err)
		}
		slices.Reverse(found)
		list = append(list, found[:min(len(found), f.Limit-len(list))]...)
		if older {
			break
		}
		end = begin
	}
	return list, nil
}

// between returns the records of a range of sequences that f chooses, oldest
// first, and whether the first of the range is older than what f asks for.
func (l *Log) between(ctx context.Context, f *status.AuditFilter, begin, end uint64) (found []status.AuditRecord, older bool, err error) {
	for seq := max(begin, 1); seq < end; {
		m, err := l.topics.Next(ctx, plan.Audit, seq, "")
		if errors.Is(err, l.notFound) || err == nil && m.Seq >= end {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if seq == max(begin, 1) {
			older = m.Time.Before(f.Since)
		}
		seq = m.Seq + 1
		if r := RecordOf(&m); f.Match(&r) {
			found = append(found, r)
		}
	}
	return found, older, nil
}

// RecordOf reads a record out of a message of the topic. What is not one
// becomes a record without an action.
func RecordOf(m *status.Message) status.AuditRecord {
	var r status.AuditRecord
	if err := json.Unmarshal([]byte(m.Payload), &r); err != nil {
		r = status.AuditRecord{Time: m.Time, Outcome: status.AuditFailed, Error: "this message is not an audit record: " + err.Error()}
	}
	r.Seq = m.Seq
	return r
}
