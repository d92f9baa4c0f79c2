// The plugin that the tests of cases run: it does what the payload says.
package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Greeting string `json:"greeting"`
}

func init() { sdk.HandleConfig(open) }

func open(in *sdk.Instance, c config) (sdk.Handler, error) {
	if c.Greeting == "refuse" {
		return nil, errors.New("no greeting like that")
	}
	seen := 0
	in.OnClose(func(out *sdk.Out) error {
		if c.Greeting == "bye" {
			out.Emit(sdk.Message{Subject: "out.bye", Payload: fmt.Appendf(nil, `{"seen":%d}`, seen)})
		}
		return nil
	})
	return func(e *sdk.Event, out *sdk.Out) error {
		seen++
		say := func(format string, args ...any) { out.Emit(sdk.Message{Payload: fmt.Appendf(nil, format, args...)}) }
		switch string(e.Payload()) {
		case "greet":
			say(`{"greeting":%q,"number":%d,"seq":%d,"at":%q}`, c.Greeting, seen, e.Seq(), e.Time().UTC().Format(time.RFC3339))
		case "time":
			say("%s", time.Now().UTC().Format(time.RFC3339Nano))
		case "random":
			say("%d", rand.Uint64())
		case "secret":
			s, _ := sdk.Secret("key")
			say("%d letters", len(s))
		case "retry":
			return sdk.RetryAfter(time.Second, fmt.Sprintf("attempt %d", e.Attempt()))
		case "twice":
			if e.Attempt() < 2 {
				return sdk.Retry
			}
			out.Pass()
		case "dead":
			return sdk.DeadLetterBecause("no use")
		case "log":
			sdk.Warn("it is late", "seq", e.Seq())
			out.Pass()
		case "spin":
			spin()
		case "named":
			out.PassAs(sdk.Message{Output: "other", Key: []byte("k"), Headers: []sdk.Header{{Name: "B", Value: "2"}}})
		case "silent":
		case "binary":
			out.Emit(sdk.Message{Payload: []byte{0xff, 0}})
		default:
			out.Pass()
		}
		return nil
	}, nil
}

var spun int

//go:noinline
func spin() {
	for {
		spun++
	}
}

func main() {}
