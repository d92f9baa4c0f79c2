package host

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	wt "github.com/wasmill/wasmill/host/wasmtest"
)

func TestWASIIsComplete(t *testing.T) {
	rt := wazero.NewRuntime(t.Context())
	defer rt.Close(t.Context())
	b := rt.NewHostModuleBuilder(wasiModule)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	reference, err := b.Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours := wasiFunctions()
	for name, def := range reference.ExportedFunctions() {
		want := signature{string(def.ParamTypes()), string(def.ResultTypes())}
		if got, ok := ours[name]; !ok || got.sig != want {
			t.Errorf("%s is %s, want %s", name, got.sig, want)
		}
		delete(ours, name)
	}
	if len(ours) != 0 {
		t.Errorf("functions that WASI preview 1 does not have: %v", ours)
	}
}

// wasiCall calls one function as a guest with two pages of memory would.
func wasiCall(t *testing.T, i *Instance, name string, args ...uint64) uint32 {
	t.Helper()
	s := slices.Clone(args)
	if len(s) == 0 {
		s = []uint64{0}
	}
	wasiFunctions()[name].fn(i.guest, i.guest.view, s)
	return uint32(s[0])
}

func TestWASI(t *testing.T) {
	i := start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{})}))
	mem := i.guest.view
	end := uint64(mem.Size())
	le := binary.LittleEndian

	t.Run("pointers outside of the memory are EFAULT", func(t *testing.T) {
		for name, args := range map[string][]uint64{
			"args_sizes_get":    {0, end},
			"environ_sizes_get": {end - 3, 0},
			"clock_time_get":    {wasiMonotonic, 0, end - 7},
			"clock_res_get":     {wasiRealtime, end},
			"random_get":        {end - 1, 2},
			"fd_write":          {1, end - 8, 2, 0},
			"fd_read":           {0, 0, 0, end},
			"fd_fdstat_get":     {1, end - 23},
			"fd_filestat_get":   {1, end - 63},
			"poll_oneoff":       {end - 47, 0, 1, 0},
		} {
			if got := wasiCall(t, i, name, args...); got != errnoFault {
				t.Errorf("%s is %d, want EFAULT", name, got)
			}
		}
	})
	t.Run("files, sockets and directories do not exist", func(t *testing.T) {
		for name, want := range map[string]uint32{
			"fd_prestat_get": errnoBadFile, "path_open": errnoNotCapable, "sock_accept": errnoNotSocket, "proc_raise": errnoNoSystem,
			"fd_readdir": errnoBadFile, "path_unlink_file": errnoNotCapable,
		} {
			if got := wasiCall(t, i, name, make([]uint64, 9)...); got != want {
				t.Errorf("%s is %d, want %d", name, got, want)
			}
		}
	})
	t.Run("one write takes 64 KiB at most", func(t *testing.T) {
		for k := range uint32(8) { // the same 100,000 bytes eight times
			mem.WriteUint32Le(100+8*k, 0)
			mem.WriteUint32Le(104+8*k, 100_000)
		}
		if got := wasiCall(t, i, "fd_write", 1, 100, 8, 64); got != 0 {
			t.Fatal(got)
		}
		if n, _ := mem.ReadUint32Le(64); n != maxWrite {
			t.Errorf("%d bytes were taken", n)
		}
		if got := wasiCall(t, i, "fd_write", 1, 100, maxVectors+1, 64); got != errnoInvalid {
			t.Errorf("too many vectors gave %d", got)
		}
		if got := wasiCall(t, i, "fd_write", 3, 100, 1, 64); got != errnoBadFile {
			t.Errorf("another file gave %d", got)
		}
	})
	t.Run("the monotonic clock is real, coarse and never zero", func(t *testing.T) {
		c := &clock{start: time.Now()}
		a := c.monotonic()
		if a <= 0 || a%int64(coarse) != 0 {
			t.Errorf("it is %d", a)
		}
		c.start = c.start.Add(-time.Second)
		if d := c.monotonic() - a; d < int64(time.Second) || d > int64(time.Minute) {
			t.Errorf("a second later it is %s later", time.Duration(d))
		}
		if got := wasiCall(t, i, "clock_time_get", 2, 0, 0); got != errnoInvalid {
			t.Errorf("the CPU clock gave %d", got)
		}
	})

	i = start(t, load(t, Spec{Module: wt.NewPlugin(wt.Plugin{})})) // whose clock was not moved yet
	mem = i.guest.view
	subscribe := func(at uint32, tag byte, timeout uint64, flags uint16) {
		b, _ := mem.Read(at, 48)
		clear(b)
		le.PutUint64(b, uint64(at)) // user data
		b[8] = tag
		le.PutUint32(b[16:], wasiMonotonic)
		le.PutUint64(b[24:], timeout)
		le.PutUint16(b[40:], flags)
	}
	t.Run("poll fires the earliest timer and moves the clock to it", func(t *testing.T) {
		subscribe(1000, 0, uint64(time.Hour), 0)
		subscribe(1048, 0, uint64(time.Minute), 0)
		before := i.guest.clock.monotonic()
		if got := wasiCall(t, i, "poll_oneoff", 1000, 2000, 2, 64); got != 0 {
			t.Fatal(got)
		}
		n, _ := mem.ReadUint32Le(64)
		user, _ := mem.ReadUint64Le(2000)
		if n != 1 || user != 1048 {
			t.Errorf("%d events, the first of %d", n, user)
		}
		if d := time.Duration(i.guest.clock.monotonic() - before); d < time.Minute || d > 2*time.Minute {
			t.Errorf("the clock moved by %s", d)
		}
	})
	t.Run("poll says that files are not there", func(t *testing.T) {
		subscribe(1000, 0, uint64(time.Hour), 0)
		subscribe(1048, 1, 0, 0) // readable: standard input
		if got := wasiCall(t, i, "poll_oneoff", 1000, 2000, 2, 64); got != 0 {
			t.Fatal(got)
		}
		n, _ := mem.ReadUint32Le(64)
		b, _ := mem.Read(2000, 32)
		if n != 1 || le.Uint16(b[8:]) != errnoBadFile || b[10] != 1 {
			t.Errorf("%d events, the first %x", n, b)
		}
	})
	t.Run("poll bears any timeout", func(t *testing.T) {
		for _, flags := range []uint16{0, 1} {
			for _, timeout := range []uint64{0, 1, math.MaxInt64, math.MaxUint64} {
				for range 8 {
					subscribe(1000, 0, timeout, flags)
					if got := wasiCall(t, i, "poll_oneoff", 1000, 2000, 1, 64); got != 0 {
						t.Fatal(got)
					}
					if now := i.guest.clock.monotonic(); now <= 0 {
						t.Fatalf("the clock overflowed to %d", now)
					}
				}
			}
		}
		for _, n := range []uint64{0, maxSubscriptions + 1, math.MaxUint32} {
			if got := wasiCall(t, i, "poll_oneoff", 0, 0, n, 64); got != errnoInvalid {
				t.Errorf("%d subscriptions gave %d", n, got)
			}
		}
	})
}
