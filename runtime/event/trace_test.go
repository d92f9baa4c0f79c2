package event

import (
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

const goodParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParseTraceParent(t *testing.T) {
	for name, tc := range map[string]struct {
		in string
		ok bool
	}{
		"sampled":                       {goodParent, true},
		"not sampled":                   {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true},
		"with the flag for random":      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", true},
		"a later version":               {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
		"a later version that has more": {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", true},
		"empty":                         {"", false},
		"this version with more":        {goodParent + "-what", false},
		"a later version, run together": {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what", false},
		"the version that is none":      {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
		"capitals":                      {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},
		"no trace":                      {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		"no span":                       {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		"not hexadecimal":               {"00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01", false},
		"cut off":                       {goodParent[:54], false},
		"wrong dashes":                  {"00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, ok := ParseTraceParent([]byte(tc.in))
			if ok != tc.ok {
				t.Fatalf("%q: %v", tc.in, ok)
			}
			if !ok && c != (SpanContext{}) {
				t.Errorf("%q is refused and leaves %v", tc.in, c)
			}
			if ok && c.TraceParent()[3:] != tc.in[3:55] {
				t.Errorf("%q is written again as %q", tc.in, c.TraceParent())
			}
		})
	}
}

func FuzzParseTraceParent(f *testing.F) {
	f.Add([]byte(goodParent))
	f.Add([]byte("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := ParseTraceParent(b)
		if !ok {
			return
		}
		if again, ok := ParseTraceParent([]byte(c.TraceParent())); !ok || again != c {
			t.Errorf("%q: %v becomes %v", b, c, again)
		}
	})
}

func TestTraceHeader(t *testing.T) {
	block := abi.AppendHeader(nil, "Color", "red")
	block = abi.AppendHeader(block, "Traceparent", "a")
	block = abi.AppendHeader(block, "traceparent", "b")
	key, value, ok := TraceHeader(block, HeaderTraceParent)
	if !ok || string(key) != "Traceparent" || string(value) != "a" {
		t.Errorf("found %q, %q, %v", key, value, ok)
	}
	if _, _, ok := TraceHeader(block, HeaderTraceState); ok {
		t.Error("found what is not there")
	}
	if _, _, ok := TraceHeader(abi.AppendHeader(nil, "TRACE\x10ARENT", "x"), HeaderTraceParent); ok {
		t.Error("took another name for it")
	}
}

func TestARecordIsBounded(t *testing.T) {
	var r Trace
	for range 3 * MaxTraced {
		r.Call(&TracedCall{})
		r.Note(TracedNote{})
	}
	if len(r.Calls) != MaxTraced || len(r.Notes) != MaxTraced || r.LeftOut != 4*MaxTraced {
		t.Errorf("%d calls, %d notes, %d left out", len(r.Calls), len(r.Notes), r.LeftOut)
	}
}
