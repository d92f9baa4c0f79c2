// Plugin route publishes each earthquake under alerts.NETWORK.LEVEL, and those
// with a tsunami warning to the output "tsunami" as well.
package main

import (
	"errors"

	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Levels []level `json:"levels"` // from the highest to the lowest
}

// level is a name for magnitudes from From on.
type level struct {
	From float64 `json:"from"`
	Name string  `json:"name"`
}

func init() { sdk.HandleConfig(open) }

func main() {}

func open(in *sdk.Instance, c config) (sdk.Handler, error) {
	for i, l := range c.Levels {
		if i > 0 && l.From >= c.Levels[i-1].From {
			return nil, errors.New("levels must go from the highest to the lowest: " + l.Name + " does not")
		}
	}
	warn := in.HasOutput("tsunami")

	return func(e *sdk.Event, out *sdk.Out) error {
		mag, ok := e.Find("/mag").Float()
		if !ok {
			return sdk.DeadLetterBecause("no magnitude: is parse in front of route?")
		}
		out.PassAs(sdk.Message{Subject: "alerts." + e.Find("/net").String() + "." + c.name(mag)})
		if tsunami, _ := e.Find("/tsunami").Int(); warn && tsunami != 0 {
			out.PassTo("tsunami")
		}
		return nil
	}, nil
}

// name returns the level of a magnitude.
func (c *config) name(mag float64) string {
	for _, l := range c.Levels {
		if mag >= l.From {
			return l.Name
		}
	}
	return "other"
}
