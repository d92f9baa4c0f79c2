package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

var levels = config{Levels: []level{{From: 6, Name: "severe"}, {From: 4.5, Name: "strong"}}}

func TestRoute(t *testing.T) {
	p := sdktest.Open(t, sdktest.Options{Config: levels, Outputs: []string{"tsunami"}})

	t.Run("the subject says the network and the level, a tsunami goes to both outputs", func(t *testing.T) {
		events := []string{
			`{"net":"us","mag":6.0,"tsunami":0}`, `{"net":"ak","mag":4.5,"tsunami":1}`, `{"net":"ci","mag":4.4,"tsunami":0}`,
		}
		r := p.Process(sdktest.Event{Payload: events[0]}, sdktest.Event{Payload: events[1]}, sdktest.Event{Payload: events[2]})
		want := []sdktest.Output{
			{Event: 0, Output: "default", Subject: "alerts.us.severe", Payload: events[0]},
			{Event: 1, Output: "default", Subject: "alerts.ak.strong", Payload: events[1]},
			{Event: 1, Output: "tsunami", Payload: events[1]},
			{Event: 2, Output: "default", Subject: "alerts.ci.other", Payload: events[2]},
		}
		if diff := cmp.Diff(want, r.Outputs); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})

	t.Run("an event that parse has not seen is a dead letter", func(t *testing.T) {
		if o, _ := p.Process(sdktest.Event{Payload: `{}`}).Outcome(0); o.Code != abi.CodeDeadLetter {
			t.Errorf("outcome is %+v", o)
		}
	})

	t.Run("a pipeline without the output tsunami gets alerts alone", func(t *testing.T) {
		p := sdktest.Open(t, sdktest.Options{Config: levels})
		if r := p.Process(sdktest.Event{Payload: `{"net":"ak","mag":4.5,"tsunami":1}`}); len(r.Outputs) != 1 || len(r.Outcomes) != 0 {
			t.Errorf("result is %+v", r)
		}
	})

	t.Run("levels in the wrong order are refused", func(t *testing.T) {
		err := sdktest.Refused(t, sdktest.Options{Config: config{Levels: []level{{From: 4.5, Name: "strong"}, {From: 6, Name: "severe"}}}})
		if !strings.Contains(err.Error(), "severe") {
			t.Errorf("error is %v", err)
		}
	})
}
