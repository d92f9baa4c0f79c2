// Plugin parse turns a feature of the USGS feed into a small event and sends
// what is no proper earthquake to the dead letters, with the reason.
package main

import (
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

func init() {
	sdk.HandleOpen(func(*sdk.Instance) (sdk.Handler, error) {
		return new(parser).parse, nil
	})
}

func main() {}

// What can be wrong with an event. Made once, so that bad events cost no more than good ones.
var (
	noJSON        = sdk.DeadLetterBecause("payload is not a JSON object")
	noID          = sdk.DeadLetterBecause("no id")
	noNet         = sdk.DeadLetterBecause("no network")
	noMagnitude   = sdk.DeadLetterBecause("no magnitude")
	noTime        = sdk.DeadLetterBecause("no time")
	noCoordinates = sdk.DeadLetterBecause("no coordinates")
	offTheMap     = sdk.DeadLetterBecause("coordinates are off the map")
)

type parser struct {
	buf []byte // of the event being written; Emit copies it
}

func (p *parser) parse(e *sdk.Event, out *sdk.Out) error {
	feature := e.Find("") // checks the whole payload
	if feature.Kind() != jsonptr.Object {
		return noJSON
	}
	properties := feature.Find("/properties")
	if kind := properties.Find("/type"); kind.Exists() && string(kind.Bytes()) != "earthquake" {
		return sdk.Drop // quarry blasts and the like
	}

	id, net := feature.Find("/id"), properties.Find("/net")
	mag, time := properties.Find("/mag"), properties.Find("/time")
	at := feature.Find("/geometry/coordinates")
	lon, lat, depth := at.Find("/0"), at.Find("/1"), at.Find("/2")
	switch {
	case !isText(id):
		return noID
	case !isText(net):
		return noNet
	case !isNumber(mag):
		return noMagnitude
	case !isInteger(time):
		return noTime
	case !isNumber(lon) || !isNumber(lat) || !isNumber(depth):
		return noCoordinates
	case !within(lon, 180) || !within(lat, 90):
		return offTheMap
	}

	// Numbers and strings are taken over as they were written, so that nothing is rounded.
	b := append(p.buf[:0], `{"id":`...)
	b = append(b, id.Raw()...)
	b = append(append(b, `,"net":`...), net.Raw()...)
	b = append(append(b, `,"mag":`...), mag.Raw()...)
	b = append(append(b, `,"place":`...), orElse(properties.Find("/place"), jsonptr.String, `""`)...)
	b = append(append(b, `,"time":`...), time.Raw()...)
	b = append(append(b, `,"lat":`...), lat.Raw()...)
	b = append(append(b, `,"lon":`...), lon.Raw()...)
	b = append(append(b, `,"depth":`...), depth.Raw()...)
	b = append(append(b, `,"tsunami":`...), orElse(properties.Find("/tsunami"), jsonptr.Number, "0")...)
	p.buf = append(b, '}')
	out.Emit(sdk.Message{Payload: p.buf})
	return nil
}

func isText(v sdk.Value) bool { return v.Kind() == jsonptr.String && len(v.Bytes()) > 0 }

func isNumber(v sdk.Value) bool {
	_, ok := v.Float()
	return ok
}

func isInteger(v sdk.Value) bool {
	_, ok := v.Int()
	return ok
}

func within(v sdk.Value, limit float64) bool {
	f, _ := v.Float()
	return -limit <= f && f <= limit
}

// orElse is v's text when v is of that kind, else the default.
func orElse(v sdk.Value, kind jsonptr.Kind, other string) []byte {
	if v.Kind() == kind {
		return v.Raw()
	}
	return []byte(other)
}
