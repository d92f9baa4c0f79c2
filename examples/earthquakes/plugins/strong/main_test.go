package main

import (
	"testing"

	"github.com/wasmill/wasmill/sdk/sdktest"
)

func TestStrong(t *testing.T) {
	california := map[string]any{
		"min_magnitude": 1.0,
		"area":          map[string]any{"west": -124.5, "south": 32.5, "east": -114.1, "north": 42.0},
	}
	for _, c := range []struct {
		name    string
		config  map[string]any
		payload string
		passes  bool
	}{
		{"strong enough", map[string]any{"min_magnitude": 2.5}, `{"mag":2.5,"lat":0,"lon":0}`, true},
		{"too weak", map[string]any{"min_magnitude": 2.5}, `{"mag":2.49,"lat":0,"lon":0}`, false},
		{"no magnitude", nil, `{"lat":0,"lon":0}`, false},
		{"anything without a configuration", nil, `{"mag":0}`, true},
		{"inside", california, `{"mag":1,"lat":36.5,"lon":-120}`, true},
		{"on the corner", california, `{"mag":1,"lat":42,"lon":-124.5}`, true},
		{"too far north", california, `{"mag":1,"lat":42.01,"lon":-120}`, false},
		{"too far west", california, `{"mag":1,"lat":36,"lon":-124.51}`, false},
		{"inside, and too weak", california, `{"mag":0.9,"lat":36.5,"lon":-120}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sdktest.Open(t, sdktest.Options{Config: c.config})
			if passes := len(p.Process(sdktest.Event{Payload: c.payload}).Outputs) == 1; passes != c.passes {
				t.Errorf("passes is %t, want %t", passes, c.passes)
			}
		})
	}
}
