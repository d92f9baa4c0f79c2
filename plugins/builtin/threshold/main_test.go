package main

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/sdktest"
)

func TestThreshold(t *testing.T) {
	events := []sdktest.Event{
		{Payload: `{"m":4.4}`},
		{Payload: `{"m":4.5}`},
		{Payload: `{"m":5}`},
		{Payload: `{"m":5.1}`},
		{Payload: `{"m":"5"}`},
		{Payload: `{"m":null}`},
		{Payload: `{}`},
		{Payload: ``},
		{Payload: `not JSON`},
	}
	const none = " none none none none none"
	for _, c := range []struct {
		name   string
		config map[string]any
		want   string
	}{
		{"a lower bound", map[string]any{"pointer": "/m", "min": 4.5}, "outside default default default"},
		{"an upper bound", map[string]any{"pointer": "/m", "max": 4.5}, "default default outside outside"},
		{"both bounds", map[string]any{"pointer": "/m", "min": 4.5, "max": 5}, "outside default default outside"},
		{"no bound keeps every number", map[string]any{"pointer": "/m"}, "default default default default"},
		{"an output for the others", map[string]any{"pointer": "/m", "min": 4.5, "else": "weak"}, "weak default default default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sdktest.Open(t, sdktest.Options{Config: c.config, Outputs: []string{"weak"}}).Process(events...)
			var became []string
			for i := range events {
				if o, ok := r.Outcome(i); ok {
					became = append(became, map[string]string{"no number at the pointer": "none", "outside the bounds": "outside"}[o.Reason])
					continue
				}
				for _, o := range r.Of(i) {
					became = append(became, o.Output)
				}
			}
			if got := strings.Join(became, " "); got != c.want+none {
				t.Errorf("got  %s\nwant %s", got, c.want+none)
			}
		})
	}
	for _, c := range []struct {
		name   string
		config map[string]any
		want   string
	}{
		{"no configuration", nil, "pointer is missing"},
		{"no pointer", map[string]any{"min": 1}, "pointer is missing"},
		{"a bad pointer", map[string]any{"pointer": "m"}, "must be empty or begin with /"},
		{"an unknown key", map[string]any{"pointer": "/m", "minimum": 1}, `unknown key "minimum"; there is pointer, min, max, else`},
		{"text for a number", map[string]any{"pointer": "/m", "min": "1"}, `config.min: want a number, got "1"`},
		{"a number for text", map[string]any{"pointer": 1}, `config.pointer: want a string, got 1`},
		{"bounds in the wrong order", map[string]any{"pointer": "/m", "min": 2, "max": 1}, "min is greater than max"},
		{"an output that is not there", map[string]any{"pointer": "/m", "else": "other"}, `output "other"`},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			err := sdktest.Refused(t, sdktest.Options{Config: c.config, Outputs: []string{"weak"}})
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
