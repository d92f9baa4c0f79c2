// Plugin strong passes on earthquakes of at least a magnitude, and with an area
// only those inside it.
package main

import "github.com/wasmill/wasmill/sdk"

type config struct {
	MinMagnitude float64 `json:"min_magnitude"`
	Area         *area   `json:"area"` // all of the earth when absent
}

// area is a box in degrees; it does not cross the date line.
type area struct {
	West, East   float64
	South, North float64
}

func init() { sdk.HandleConfig(open) }

func main() {}

func open(_ *sdk.Instance, c config) (sdk.Handler, error) {
	return func(e *sdk.Event, out *sdk.Out) error {
		if mag, ok := e.Find("/mag").Float(); !ok || mag < c.MinMagnitude {
			return sdk.Drop
		}
		if c.Area != nil {
			lon, _ := e.Find("/lon").Float()
			lat, _ := e.Find("/lat").Float()
			if !c.Area.contains(lon, lat) {
				return sdk.Drop
			}
		}
		out.Pass()
		return nil
	}, nil
}

func (a *area) contains(lon, lat float64) bool {
	return a.West <= lon && lon <= a.East && a.South <= lat && lat <= a.North
}
