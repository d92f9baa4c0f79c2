package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/status"
)

// A plan and an apply name what smaller limits take, also of topics that no
// pipeline reads.
func TestPreviewRemoval(t *testing.T) {
	t.Parallel()
	w := twoPipelines(t)
	w.removal = func(cfg broker.TopicConfig, followers []broker.Follower) (*status.Removal, error) {
		r := &status.Removal{Events: 5}
		switch {
		case cfg.MaxMessages == 0:
			return nil, nil
		case cfg.Name == "a":
			return nil, errors.New("no answer")
		case cfg.Name == "wasmill-audit":
			r.Estimated = true
			return r, nil
		}
		for i, f := range followers {
			if i == 0 {
				r.Unfinished = append(r.Unfinished, status.Unfinished{Pipeline: f.Pipeline, Events: 4})
				continue
			}
			r.Unknown = append(r.Unknown, f.Pipeline)
		}
		return r, nil
	}
	toml := two + "[topics.wasmill-audit]\nmax_messages = 1\n"
	for _, name := range []string{"in", "a"} {
		toml = strings.Replace(toml, "[topics."+name+"]\n", "[topics."+name+"]\nmax_messages = 5\n", 1)
	}
	want := map[string]string{
		"in":            "changed in place; its limits remove 5 stored events, 4 not finished by pipeline a, how many not finished by pipeline b is not known",
		"a":             "changed in place; how many stored events its limits remove is not known: no answer",
		"wasmill-audit": "changed in place; its limits remove about 5 stored events",
	}
	check := func(p Preview, err error) {
		t.Helper()
		if err != nil || len(p.Changes) != len(want) {
			t.Fatalf("%q, %v", said(p), err)
		}
		for _, c := range p.Changes {
			if c.Detail != want[c.Name] || (c.Removes != nil) != (c.Name != "a") {
				t.Errorf("topic %s: %s, %+v", c.Name, c.Detail, c.Removes)
			}
		}
	}
	check(w.engine.Preview(t.Context(), w.plan(toml)))
	check(w.engine.ApplyIf(t.Context(), w.plan(toml), nil))
}
