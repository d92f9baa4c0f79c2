package host

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/sdk/abi"
)

const wasiModule = "wasi_snapshot_preview1"

// Bounds of the lists that guests pass.
const (
	maxVectors       = 1 << 10
	maxSubscriptions = 1 << 12
	maxWrite         = 64 << 10 // bytes that one fd_write takes; the rest is for the next one
	maxRandom        = 1 << 20
)

// coarse is the resolution of the monotonic clock: fine enough for a guest's
// garbage collector, too coarse to time the host's caches with.
const coarse = 100 * time.Microsecond

// wasiFunctions is the host's own WASI preview 1. wazero's is not used: it
// would open clocks, sleeping and exits of its own kind.
//
// A language's runtime imports much of WASI whether or not a plugin uses it, so
// every function exists. Those that reach outside of the sandbox answer that
// there is no such file, or no such right.
func wasiFunctions() map[string]hostFunction {
	funcs := map[string]hostFunction{
		"args_get":            wasi("ii", wasiNothing),
		"args_sizes_get":      wasi("ii", wasiZeroSizes),
		"environ_get":         wasi("ii", wasiNothing),
		"environ_sizes_get":   wasi("ii", wasiZeroSizes),
		"clock_res_get":       wasi("ii", wasiClockRes),
		"clock_time_get":      wasi("iIi", wasiClockTime),
		"fd_close":            wasi("i", wasiStdOnly),
		"fd_fdstat_get":       wasi("ii", wasiFdstat),
		"fd_fdstat_set_flags": wasi("ii", wasiStdOnly),
		"fd_filestat_get":     wasi("ii", wasiFilestat),
		"fd_read":             wasi("iiii", wasiRead),
		"fd_seek":             wasi("iIii", wasiSeek),
		"fd_write":            wasi("iiii", wasiWrite),
		"poll_oneoff":         wasi("iiii", wasiPoll),
		"random_get":          wasi("ii", wasiRandom),
		"sched_yield":         wasi("", wasiNothing),
		"proc_exit": {signature{"\x7f", ""}, "", func(_ *guest, _ api.Memory, s []uint64) {
			panic(exitError(uint32(s[0])))
		}},
	}
	for _, d := range []struct {
		errno uint32
		names string // name:parameters
	}{
		{errnoBadFile, `fd_advise:iIIi fd_allocate:iII fd_datasync:i fd_fdstat_set_rights:iII fd_filestat_set_size:iI
			fd_filestat_set_times:iIIi fd_pread:iiiIi fd_prestat_dir_name:iii fd_prestat_get:ii fd_pwrite:iiiIi
			fd_readdir:iiiIi fd_renumber:ii fd_sync:i fd_tell:ii`},
		{errnoNotCapable, `path_create_directory:iii path_filestat_get:iiiii path_filestat_set_times:iiiiIIi
			path_link:iiiiiii path_open:iiiiiIIii path_readlink:iiiiii path_remove_directory:iii path_rename:iiiiii
			path_symlink:iiiii path_unlink_file:iii`},
		{errnoNotSocket, "sock_accept:iii sock_recv:iiiiii sock_send:iiiii sock_shutdown:ii"},
		{errnoNoSystem, "proc_raise:i"},
	} {
		for _, f := range strings.Fields(d.names) {
			name, params, _ := strings.Cut(f, ":")
			funcs[name] = wasi(params, func(*guest, api.Memory, []uint64) uint32 { return d.errno })
		}
	}
	return funcs
}

// wasi describes a function by its parameters (i = i32, I = i64); all of them
// return an error number.
func wasi(params string, fn func(g *guest, mem api.Memory, s []uint64) uint32) hostFunction {
	types := strings.NewReplacer("i", "\x7f", "I", "\x7e").Replace(params)
	return hostFunction{signature{types, "\x7f"}, "", func(g *guest, mem api.Memory, s []uint64) {
		// The stack has room for one result even when there are no parameters.
		s[0] = uint64(fn(g, mem, s))
	}}
}

func wasiNothing(*guest, api.Memory, []uint64) uint32 { return errnoSuccess }

// wasiZeroSizes says that there are no arguments and no environment.
func wasiZeroSizes(_ *guest, mem api.Memory, s []uint64) uint32 {
	if !mem.WriteUint32Le(uint32(s[0]), 0) || !mem.WriteUint32Le(uint32(s[1]), 0) {
		return errnoFault
	}
	return errnoSuccess
}

const (
	wasiRealtime  = 0
	wasiMonotonic = 1
)

func wasiClockRes(_ *guest, mem api.Memory, s []uint64) uint32 {
	if id := uint32(s[0]); id > wasiMonotonic {
		return errnoInvalid
	}
	if !mem.WriteUint64Le(uint32(s[1]), uint64(coarse)) {
		return errnoFault
	}
	return errnoSuccess
}

func wasiClockTime(g *guest, mem api.Memory, s []uint64) uint32 {
	var t int64
	switch uint32(s[0]) {
	case wasiRealtime:
		t = g.clock.realtime()
	case wasiMonotonic:
		t = g.clock.monotonic()
	default:
		return errnoInvalid
	}
	if !mem.WriteUint64Le(uint32(s[2]), uint64(t)) {
		return errnoFault
	}
	return errnoSuccess
}

// clock is a guest's time. The monotonic clock runs with the host's, coarsely:
// a Go guest paces its collector by it, and a made-up clock lets its heap run
// away. It starts near zero with each guest. The wall clock is the host's under
// the grant "clock"; without it, it is 1970-01-01 plus the monotonic clock.
//
// Sleeping does not block the host: it moves the guest's own clock forward.
type clock struct {
	start   time.Time
	skipped time.Duration // slept
	real    bool
	fixed   func() time.Time // in place of the host's wall clock; nil = none
}

func (c *clock) monotonic() int64 {
	const first = time.Millisecond // Go refuses a clock that stands at zero
	return int64(first + c.skipped + time.Since(c.start).Truncate(coarse))
}

func (c *clock) realtime() int64 {
	switch {
	case c.fixed != nil && c.real:
		return c.fixed().UnixNano()
	case c.fixed != nil:
		return int64(c.skipped)
	case c.real:
		return time.Now().UnixNano()
	}
	return c.monotonic()
}

func (c *clock) sleep(d time.Duration) {
	const most = math.MaxInt64 / 4 // so that no sum overflows
	c.skipped = min(c.skipped+min(d, most), most)
}

// wasiStdOnly does nothing, successfully, for the standard streams.
func wasiStdOnly(_ *guest, _ api.Memory, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return errnoBadFile
	}
	return errnoSuccess
}

const charDevice = 2

// wasiFdstat describes the standard streams: 24 bytes of type, flags and rights.
func wasiFdstat(_ *guest, mem api.Memory, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return errnoBadFile
	}
	b, ok := mem.Read(uint32(s[1]), 24)
	if !ok {
		return errnoFault
	}
	clear(b)
	const read, write = 1 << 1, 1 << 6
	b[0], b[8] = charDevice, read
	if uint32(s[0]) > 0 {
		b[8] = write
	}
	return errnoSuccess
}

func wasiFilestat(_ *guest, mem api.Memory, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return errnoBadFile
	}
	b, ok := mem.Read(uint32(s[1]), 64)
	if !ok {
		return errnoFault
	}
	clear(b)
	b[16] = charDevice
	return errnoSuccess
}

func wasiSeek(_ *guest, _ api.Memory, s []uint64) uint32 {
	if uint32(s[0]) > 2 {
		return errnoBadFile
	}
	return errnoPipe
}

// wasiRead finds standard input at its end.
func wasiRead(_ *guest, mem api.Memory, s []uint64) uint32 {
	if uint32(s[0]) != 0 {
		return errnoBadFile
	}
	if !mem.WriteUint32Le(uint32(s[3]), 0) {
		return errnoFault
	}
	return errnoSuccess
}

// wasiWrite takes standard output and error into the log.
func wasiWrite(g *guest, mem api.Memory, s []uint64) uint32 {
	fd, vectors, n := uint32(s[0]), uint32(s[1]), uint32(s[2])
	if fd != 1 && fd != 2 {
		return errnoBadFile
	}
	if n > maxVectors {
		return errnoInvalid
	}
	list, ok := mem.Read(vectors, n*8)
	if !ok {
		return errnoFault
	}
	var written uint32
	for ; len(list) > 0; list = list[8:] {
		b, ok := mem.Read(binary.LittleEndian.Uint32(list), binary.LittleEndian.Uint32(list[4:]))
		if !ok {
			return errnoFault
		}
		b = b[:min(len(b), int(maxWrite-written))]
		g.out.write(fd, b)
		written += uint32(len(b))
	}
	if !mem.WriteUint32Le(uint32(s[3]), written) {
		return errnoFault
	}
	return errnoSuccess
}

// wasiRandom gives the numbers of the guest's generator: without the grant
// "random" they are the same in every run of the same module in the same
// pipeline and partition.
func wasiRandom(g *guest, mem api.Memory, s []uint64) uint32 {
	b, ok := mem.Read(uint32(s[0]), uint32(s[1]))
	if !ok {
		return errnoFault
	}
	if len(b) > maxRandom {
		return errnoInvalid
	}
	g.ticker.dear()
	g.random(b, g.gen.granted(abi.GrantRandom))
	return errnoSuccess
}

// wasiPoll is poll_oneoff(in, out, n, events): waiting for clocks and files. It
// never blocks the host (invariant A4): the guest's clock jumps to the earliest
// of its timers, and files other than standard output are never ready.
func wasiPoll(g *guest, mem api.Memory, s []uint64) uint32 {
	const subSize, eventSize = 48, 32
	n := uint32(s[2])
	if n == 0 || n > maxSubscriptions {
		return errnoInvalid
	}
	in, ok := mem.Read(uint32(s[0]), n*subSize)
	if !ok {
		return errnoFault
	}
	out, ok := mem.Read(uint32(s[1]), n*eventSize)
	if !ok {
		return errnoFault
	}
	g.ticker.dear()
	g.polled = append(g.polled[:0], in...) // the lists may overlap
	in = g.polled
	wait := g.earliest(in)
	events := uint32(0)
	for ; len(in) > 0; in = in[subSize:] {
		sub := in[:subSize]
		var errno uint16
		if sub[8] == 0 {
			if g.timer(sub) > wait {
				continue
			}
		} else if fd := binary.LittleEndian.Uint32(sub[16:]); sub[8] != 2 || fd != 1 && fd != 2 {
			errno = errnoBadFile
		}
		e := out[events*eventSize:][:eventSize]
		clear(e)
		copy(e, sub[:8])
		binary.LittleEndian.PutUint16(e[8:], errno)
		e[10] = sub[8]
		events++
	}
	g.clock.sleep(wait)
	if !mem.WriteUint32Le(uint32(s[3]), events) {
		return errnoFault
	}
	return errnoSuccess
}

// earliest returns how long poll_oneoff would wait: zero when a file is asked for.
func (g *guest) earliest(subs []byte) time.Duration {
	wait := time.Duration(math.MaxInt64)
	for ; len(subs) > 0; subs = subs[48:] {
		if subs[8] != 0 {
			return 0
		}
		wait = min(wait, g.timer(subs))
	}
	return wait
}

// timer returns in how long a clock subscription is due; not negative.
func (g *guest) timer(sub []byte) time.Duration {
	timeout := binary.LittleEndian.Uint64(sub[24:])
	at := time.Duration(min(timeout, math.MaxInt64/4))
	if absolute := binary.LittleEndian.Uint16(sub[40:])&1 != 0; !absolute {
		return at
	}
	now := g.clock.monotonic()
	if binary.LittleEndian.Uint32(sub[16:]) == wasiRealtime {
		now = g.clock.realtime()
	}
	return max(0, at-time.Duration(now))
}
