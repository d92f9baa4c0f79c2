package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// regions are pointers and lengths that do not lie in four pages of memory.
func regions() [][2]int64 {
	const end = 4 << 16
	return [][2]int64{
		{end, 1},
		{end - 1, 2},
		{0, end + 1},
		{end + 1, 0},
		{1, -1},
		{-1, 1},
		{-1, -1},
		{-8, 16},
		{1 << 31, 1 << 31},
		{1<<31 - 1, 1<<31 - 1},
		{end, -end},
		{-end, end},
	}
}

// arguments are hostile pointers and lengths for the imports that take some.
func arguments() []Case {
	var list []Case
	for _, r := range regions() {
		region := wt.Cat(wt.I32Const(r[0]), wt.I32Const(r[1]))
		for _, f := range []struct {
			name, params, results string
			args                  []byte
		}{
			{abi.ImportLog, wt.I32 + wt.I32 + wt.I32, "", wt.Cat(wt.I32Const(0), region)},
			{abi.ImportMetricDefine, wt.I32 + wt.I32 + wt.I32, wt.I32, wt.Cat(region, wt.I32Const(0))},
			{abi.ImportRandom, wt.I32 + wt.I32, "", region},
			{abi.ImportSecretGet, wt.I32 + wt.I32 + wt.I32 + wt.I32, wt.I64, wt.Cat(region, wt.I32Const(0), wt.I32Const(8))},
			{abi.ImportSecretGet, wt.I32 + wt.I32 + wt.I32 + wt.I32, wt.I64, wt.Cat(wt.I32Const(0), wt.I32Const(8), region)},
		} {
			code := func(m *wt.Module) []byte {
				call := wt.Cat(f.args, wt.Call(m.ImportFunc(abi.ImportModule, f.name, f.params, f.results)))
				if f.results != "" {
					call = append(call, wt.Drop()...)
				}
				return call
			}
			list = append(list, Case{
				Name: fmt.Sprintf("%s of %d bytes at %d (%d)", f.name, uint32(r[1]), uint32(r[0]), len(list)), Group: "argument", Tries: "to have the host touch what is not there",
				Module: processing(code), Outcome: Faulty, Kinds: []string{abi.FaultTrap}, Says: "outside the plugin's memory",
			})
		}
	}
	ignored := func(name string, params string, args ...[]byte) {
		list = append(list, Case{
			Name: fmt.Sprintf("%s with arguments that mean nothing (%d)", name, len(list)), Group: "argument", Tries: "to confuse the host", Outcome: Harmless,
			Module: processing(func(m *wt.Module) []byte {
				return wt.Cat(wt.Cat(args...), wt.Call(m.ImportFunc(abi.ImportModule, name, params, "")))
			}),
		})
	}
	for _, id := range []int64{0, 64, -1, 1 << 31} {
		ignored(abi.ImportMetricAdd, wt.I32+wt.I64, wt.I32Const(id), wt.I64Const(-1<<63))
		for _, v := range []float64{0, 1e308} {
			ignored(abi.ImportMetricObserve, wt.I32+wt.F64, wt.I32Const(id), wt.F64Const(v))
			ignored(abi.ImportMetricObserve, wt.I32+wt.F64, wt.I32Const(id), wt.F64Const(v), wt.F64Const(0), wt.Op(wt.OpF64Div)) // NaN, infinity
		}
		ignored(abi.ImportLog, wt.I32+wt.I32+wt.I32, wt.I32Const(id), wt.I32Const(wt.BufferAt), wt.I32Const(8192))
	}
	return list
}

// Errno is what WASI's functions return, by the names of the specification.
const (
	errnoBadFile    = 8
	errnoFault      = 21
	errnoInvalid    = 28
	errnoNotSocket  = 57
	errnoNotCapable = 76
	errnoNoSystem   = 52
)

// Probes are the functions of WASI that reach out of a sandbox, as
// name:parameters (i = i32, I = i64), and what each must answer.
func Probes() map[string]int64 {
	probes := map[string]int64{}
	for names, errno := range map[string]int64{
		`fd_advise:iIIi fd_allocate:iII fd_datasync:i fd_fdstat_set_rights:iII fd_filestat_set_size:iI
			fd_filestat_set_times:iIIi fd_pread:iiiIi fd_prestat_dir_name:iii fd_prestat_get:ii fd_pwrite:iiiIi
			fd_readdir:iiiIi fd_renumber:ii fd_sync:i fd_tell:ii`: errnoBadFile,
		`path_create_directory:iii path_filestat_get:iiiii path_filestat_set_times:iiiiIIi
			path_link:iiiiiii path_open:iiiiiIIii path_readlink:iiiiii path_remove_directory:iii path_rename:iiiiii
			path_symlink:iiiii path_unlink_file:iii`: errnoNotCapable,
		"sock_accept:iii sock_recv:iiiiii sock_send:iiiii sock_shutdown:ii": errnoNotSocket,
		"proc_raise:i": errnoNoSystem,
	} {
		for _, f := range strings.Fields(names) {
			probes[f] = errno
		}
	}
	return probes
}

// probe calls a function of WASI with the same number for each parameter, and
// traps when it does not return errno.
func probe(m *wt.Module, function string, argument, errno int64) []byte {
	name, params, _ := strings.Cut(function, ":")
	var args []byte
	for _, p := range params {
		if p == 'I' {
			args = append(args, wt.I64Const(argument)...)
		} else {
			args = append(args, wt.I32Const(argument)...)
		}
	}
	f := m.ImportFunc(wasiModule, name, strings.NewReplacer("i", wt.I32, "I", wt.I64).Replace(params), wt.I32)
	return wt.Cat(args, wt.Call(f), wt.I32Const(errno), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, wt.Unreachable()))
}

// wasi are attempts to reach files, sockets and processes, which all find that
// there are none, and pointers that WASI's functions must refuse.
func wasi() []Case {
	var list []Case
	add := func(name, tries string, code func(m *wt.Module) []byte) {
		list = append(list, Case{Name: name, Group: "wasi", Tries: tries, Module: processing(code), Outcome: Harmless})
	}
	for _, function := range slices.Sorted(maps.Keys(Probes())) {
		name, _, _ := strings.Cut(function, ":")
		for _, argument := range []int64{0, 3, -1} {
			add(fmt.Sprintf("%s(%d, …)", name, argument), "to reach what is outside of the sandbox",
				func(m *wt.Module) []byte { return probe(m, function, argument, Probes()[function]) })
		}
	}
	const end = 4 << 16
	for _, c := range []struct {
		function string
		errno    int64
		args     []int64
	}{
		{"args_sizes_get:ii", errnoFault, []int64{0, end}},
		{"environ_sizes_get:ii", errnoFault, []int64{-1, 0}},
		{"clock_time_get:iIi", errnoFault, []int64{1, 0, end - 7}},
		{"clock_time_get:iIi", errnoInvalid, []int64{7, 0, 0}},
		{"clock_res_get:ii", errnoFault, []int64{0, -1}},
		{"random_get:ii", errnoFault, []int64{end - 1, 2}},
		{"random_get:ii", errnoFault, []int64{1, -1}},
		{"fd_write:iiii", errnoFault, []int64{1, end - 8, 2, 0}},
		{"fd_write:iiii", errnoInvalid, []int64{1, 0, -1, 0}},
		{"fd_write:iiii", errnoInvalid, []int64{2, 0, 1 << 29, 0}},
		{"fd_write:iiii", errnoBadFile, []int64{0, 0, 1, 0}},
		{"fd_write:iiii", errnoBadFile, []int64{3, 0, 1, 0}},
		{"fd_read:iiii", errnoFault, []int64{0, 0, 0, end}},
		{"fd_read:iiii", errnoBadFile, []int64{1, 0, 0, 0}},
		{"fd_fdstat_get:ii", errnoFault, []int64{1, end - 23}},
		{"fd_filestat_get:ii", errnoFault, []int64{1, end - 63}},
		{"fd_close:i", errnoBadFile, []int64{3}},
		{"poll_oneoff:iiii", errnoFault, []int64{end - 47, 0, 1, 0}},
		{"poll_oneoff:iiii", errnoFault, []int64{0, end - 31, 1, 0}},
		{"poll_oneoff:iiii", errnoInvalid, []int64{0, 0, 1 << 30, 0}},
		{"poll_oneoff:iiii", errnoInvalid, []int64{0, 0, 0, 0}},
	} {
		name, params, _ := strings.Cut(c.function, ":")
		add(fmt.Sprintf("%s%d", name, c.args), "to have the host touch what is not there", func(m *wt.Module) []byte {
			var args []byte
			for i, p := range params {
				if p == 'I' {
					args = append(args, wt.I64Const(c.args[i])...)
				} else {
					args = append(args, wt.I32Const(c.args[i])...)
				}
			}
			f := m.ImportFunc(wasiModule, name, strings.NewReplacer("i", wt.I32, "I", wt.I64).Replace(params), wt.I32)
			return wt.Cat(args, wt.Call(f), wt.I32Const(c.errno), wt.Op(wt.OpI32Ne), wt.If(wt.NoResult, wt.Unreachable()))
		})
	}
	return list
}

// AllProbes is one plugin that calls every function of WASI that reaches out, for
// each of some file descriptors, with each batch.
func AllProbes() []byte {
	return processing(func(m *wt.Module) []byte {
		var code []byte
		for _, function := range slices.Sorted(maps.Keys(Probes())) {
			code = append(code, probe(m, function, 3, Probes()[function])...)
		}
		return code
	})()
}

// imports are those that no plugin gets.
func imports() []Case {
	var list []Case
	add := func(name, says string, module func() []byte) {
		list = append(list, Case{Name: name, Group: "import", Tries: "to get what the host does not give", Module: module, Outcome: Refused, Says: says})
	}
	function := func(module, name, params, results string) func() []byte {
		return func() []byte {
			m := new(wt.Module)
			m.ImportFunc(module, name, params, results)
			return m.Plugin(wt.Plugin{}).Bytes()
		}
	}
	for _, f := range [][2]string{
		{"env", "system"},
		{"env", "memory_address"},
		{"go", "debug"},
		{"wasi_unstable", "fd_write"},
		{"wasi_snapshot_preview2", "fd_write"},
		{"wasi:sockets/tcp", "connect"},
		{wasiModule, "thread-spawn"},
		{"wasi", "thread-spawn"},
		{abi.ImportModule, "exec"},
		{"wasmill_v2", "log"},
		{"", ""},
		{"\x1b[2J", "\x00\a"},
		{strings.Repeat("m", 1000), strings.Repeat("n", 1000)},
		// What the host uses itself to stop a guest.
		{"wasmill", "tick"},
		{"wasmill_tick", "tick"},
		{"wasmill_guest", "memory"},
	} {
		add(fmt.Sprintf("an import of %.12q.%.12q", f[0], f[1]), "imports ", function(f[0], f[1], "", ""))
	}
	for _, sig := range [][2]string{{"", ""}, {wt.I32, ""}, {wt.I64 + wt.I64 + wt.I64, wt.I64}, {wt.I32 + wt.I32 + wt.I32, wt.I32}} {
		add(fmt.Sprintf("log of type %x -> %x", sig[0], sig[1]), "the host has", function(abi.ImportModule, abi.ImportLog, sig[0], sig[1]))
	}
	for kind, desc := range map[byte][]byte{
		wt.KindMemory: wt.Limits(1), wt.KindTable: wt.Cat([]byte(wt.FuncRef), wt.Limits(1)), wt.KindGlobal: []byte(wt.I32 + "\x00"),
	} {
		for _, from := range []string{"env", abi.ImportModule, wasiModule} {
			add(fmt.Sprintf("an import of kind %d from %s", kind, from), "", func() []byte {
				m := new(wt.Module)
				m.Imports = []wt.Import{{Module: from, Name: abi.ImportLog, Kind: kind, Desc: desc}}
				return m.Plugin(wt.Plugin{}).Bytes()
			})
		}
	}
	add("a thousand unknown imports", "and 995 more", func() []byte {
		m := new(wt.Module)
		for i := range 1000 {
			m.ImportFunc("env", fmt.Sprint("f", i), "", "")
		}
		return m.Plugin(wt.Plugin{}).Bytes()
	})
	add("a command", "reactor", func() []byte {
		m := new(wt.Module).Plugin(wt.Plugin{})
		m.ExportFunc(abi.ExportStart, "", "")
		return m.Bytes()
	})
	for _, name := range []string{abi.ExportABI, abi.ExportBuffer, abi.ExportProcess} {
		add("no "+name, name, func() []byte { return new(wt.Module).Plugin(wt.Plugin{}).Without(name).Bytes() })
		add(name+" that is a memory", "", func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{}).Without(name)
			m.Export(name, wt.KindMemory, 0)
			return m.Bytes()
		})
		add(name+" of another type", name, func() []byte {
			m := new(wt.Module).Plugin(wt.Plugin{}).Without(name)
			m.ExportFunc(name, wt.I64, "")
			return m.Bytes()
		})
		add(name+" that is an import", name, func() []byte {
			m := new(wt.Module)
			m.ImportFunc(abi.ImportModule, abi.ImportLog, wt.I32+wt.I32+wt.I32, "")
			m.Plugin(wt.Plugin{}).Without(name)
			m.Export(name, wt.KindFunc, 0)
			return m.Bytes()
		})
	}
	add("an ABI of the future by name", "version", func() []byte {
		m := new(wt.Module).Plugin(wt.Plugin{}).Without(abi.ExportABI)
		m.ExportFunc("wasmill_abi_v\x1b[31m"+strings.Repeat("9", 1000), "", wt.I32, wt.I32Const(1))
		return m.Bytes()
	})
	for _, v := range []int64{0, -1, 2 << 16, 1 << 31} {
		list = append(list, Case{
			Name: fmt.Sprintf("version %#x of the ABI", uint32(v)), Group: "import", Tries: "to speak another language", Outcome: NoStart,
			Kinds: []string{abi.FaultBadResponse}, Module: func() []byte { return wt.NewPlugin(wt.Plugin{Version: wt.I32Const(v)}) },
		})
	}
	return list
}
