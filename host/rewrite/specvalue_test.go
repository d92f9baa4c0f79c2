package rewrite

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// value is an argument or an expected result in a script of the suite.
type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"` // a string; of a v128 its lanes
}

// bits returns the value as wazero passes it: two words for a v128, else one.
func (v value) bits() []uint64 {
	if v.Type != "v128" {
		return []uint64{v.scalar(v.text())}
	}
	lanes, width := v.lanes()
	words := make([]uint64, 2)
	for i, l := range lanes {
		at := i * width
		words[at/64] |= v.laneBits(l, width) << (at % 64)
	}
	return words
}

func (v value) text() string {
	var s string
	_ = json.Unmarshal(v.Value, &s) // null and nothing are ""
	return s
}

func (v value) lanes() (texts []string, width int) {
	if err := json.Unmarshal(v.Value, &texts); err != nil {
		panic(err)
	}
	return texts, 128 / len(texts)
}

func (v value) scalar(s string) uint64 {
	switch {
	case s == "" || s == "null":
		return 0
	case v.Type == "externref":
		n, _ := strconv.ParseUint(s, 10, 64)
		return n + 1 // zero is null
	case strings.HasSuffix(v.Type, "32"):
		return v.laneBits(s, 32)
	}
	return v.laneBits(s, 64)
}

func (v value) laneBits(s string, width int) uint64 {
	if strings.HasPrefix(s, "nan:") { // only where results are compared
		return 0
	}
	if strings.HasPrefix(s, "-") {
		n, err := strconv.ParseInt(s, 10, width)
		if err != nil {
			panic(err)
		}
		return uint64(n) & (1<<width - 1)
	}
	n, err := strconv.ParseUint(s, 10, width)
	if err != nil {
		panic(err)
	}
	return n
}

// compare says how results differ from what the suite expects.
func compare(got []uint64, types []api.ValueType, want []value) error {
	at := 0
	for i, w := range want {
		if i >= len(types) {
			return fmt.Errorf("%d results, want %d", len(types), len(want))
		}
		if w.Type != "v128" {
			if !w.anyReference() && !same(got[at], w.scalar(w.text()), w.text(), w.Type) {
				return fmt.Errorf("result %d is %#x, want %s %s", i, got[at], w.Type, w.Value)
			}
			at++
			continue
		}
		lanes, width := w.lanes()
		for k, l := range lanes {
			bit := k * width
			g := got[at+bit/64] >> (bit % 64)
			if width < 64 {
				g &= 1<<width - 1
			}
			if !same(g, w.laneBits(l, width), l, w.Lane) {
				return fmt.Errorf("result %d lane %d is %#x, want %s %s", i, k, g, w.Lane, l)
			}
		}
		at += 2
	}
	if at != len(got) {
		return fmt.Errorf("%d words of results, want %d", len(got), at)
	}
	return nil
}

// anyReference says whether any reference will do.
func (v value) anyReference() bool {
	return len(v.Value) == 0 && strings.HasSuffix(v.Type, "ref")
}

// same compares bits; a text of nan:… stands for many bit patterns.
func same(got, want uint64, text, typ string) bool {
	wide := strings.HasSuffix(typ, "64")
	canonical, mask := uint64(0x7fc0_0000), uint64(0x7fff_ffff)
	if wide {
		canonical, mask = 0x7ff8_0000_0000_0000, 0x7fff_ffff_ffff_ffff
	} else if typ == "i32" || typ == "f32" {
		got, want = got&0xffff_ffff, want&0xffff_ffff
	}
	switch text {
	case "nan:canonical":
		return got&mask == canonical
	case "nan:arithmetic":
		return got&canonical == canonical
	}
	return got == want
}
