//go:build wasip1

// The Go plugin that the tests of host run. It speaks the ABI by hand, so that
// a test can make it do what the SDK would not. What it does comes from its
// configuration: {"mode":"…"}.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/sdk/abi"
)

func main() {}

var (
	input   []byte
	writer  abi.ResponseWriter
	mode    string
	opened  []byte
	batches int
	spun    int
	hoard   [][]byte
)

//go:wasmimport wasmill_v1 log
func hostLog(level int32, p unsafe.Pointer, n uint32)

//go:wasmimport wasmill_v1 metric_define
func metricDefine(p unsafe.Pointer, n uint32, kind uint32) int32

//go:wasmimport wasmill_v1 metric_add
func metricAdd(id uint32, n int64)

//go:wasmimport wasmill_v1 metric_observe
func metricObserve(id uint32, v float64)

func log(level int32, s string) { hostLog(level, unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))) }

func define(name string, kind uint32) uint32 {
	id := metricDefine(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), kind)
	if id < 0 {
		panic(fmt.Sprint("metric_define ", name, ": ", id))
	}
	return uint32(id)
}

//go:wasmexport wasmill_abi_v1
func abiVersion() uint32 { return abi.Version }

//go:wasmexport wasmill_buffer
func buffer(n uint32) uint32 {
	if uint32(cap(input)) < n {
		input = make([]byte, max(n, 64<<10))
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport wasmill_open
func open(p, n uint32) int32 {
	opened = append([]byte(nil), input[:n]...)
	if _, after, ok := bytes.Cut(opened, []byte(`"mode":"`)); ok {
		m, _, _ := bytes.Cut(after, []byte(`"`))
		mode = string(m)
	}
	if mode == "refuse" {
		log(abi.LevelError, "min_magnitude is missing")
		return -28
	}
	return 0
}

//go:wasmexport wasmill_process
func process(p, n uint32) int64 {
	r, err := abi.ReadBatch(input[:n])
	if err != nil {
		panic(err)
	}
	writer.Reset()
	var e abi.Event
	for i := uint32(0); ; i++ {
		ok, err := r.Next(&e)
		if err != nil {
			panic(err)
		}
		if !ok {
			break
		}
		event(i, &e)
	}
	if batches++; batches%16 == 0 {
		runtime.Gosched()
	}
	return abi.Pointer(writer.Bytes())
}

func emit(i uint32, s string) {
	writer.Output(&abi.Output{Source: i, Payload: []byte(s)})
}

func event(i uint32, e *abi.Event) {
	switch mode {
	case "panic":
		var m map[string]int
		m[string(e.Payload)] = 1
	case "exit":
		os.Exit(7)
	case "hoard":
		for {
			hoard = append(hoard, make([]byte, 1<<20))
		}
	case "garbage":
		hoard = [][]byte{make([]byte, len(e.Payload)+1<<10)}
		writer.Pass(i, 0)
	case "sleep":
		begin := time.Now()
		time.Sleep(time.Hour)
		emit(i, time.Since(begin).String())
	case "clock":
		emit(i, fmt.Sprint(time.Now().Unix()))
	case "random":
		b := make([]byte, 8)
		rand.Read(b)
		emit(i, fmt.Sprintf("%x", b))
	case "print":
		fmt.Println("to stdout")
		fmt.Fprint(os.Stderr, "to stderr\nwithout an end")
		log(abi.LevelDebug, "to the log")
	case "metric":
		c, g, h := define("seen_total", abi.MetricCounter), define("level", abi.MetricGauge), define("size", abi.MetricHistogram)
		metricAdd(c, 1)
		metricAdd(c, -5)
		metricAdd(g, 3)
		metricObserve(h, float64(len(e.Payload)))
	case "files":
		_, err := os.ReadFile("/etc/passwd")
		emit(i, fmt.Sprint(err, os.Args, os.Environ()))
	case "open":
		emit(i, string(opened))
	case "spin":
		for {
			spun++
		}
	default:
		writer.Pass(i, 0)
	}
}

//go:wasmexport wasmill_close
func closePlugin() int64 {
	writer.Reset()
	writer.Output(&abi.Output{Source: abi.NoSource, Subject: []byte("last.words"), Payload: []byte(mode)})
	return abi.Pointer(writer.Bytes())
}
