//go:build !wasip1

package sdk_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

type color string

type limits struct {
	Low, High *int8
}

type area struct {
	Name   string
	Center [2]float64 `json:"-"`
	Radius float32    `json:"radius_km,omitempty"`
}

type settings struct {
	limits
	MinMagnitude float64
	BaseURL      string `json:"base"`
	Wait         time.Duration
	Areas        []area
	Weights      map[color]uint16
	Any          any
	On           bool
	Net          netip.Addr
	Raw          json.RawMessage
	Deep         **area
	hidden       int
}

// decode decodes a configuration into into.
func decode(doc string, into any) error {
	v, ok := jsonptr.Find([]byte(doc), "")
	if !ok {
		return errors.New("no JSON: " + doc)
	}
	return (&sdk.Instance{Config: v}).Decode(into)
}

func TestDecode(t *testing.T) {
	t.Run("every kind of field", func(t *testing.T) {
		got := settings{hidden: 1}
		err := decode(`{
			"low": -5, "High": 5, "min_magnitude": 4.5, "base": "http://x/\u00e9", "wait": "1m30s",
			"areas": [{"name": "a", "radius_km": 1.5}, {"NAME": "b"}], "weights": {"red": 65535},
			"any": {"a": [1, "x", true, null, {}]}, "on": true, "net": "10.0.0.1", "raw": {"k":  1}, "deep": {"name": "d"}
		}`, &got)
		if err != nil {
			t.Fatal(err)
		}
		low, high, deep := int8(-5), int8(5), &area{Name: "d"}
		want := settings{
			limits: limits{Low: &low, High: &high}, MinMagnitude: 4.5, BaseURL: "http://x/é", Wait: 90 * time.Second,
			Areas: []area{{Name: "a", Radius: 1.5}, {Name: "b"}}, Weights: map[color]uint16{"red": 65535},
			Any: map[string]any{"a": []any{1.0, "x", true, nil, map[string]any{}}}, On: true, Net: netip.MustParseAddr("10.0.0.1"),
			Raw: json.RawMessage(`{"k":  1}`), Deep: &deep, hidden: 1,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	})
	t.Run("what is not mentioned keeps its default", func(t *testing.T) {
		got := settings{MinMagnitude: 3, Wait: time.Second, Areas: []area{{Name: "x"}}}
		if err := decode(`{"wait": "2s"}`, &got); err != nil {
			t.Fatal(err)
		}
		if got.MinMagnitude != 3 || got.Wait != 2*time.Second || len(got.Areas) != 1 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("null empties a field", func(t *testing.T) {
		low := int8(1)
		got := settings{limits: limits{Low: &low}, Areas: []area{{}}, Any: 1}
		if err := decode(`{"low": null, "areas": null, "any": null}`, &got); err != nil || got.Low != nil || got.Areas != nil || got.Any != nil {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("without a configuration there is nothing to do", func(t *testing.T) {
		got := settings{MinMagnitude: 3}
		if err := (&sdk.Instance{}).Decode(&got); err != nil || got.MinMagnitude != 3 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	for _, c := range []struct{ name, doc, want string }{
		{"an unknown key", `{"min_magnitud": 4}`, `config: unknown key "min_magnitud"; there is low, high, min_magnitude, base, wait, areas, weights, any, on, net, raw, deep`},
		{"an unknown key inside", `{"areas": [{}, {"nam": 1}]}`, `config.areas[1]: unknown key "nam"; there is name, radius_km`},
		{"a name that its tag replaces", `{"base_url": ""}`, `unknown key "base_url"`},
		{"a hidden field", `{"hidden": 1}`, `unknown key "hidden"`},
		{"text for a number", `{"min_magnitude": "4.5"}`, `config.min_magnitude: want a number, got "4.5"`},
		{"a fraction for an integer", `{"low": 1.5}`, `config.low: want an integer that fits int8, got 1.5`},
		{"too large an integer", `{"weights": {"red": 65536}}`, `config.weights.red: want an integer that fits uint16, got 65536`},
		{"a negative one", `{"weights": {"red": -1}}`, `config.weights.red: want an integer that fits uint16, got -1`},
		{"too large a number", `{"areas": [{"radius_km": 1e39}]}`, `config.areas[0].radius_km: want a number, got 1e39`},
		{"a number for text", `{"base": 1}`, `config.base: want a string, got 1`},
		{"a number for a boolean", `{"on": 1}`, `config.on: want a boolean, got 1`},
		{"a number for a duration", `{"wait": 5}`, `config.wait: want a duration such as "1.5s", got 5`},
		{"text that is no duration", `{"wait": "soon"}`, `config.wait: want a duration such as "1.5s", got "soon"`},
		{"a table for an array", `{"areas": {}}`, `config.areas: want an array, got {}`},
		{"an array for a table", `{"weights": []}`, `config.weights: want a table, got []`},
		{"an array for a struct", `{"deep": []}`, `config.deep: want a table, got []`},
		{"text that a type refuses", `{"net": "10.0.0"}`, `config.net: ParseAddr("10.0.0")`},
		{"a number for such a type", `{"net": 1}`, `config.net: want a table, got 1`},
		{"a long value is cut", `{"on": "` + strings.Repeat("x", 100) + `"}`, `…`},
	} {
		t.Run(c.name+" is refused", func(t *testing.T) {
			if err := decode(c.doc, &settings{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	t.Run("a type that cannot be configured is refused", func(t *testing.T) {
		for _, into := range []any{&struct{ C chan int }{}, &struct{ C [2]int }{}, &struct{ C error }{}, &struct{ C map[int]int }{}} {
			if err := decode(`{"c": [1]}`, into); err == nil || !strings.HasPrefix(err.Error(), "config.c: ") {
				t.Errorf("%T: %v", into, err)
			}
		}
		for _, into := range []any{nil, settings{}, (*settings)(nil)} {
			if err := decode(`{}`, into); err == nil || !strings.Contains(err.Error(), "needs a pointer") {
				t.Errorf("%T: %v", into, err)
			}
		}
	})
	t.Run("a plugin gets it", func(t *testing.T) {
		var got settings
		open := sdk.WithConfig(func(_ *sdk.Instance, c settings) (sdk.Handler, error) {
			got = c
			return func(*sdk.Event, *sdk.Out) error { return nil }, nil
		})
		sdktest.Open(t, sdktest.Options{Plugin: open, Config: map[string]any{"min_magnitude": 4.5}})
		if got.MinMagnitude != 4.5 {
			t.Errorf("got %+v", got)
		}
		err := sdktest.Refused(t, sdktest.Options{Plugin: open, Config: map[string]any{"x": 1}})
		if !strings.Contains(err.Error(), `unknown key "x"`) {
			t.Error(err)
		}
	})
}

// FuzzDecode compares with encoding/json where both accept a document.
func FuzzDecode(f *testing.F) {
	type small struct {
		A int32
		B []string
		C map[string]float64
		D any
		E *struct{ F bool }
	}
	f.Add(`{"a": 1, "b": ["x", "\n"], "c": {"k": -1.5e3}, "d": [null, {"x": []}], "e": {"f": true}}`)
	f.Add(`{"E": null, "D": 1}`)
	f.Fuzz(func(t *testing.T, doc string) {
		var got, want small
		if err := decode(doc, &got); err != nil {
			return
		}
		if strings.Contains(doc, "_") || !json.Valid([]byte(doc)) || strings.ToValidUTF8(doc, "") != doc {
			return
		}
		err := json.Unmarshal([]byte(doc), &want)
		if err != nil || repeats(doc) {
			return // such as null in a slice of strings, or a name twice
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\n got %+v\nwant %+v", doc, got, want)
		}
	})
}

// repeats says that an object of doc may have two members of one name; what a
// struct or a map then holds is nobody's business.
func repeats(doc string) bool {
	seen := map[string]bool{}
	for _, part := range strings.Split(strings.ToLower(doc), `"`) {
		if seen[part] && strings.Trim(part, " :,[]{}\t\r\n") != "" {
			return true
		}
		seen[part] = true
	}
	return false
}
