package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// answer runs one event on a fresh instance and returns the payload that comes.
func answer(t *testing.T, gen *Generation) string {
	t.Helper()
	i, err := gen.NewInstance(t.Context(), InstanceSpec{})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Discard()
	var res abi.Result
	if err := i.Process(t.Context(), abi.BatchHeader{}, []abi.Event{{Subject: []byte("a")}}, &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Outputs) != 1 {
		t.Fatalf("got %d outputs", len(res.Outputs))
	}
	return string(res.Outputs[0].Payload)
}

func TestVariant(t *testing.T) {
	h := openHost(t, true)
	load := func(mode string, grants ...string) *Generation {
		t.Helper()
		spec := goSpec(t, mode)
		spec.Grants = grants
		gen, err := h.Load(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := gen.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return gen
	}
	variant := func(gen *Generation, v Variant) *Generation {
		t.Helper()
		other, err := gen.Variant(v)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := other.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return other
	}
	at := time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)
	fixed := &Fixed{Now: func() time.Time { return at }, Seed: "seed"}

	t.Run("has a configuration of its own and the code of the other", func(t *testing.T) {
		gen := load("open")
		if got := answer(t, variant(gen, Variant{Config: []byte(`{"mode":"clock"}`), Fixed: fixed})); got != "0" {
			t.Errorf("the clock of a plugin without the grant says %s, want the beginning of 1970", got)
		}
		if got := answer(t, gen); got == "0" {
			t.Error("the variant's configuration became that of the generation")
		}
	})
	t.Run("a fixed clock under the grant", func(t *testing.T) {
		if got, want := answer(t, variant(load("clock", "clock"), Variant{Config: []byte(`{"mode":"clock"}`), Fixed: fixed})), "1935360000"; got != want {
			t.Errorf("the clock says %s, want %s", got, want)
		}
	})
	t.Run("randomness begins with the seed, with and without the grant", func(t *testing.T) {
		mode := Variant{Config: []byte(`{"mode":"random"}`), Fixed: fixed}
		one := answer(t, variant(load("random", "random"), mode))
		if two := answer(t, variant(load("random"), mode)); one != two {
			t.Errorf("got %s and %s", one, two)
		}
		mode.Fixed = &Fixed{Now: fixed.Now, Seed: "another"}
		if three := answer(t, variant(load("random"), mode)); one == three {
			t.Error("another seed gives the same numbers")
		}
	})
	t.Run("keeps the code when the generation is closed first", func(t *testing.T) {
		gen := load("open")
		other := variant(gen, Variant{Config: []byte(`{"mode":"clock"}`), Fixed: fixed})
		if err := gen.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := answer(t, other); got != "0" {
			t.Errorf("got %s", got)
		}
		if _, err := gen.Variant(Variant{}); !errors.Is(err, ErrClosed) {
			t.Errorf("a variant of a closed generation: %v", err)
		}
	})
}
