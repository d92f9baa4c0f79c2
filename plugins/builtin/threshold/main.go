// Command threshold is a plugin that keeps the events whose number at a JSON
// pointer lies within bounds, and drops the others. Its configuration:
//
//	pointer = "/properties/mag"  # required: where the number is
//	min     = 4.5                # the least that is kept; default: no bound
//	max     = 9.9                # the most that is kept; default: no bound
//	else    = "weak"             # an output for those outside; default: drop them
//
// Events without a number at the pointer are dropped, with a reason of their own.
package main

import (
	"errors"
	"math"

	"github.com/wasmill/wasmill/plugins/builtin/outputs"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

func init() { sdk.HandleOpen(open) }

type config struct {
	Pointer  string
	Min, Max float64
	Else     string
}

var (
	errNoNumber = sdk.DropBecause("no number at the pointer")
	errOutside  = sdk.DropBecause("outside the bounds")
)

func open(in *sdk.Instance) (sdk.Handler, error) {
	c := config{Min: math.Inf(-1), Max: math.Inf(1)}
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if err := c.check(in); err != nil {
		return nil, err
	}
	return func(e *sdk.Event, out *sdk.Out) error {
		n, ok := e.Find(c.Pointer).Float()
		switch {
		case !ok:
			return errNoNumber
		case n >= c.Min && n <= c.Max:
			out.Pass()
		case c.Else != "":
			out.PassTo(c.Else)
		default:
			return errOutside
		}
		return nil
	}, nil
}

// check does without fmt, which would make the module larger by a tenth.
func (c *config) check(in *sdk.Instance) error {
	if c.Pointer == "" {
		return errors.New(`config: pointer is missing; it says where the number is, such as "/properties/mag"`)
	}
	if err := jsonptr.Check(c.Pointer); err != nil {
		return errors.New("config.pointer: " + err.Error())
	}
	if c.Min > c.Max {
		return errors.New("config: min is greater than max, so nothing would be kept")
	}
	if c.Else != "" {
		return outputs.Check(in, "else", c.Else)
	}
	return nil
}

func main() {}
