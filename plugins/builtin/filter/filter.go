// Package filter is the ready-made plugin that keeps the events for which an
// expression is true. README.md beside it is its documentation.
package filter

import (
	"errors"

	"github.com/wasmill/wasmill/plugins/builtin/expression"
	"github.com/wasmill/wasmill/plugins/builtin/outputs"
	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Where string
	Else  string
}

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	var c config
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if c.Where == "" {
		return nil, errors.New(`config: where is missing; it is the expression that an event must meet, such as 'payload.mag >= 4.5'`)
	}
	where, err := expression.Condition(c.Where)
	if err != nil {
		return nil, expression.Configured("where", err)
	}
	if c.Else != "" {
		if err := outputs.Check(in, "else", c.Else); err != nil {
			return nil, err
		}
	}
	drop := sdk.DropBecause("where is false")
	return func(e *sdk.Event, out *sdk.Out) error {
		kept, err := where.Bool(e)
		switch {
		case err != nil:
			return expression.Failed("where", err)
		case kept:
			out.Pass()
		case c.Else != "":
			out.PassTo(c.Else)
		default:
			return drop
		}
		return nil
	}, nil
}
