// Package route is the ready-made plugin that gives events to the named outputs
// of their pipeline. README.md beside it is its documentation.
package route

import (
	"errors"
	"fmt"

	"github.com/wasmill/wasmill/plugins/builtin/expression"
	"github.com/wasmill/wasmill/plugins/builtin/outputs"
	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Match     string
	Rules     []rule
	Otherwise string
}

type rule struct {
	When, To string
}

type compiled struct {
	when *expression.Program
	key  string // where the expression is in the configuration
	to   string
}

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	c := config{Match: "first"}
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if c.Match != "first" && c.Match != "all" {
		return nil, fmt.Errorf(`config.match: want "first" or "all", got %q`, c.Match)
	}
	if len(c.Rules) == 0 {
		return nil, errors.New(`config: rules is missing; it is a list such as [{ when = 'payload.mag >= 6', to = "severe" }]`)
	}
	if c.Otherwise != "" {
		if err := outputs.Check(in, "otherwise", c.Otherwise); err != nil {
			return nil, err
		}
	}
	rules := make([]compiled, len(c.Rules))
	for i, r := range c.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		if err := outputs.Check(in, key+".to", r.To); err != nil {
			return nil, err
		}
		when, err := expression.Condition(r.When)
		if err != nil {
			return nil, expression.Configured(key+".when", err)
		}
		rules[i] = compiled{when, key + ".when", r.To}
	}
	drop := sdk.DropBecause("no rule is true")
	return func(e *sdk.Event, out *sdk.Out) error {
		matched := false
		for i := range rules {
			r := &rules[i]
			ok, err := r.when.Bool(e)
			if err != nil {
				return expression.Failed(r.key, err)
			}
			if !ok {
				continue
			}
			out.PassTo(r.to)
			if matched = true; c.Match == "first" {
				break
			}
		}
		switch {
		case matched:
		case c.Otherwise != "":
			out.PassTo(c.Otherwise)
		default:
			return drop
		}
		return nil
	}, nil
}
