package sdktest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

// strong is a plugin with something of everything.
func strong(in *sdk.Instance) (sdk.Handler, error) {
	least, ok := in.Config.Find("/min").Float()
	if !ok {
		return nil, errors.New("min is missing")
	}
	seen := sdk.NewCounter("seen_total")
	in.OnClose(func(out *sdk.Out) error {
		out.Emit(sdk.Message{Subject: "bye", Payload: []byte("\xff\x00")})
		return nil
	})
	return func(e *sdk.Event, out *sdk.Out) error {
		seen.Inc()
		mag, ok := e.Find("/mag").Float()
		switch {
		case !ok:
			sdk.Warn("no magnitude", "seq", e.Seq())
			return sdk.DeadLetterBecause("no magnitude")
		case mag < 0:
			return sdk.RetryAfter(time.Second, "negative")
		case mag < least:
			return sdk.Drop
		case mag > 9:
			out.Emit(sdk.Message{Payload: []byte("what?"), Key: e.Key()})
		}
		out.PassAs(sdk.Message{Output: "strong", Subject: "alerts", Headers: []sdk.Header{{Name: "Seq", Value: fmt.Sprint(e.Seq())}}})
		return nil
	}, nil
}

var options = sdktest.Options{Plugin: strong, Outputs: []string{"strong"}, Config: map[string]any{"min": 4.5}}

// failure is a testing.TB that keeps how it failed.
type failure struct {
	testing.TB
	text string
}

func (f *failure) Helper() {}
func (f *failure) Fatal(args ...any) {
	f.text = fmt.Sprint(args...)
	panic(f)
}

func (f *failure) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

// fails returns how do failed the test it was given.
func fails(t *testing.T, do func(testing.TB)) string {
	t.Helper()
	f := &failure{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(f) {
				panic(p)
			}
		}()
		do(f)
	}()
	return f.text
}

func TestGolden(t *testing.T) {
	p := sdktest.Open(t, options)
	events := sdktest.Lines(t, "testdata/quakes.ndjson", "quakes")
	events[0].Key = "k"
	events[0].Headers = []sdk.Header{{Name: "A", Value: "<1>"}}
	r := p.Process(events...)

	t.Run("agrees with the file", func(t *testing.T) {
		sdktest.Golden(t, "testdata/quakes.golden.ndjson", r)
		sdktest.Golden(t, "testdata/close.golden.ndjson", p.Close())
	})
	t.Run("says where it differs", func(t *testing.T) {
		r := r
		r.Outputs = append([]sdktest.Output(nil), r.Outputs...)
		r.Outputs[0].Subject = "other"
		got := fails(t, func(t testing.TB) { sdktest.Golden(t, "testdata/quakes.golden.ndjson", r) })
		if !strings.Contains(got, "quakes.golden.ndjson:1 differs") || !strings.Contains(got, `"subject":"other"`) {
			t.Errorf("got %q", got)
		}
		r.Outputs = r.Outputs[:1]
		if got := fails(t, func(t testing.TB) { sdktest.Golden(t, "testdata/quakes.golden.ndjson", r) }); got == "" {
			t.Error("missing lines pass")
		}
	})
	t.Run("says how to make the file", func(t *testing.T) {
		got := fails(t, func(t testing.TB) { sdktest.Golden(t, "testdata/none.ndjson", r) })
		if !strings.Contains(got, "WASMILL_UPDATE=1") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("writes the file when asked to", func(t *testing.T) {
		t.Setenv("WASMILL_UPDATE", "1")
		path := filepath.Join(t.TempDir(), "new.ndjson")
		sdktest.Golden(t, path, r)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != string(r.NDJSON()) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestPlugin(t *testing.T) {
	t.Run("numbers events that have no number", func(t *testing.T) {
		p := sdktest.Open(t, options)
		ok := sdktest.Event{Payload: `{"mag":5}`}
		later := ok
		later.Seq = 100
		p.Process(ok)
		r := p.Process(ok, later, ok)
		var got []string
		for i := range 3 {
			got = append(got, r.Of(i)[0].Headers[0].Value)
		}
		if s := strings.Join(got, " "); s != "2 100 101" {
			t.Errorf("got %s", s)
		}
	})
	t.Run("keeps logs and metrics of its own", func(t *testing.T) {
		a, b := sdktest.Open(t, options), sdktest.Open(t, options)
		a.Process(sdktest.Event{}, sdktest.Event{})
		b.Process(sdktest.Event{})
		if a.Metric("seen_total").Value != 2 || b.Metric("seen_total").Value != 1 {
			t.Errorf("counted %v and %v", a.Metric("seen_total"), b.Metric("seen_total"))
		}
		if logs := b.Logs(); len(logs) != 1 || logs[0] != (sdktest.Log{Level: sdk.LevelWarn, Line: "no magnitude seq=1"}) {
			t.Errorf("logged %v", logs)
		}
	})
	t.Run("works beside others", func(t *testing.T) {
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				p := sdktest.Open(t, options)
				for range 50 {
					p.Process(sdktest.Event{})
				}
				if v := p.Metric("seen_total").Value; v != 50 {
					t.Errorf("counted %v", v)
				}
			})
		}
		wait.Wait()
	})
	t.Run("fails the test when the plugin refuses, and when it should and does not", func(t *testing.T) {
		refused := options
		refused.Config = nil
		if got := fails(t, func(t testing.TB) { sdktest.Open(t, refused) }); !strings.Contains(got, "min is missing") {
			t.Errorf("got %q", got)
		}
		if err := sdktest.Refused(t, refused); err.Error() != "min is missing" {
			t.Error(err)
		}
		if got := fails(t, func(t testing.TB) { _ = sdktest.Refused(t, options) }); !strings.Contains(got, "expected to refuse") {
			t.Errorf("got %q", got)
		}
	})
}
