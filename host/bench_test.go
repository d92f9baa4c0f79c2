package host

import (
	"fmt"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// BenchmarkProcess is one batch of 256-byte events through the pass-through Go
// guest: encode, call, check, decode.
func BenchmarkProcess(b *testing.B) {
	i := start(b, load(b, goSpec(b, "")))
	for _, n := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			batch, res := events(n, 256), &abi.Result{}
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if err := i.Process(ctx, abi.BatchHeader{ID: 1}, batch, res); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// BenchmarkInstance is a fresh instance of the Go guest, up to its canary: what
// a fault costs.
func BenchmarkInstance(b *testing.B) {
	gen := load(b, goSpec(b, ""))
	for b.Loop() {
		i, err := gen.NewInstance(b.Context(), InstanceSpec{Pipeline: "p"})
		if err != nil {
			b.Fatal(err)
		}
		i.Discard()
	}
}

// BenchmarkLoad is a load of the Go guest from a warm compile cache on disk, by
// a host that has not loaded it before, as at the start of a process.
func BenchmarkLoad(b *testing.B) {
	spec := goSpec(b, "")
	load(b, spec)
	for b.Loop() {
		h := openHost(b, true)
		gen, err := h.Load(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		if err := gen.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
