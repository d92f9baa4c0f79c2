package hosttest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/plugins/builtin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBuiltins: what comes with Wasmill passes, with a configuration that makes
// much of the events that the suite makes up.
func TestBuiltins(t *testing.T) {
	uses := map[string]struct{ config, exercises string }{
		"pass":      {`{}`, "answer: payload by reference"},
		"threshold": {`{"pointer":"/value","min":3,"else":"weak"}`, "answer: named outputs"},
		"filter":    {`{"where":"payload.value >= 3","else":"weak"}`, "answer: named outputs"},
		"map":       {`{"subject":"'out.' + payload.kind","payload":{"id":"payload.id","twice":"payload.value * 2"}}`, "answer: own payload"},
		"route":     {`{"match":"all","rules":[{"when":"payload.value > 3","to":"weak"},{"when":"payload.value > 5","to":"default"}]}`, "answer: several outputs"},
		"explode":   {`{"array":"/list","index":"line","parent":{"id":"/id"}}`, "answer: several outputs"},
		"redact":    {`{"remove":["/**/text"],"mask":["/kind"],"hash":["/id"],"salt":"pepper"}`, "answer: own payload"},
		"sample":    {`{"rate":0.5,"by":"json:/id","else":"weak"}`, "answer: named outputs"},
		"validate":  {`{"schema":{"type":"object","required":["id"],"properties":{"id":{"type":"number","maximum":2}}}}`, "answer: dead letter"},
	}
	h := openHost(t)
	for _, name := range builtin.Names() {
		t.Run(name, func(t *testing.T) {
			use, ok := uses[name]
			if !ok {
				t.Fatal("say above with which configuration it is to be examined, and what that exercises")
			}
			module, err := builtin.Module(name)
			if err != nil {
				t.Fatal(err)
			}
			checks := hosttest.Run(t, module, hosttest.Options{
				Host: h, Name: name, Builtin: name, Config: []byte(use.config), Outputs: []string{"weak"}, Steady: 20_000,
			})
			for _, check := range []string{"wrong configuration", use.exercises} {
				if name == "pass" && check == "wrong configuration" {
					continue // it has none
				}
				if c := find(t, checks, check); c.Result != hosttest.Passed {
					t.Errorf("%s is %s: %s", c.Name, c.Result, c.Reason)
				}
			}
		})
	}
}
