package main

import (
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

func TestParse(t *testing.T) {
	p := sdktest.Open(t, sdktest.Options{})
	for _, c := range []struct {
		name, payload string
		emits         string
		code          abi.Code
		reason        string
	}{
		{
			name:    "keeps numbers and texts as they are written",
			payload: `{"properties":{"mag":4.50,"place":"5km \"N\" of \u00c5","time":1517363399650,"tsunami":1,"net":"us","type":"earthquake"},"geometry":{"coordinates":[-122.1970,46.2,3e0]},"id":"us1"}`,
			emits:   `{"id":"us1","net":"us","mag":4.50,"place":"5km \"N\" of \u00c5","time":1517363399650,"lat":46.2,"lon":-122.1970,"depth":3e0,"tsunami":1}`,
		},
		{
			name:    "does without a place and a tsunami",
			payload: `{"properties":{"mag":4,"place":null,"time":1,"net":"us"},"geometry":{"coordinates":[180,-90,0]},"id":"us1"}`,
			emits:   `{"id":"us1","net":"us","mag":4,"place":"","time":1,"lat":-90,"lon":180,"depth":0,"tsunami":0}`,
		},
		{name: "drops what is no earthquake", payload: `{"properties":{"type":"quarry blast"}}`, code: abi.CodeDrop},
		{name: "no JSON", payload: `{"properties":`, code: abi.CodeDeadLetter, reason: "payload is not a JSON object"},
		{name: "no object", payload: `"earthquake"`, code: abi.CodeDeadLetter, reason: "payload is not a JSON object"},
		{name: "nothing at all", payload: ``, code: abi.CodeDeadLetter, reason: "payload is not a JSON object"},
		{name: "an id that is a number", payload: `{"id":7}`, code: abi.CodeDeadLetter, reason: "no id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := p.Process(sdktest.Event{Payload: c.payload})
			var emits string
			if len(r.Outputs) == 1 {
				emits = r.Outputs[0].Payload
			}
			if o, _ := r.Outcome(0); emits != c.emits || o.Code != c.code || o.Reason != c.reason {
				t.Errorf("emits %s, code %d, reason %q; want %s, %d, %q", emits, o.Code, o.Reason, c.emits, c.code, c.reason)
			}
		})
	}
}
