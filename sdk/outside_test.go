//go:build !wasip1

package sdk_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

func TestLogs(t *testing.T) {
	p := sdktest.Open(t, sdktest.Options{Plugin: handler(func(*sdk.Event, *sdk.Out) error {
		sdk.Debug("plain")
		sdk.Info("quake", "mag", 4.5, "net", "uw", "n", 3, "ok", true, "raw", []byte("x"), "u", uint64(1<<63))
		sdk.Warn("odd", "text", "two words", "empty", "", "err", errors.New(`a "b"`), "d", 1500*time.Millisecond, "nil", nil, "any", struct{}{})
		sdk.Error("unpaired", "a", 1, 2, "b", "c")
		return nil
	})})
	p.Process(sdktest.Event{})
	want := []sdktest.Log{
		{Level: sdk.LevelDebug, Line: `plain`},
		{Level: sdk.LevelInfo, Line: `quake mag=4.5 net=uw n=3 ok=true raw=x u=9223372036854775808`},
		{Level: sdk.LevelWarn, Line: `odd text="two words" empty="" err="a \"b\"" d=1.5s nil=nil any="(a value without text)"`},
		{Level: sdk.LevelError, Line: `unpaired a=1 !BADKEY=b !BADKEY=c`},
	}
	if got := p.Logs(); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestMetrics(t *testing.T) {
	seen, level, size := sdk.NewCounter("seen_total"), sdk.NewGauge("level"), sdk.NewHistogram("size_bytes")
	p := sdktest.Open(t, sdktest.Options{Plugin: handler(func(e *sdk.Event, _ *sdk.Out) error {
		seen.Inc()
		seen.Add(2)
		level.Set(float64(e.Seq()))
		size.Observe(float64(len(e.Payload())))
		return nil
	})})
	p.Process(sdktest.Event{Payload: "abc"}, sdktest.Event{Payload: "de"})
	for name, want := range map[string]sdktest.Metric{
		"seen_total": {Kind: abi.MetricCounter, Count: 4, Value: 6},
		"level":      {Kind: abi.MetricGauge, Count: 2, Value: 2},
		"size_bytes": {Kind: abi.MetricHistogram, Count: 2, Value: 5},
		"none":       {},
	} {
		if got := p.Metric(name); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestGrants(t *testing.T) {
	at := time.Date(2018, 2, 6, 0, 0, 0, 0, time.UTC)
	var now time.Time
	var random [4]byte
	var secret string
	var has, hasOther bool
	use := handler(func(e *sdk.Event, _ *sdk.Out) error {
		switch string(e.Payload()) {
		case "clock":
			now = sdk.Now()
		case "random":
			sdk.Random(random[:])
		case "secret":
			secret, has = sdk.Secret("token")
			_, hasOther = sdk.Secret("other")
		}
		return nil
	})
	events := []sdktest.Event{{Payload: "clock"}, {Payload: "random"}, {Payload: "secret"}}
	t.Run("granted", func(t *testing.T) {
		r := sdktest.Open(t, sdktest.Options{
			Plugin: use, Now: func() time.Time { return at }, Random: func(b []byte) { copy(b, "abcd") }, Secrets: map[string]string{"token": "x"},
		}).Process(events...)
		if len(r.Outcomes) != 0 {
			t.Errorf("got %+v", r)
		}
		if now != at || string(random[:]) != "abcd" || secret != "x" || !has || hasOther {
			t.Errorf("got %v, %s, %q, %t, %t", now, random, secret, has, hasOther)
		}
	})
	t.Run("not granted", func(t *testing.T) {
		r := sdktest.Open(t, sdktest.Options{Plugin: use}).Process(events...)
		for i, e := range events {
			if o, _ := r.Outcome(i); !strings.Contains(o.Reason, `does not have the grant "`+e.Payload+`"`) {
				t.Errorf("%s: got %+v", e.Payload, o)
			}
		}
	})
}
