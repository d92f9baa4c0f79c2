package host

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/wasmill/wasmill/host/inspect"
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
	size := load(b, spec).Size()
	var used time.Duration // of the processor: it says the same on a machine that is busy
	for b.Loop() {
		b.StopTimer()
		h := openHost(b, true)
		begin := processTime()
		b.StartTimer()
		gen, err := h.Load(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		used += processTime() - begin
		if err := errors.Join(gen.Close(b.Context()), h.Close(b.Context())); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(size)/(1<<20), "MiB")
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkPrepare is what a module costs that is seen for the first time,
// before it is compiled: inspecting and rewriting, of our own code alone.
func BenchmarkPrepare(b *testing.B) {
	path, err := goGuest()
	if err != nil {
		b.Fatal(err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(binary)))
	begin := processTime()
	defer func() {
		b.ReportMetric(float64(len(binary)*b.N)/1e6/(processTime()-begin).Seconds(), "MB/cpu-s")
	}()
	for b.Loop() {
		if _, _, err := prepare(binary, func(*inspect.Module) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
