// Command guest is the plugin of the engine's tests. What it does is told by
// the word in mode, which the tests overwrite in the module itself: that makes
// many versions, each with a digest of its own, out of one build.
package main

import (
	"os"
	"strings"

	"github.com/wasmill/wasmill/sdk"
)

// mode is "mode=", a word, and blanks. "exit" ends the guest at every event; any
// other word is appended to the payload.
var mode = "mode=first                           "

func init() { sdk.HandleOpen(open) }

func open(*sdk.Instance) (sdk.Handler, error) {
	word := strings.TrimSpace(mode[len("mode="):])
	return func(e *sdk.Event, out *sdk.Out) error {
		if word == "exit" || string(e.Payload()) == "poison" {
			os.Exit(3)
		}
		out.Emit(sdk.Message{Payload: append(append([]byte{}, e.Payload()...), " "+word...)})
		return nil
	}, nil
}

func main() {}
