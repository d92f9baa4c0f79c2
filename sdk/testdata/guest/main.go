// Command guest is the plugin with which wasm_test.go tries the SDK in
// WebAssembly: the payload of an event says what to do.
package main

import (
	"errors"
	"runtime"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Greeting string
	Wait     time.Duration
	Refuse   bool
}

var (
	seen  = sdk.NewCounter("seen_total")
	level = sdk.NewGauge("level")
	size  = sdk.NewHistogram("size_bytes")
	bad   = sdk.NewCounter("Not A Name")

	kept [][]byte
)

func init() { sdk.HandleConfig(open) }

func open(in *sdk.Instance, c config) (sdk.Handler, error) {
	if c.Refuse {
		return nil, errors.Join(errors.New("greeting is rude"), errors.New("wait is long"))
	}
	in.OnClose(func(out *sdk.Out) error {
		out.Emit(sdk.Message{Subject: "bye", Payload: []byte(strconv.Itoa(len(kept)))})
		return nil
	})
	return func(e *sdk.Event, out *sdk.Out) error {
		seen.Inc()
		bad.Inc()
		level.Set(float64(e.Seq()))
		size.Observe(float64(len(e.Payload())))
		switch string(e.Payload()) {
		case "greet":
			say(out, c.Greeting+" "+c.Wait.String()+" "+in.Plugin+" "+in.Pipeline+" "+strconv.Itoa(in.Partition))
		case "log":
			sdk.Warn("careful", "seq", e.Seq())
		case "panic":
			out.Pass()
			var numbers []int
			say(out, strconv.Itoa(numbers[int(e.Seq())]))
		case "dead":
			return sdk.DeadLetterBecause("no use")
		case "later":
			return sdk.RetryAfter(time.Second, "busy")
		case "now":
			say(out, sdk.Now().Format(time.DateOnly))
		case "random":
			b := make([]byte, 3<<20)
			sdk.Random(b)
			zeros := 0
			for _, c := range b[len(b)-1000:] {
				if c == 0 {
					zeros++
				}
			}
			say(out, strconv.FormatBool(zeros < 100))
		case "secret":
			long, ok := sdk.Secret("long")
			_, other := sdk.Secret("other")
			say(out, strconv.Itoa(len(long))+" "+strconv.FormatBool(ok)+" "+strconv.FormatBool(other))
		case "garbage":
			for range 64 {
				kept = append(kept[:0], make([]byte, 64<<10))
			}
		case "goroutine":
			done := make(chan string)
			go func() { done <- "from a goroutine" }()
			say(out, <-done)
		case "heap":
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			say(out, strconv.FormatUint(m.HeapSys>>20, 10))
		default:
			out.Emit(sdk.Message{Output: "other", Subject: "copied", Key: e.Key(), Payload: e.Payload(), KeepHeaders: true, Headers: []sdk.Header{{Name: "N", Value: "v"}}})
		}
		return nil
	}, nil
}

func say(out *sdk.Out, text string) { out.Emit(sdk.Message{Payload: []byte(text)}) }

func main() {}
