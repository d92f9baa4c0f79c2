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

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

func init() { sdk.HandleOpen(open) }

var (
	errNoNumber = sdk.DropBecause("no number at the pointer")
	errOutside  = sdk.DropBecause("outside the bounds")
)

func open(in *sdk.Instance) (sdk.Handler, error) {
	pointer, least, most, other, err := configuration(in)
	if err != nil {
		return nil, err
	}
	return func(e *sdk.Event, out *sdk.Out) error {
		n, ok := e.Find(pointer).Float()
		switch {
		case !ok:
			return errNoNumber
		case n >= least && n <= most:
			out.Pass()
		case other != "":
			out.PassTo(other)
		default:
			return errOutside
		}
		return nil
	}, nil
}

// configuration reads the fields one by one, which keeps reflection out of a
// module that is in every binary.
func configuration(in *sdk.Instance) (pointer string, least, most float64, other string, err error) {
	least, most = math.Inf(-1), math.Inf(1)
	for name, v := range in.Config.Members() {
		ok := true
		switch field := name.String(); field {
		case "pointer":
			pointer, ok = v.String(), v.Kind() == jsonptr.String
		case "min":
			least, ok = v.Float()
		case "max":
			most, ok = v.Float()
		case "else":
			other, ok = v.String(), v.Kind() == jsonptr.String
		default:
			return "", 0, 0, "", errors.New(`config: unknown field "` + field + `"; there are pointer, min, max and else`)
		}
		if !ok {
			return "", 0, 0, "", errors.New("config: " + name.String() + " does not take a " + v.Kind().String())
		}
	}
	switch {
	case pointer == "":
		err = errors.New(`config: pointer is missing; it says where the number is, such as "/properties/mag"`)
	case jsonptr.Check(pointer) != nil:
		err = jsonptr.Check(pointer)
	case least > most:
		err = errors.New("config: min is greater than max, so nothing would be kept")
	case other != "" && !in.HasOutput(other):
		err = errors.New(`config: else names the output "` + other + `", which the pipeline does not have`)
	}
	return pointer, least, most, other, err
}

func main() {}
