// Command check is the plugin of the dashboard's tests: it wants a number at
// /value, logs now and then, and marks what it passes.
package main

import (
	"strings"

	"github.com/wasmill/wasmill/sdk"
)

// mark is written into each output. The tests overwrite it in the module, which
// makes another version with a digest of its own.
var mark = "mark=one  "

func init() { sdk.HandleOpen(open) }

func main() {}

func open(*sdk.Instance) (sdk.Handler, error) {
	word := strings.TrimSpace(mark[len("mark="):])
	seen := 0
	return func(e *sdk.Event, out *sdk.Out) error {
		value, ok := e.Find("/value").Float()
		if !ok {
			if panics, _ := e.Find("/panic").Int(); panics != 0 {
				panic("the test wants it")
			}
			return sdk.DeadLetterBecause("there is no number at /value")
		}
		if seen++; seen%500 == 1 {
			sdk.Info("still checking", "seen", seen, "mark", word)
		}
		if value < 0 {
			return sdk.Drop
		}
		payload := append([]byte(`{"checked":"`+word+`","event":`), e.Payload()...)
		out.Emit(sdk.Message{Payload: append(payload, '}'), KeepHeaders: true, Headers: []sdk.Header{{Name: "Checked", Value: word}}})
		return nil
	}, nil
}
