// Command tell is the plugin of the test of secrets: it tells its own wherever a
// plugin can by accident.
package main

import (
	"fmt"
	"os"

	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.HandleOpen(open) }

func main() {}

func open(*sdk.Instance) (sdk.Handler, error) {
	key, ok := sdk.Secret("key")
	if !ok {
		return nil, fmt.Errorf("there is no secret")
	}
	fmt.Fprintln(os.Stderr, "opened with", key)
	return func(e *sdk.Event, out *sdk.Out) error {
		sdk.Info("told", "key", key)
		fmt.Fprintln(os.Stderr, "the key is "+key)
		switch string(e.Payload()) {
		case "panic":
			panic("the key is " + key)
		case "fail":
			return fmt.Errorf("cannot use %s", key)
		case "refuse":
			return sdk.DeadLetterBecause("nobody takes " + key)
		}
		out.Emit(sdk.Message{Payload: []byte("done")})
		return nil
	}, nil
}
