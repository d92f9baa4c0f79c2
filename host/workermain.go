package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

// CompileWorker is the whole life of a worker: it limits itself, reads a module
// from its standard input, compiles it into the directory that is its last
// argument (empty = nowhere), and returns the exit code. It must be the first
// thing that its process does. A module that takes too much ends the process.
//
// A worker gets no environment and no open files besides the three.
func CompileWorker(dir string, in io.Reader, out io.Writer) (code int) {
	fail := func(message string, cache bool) int {
		_ = json.NewEncoder(out).Encode(workerReport{Message: cut(message, workerSays/2), Cache: cache}) // nobody else is there to tell
		return workerFailed
	}
	limitProcess(workerLimits{cpu: workerCPU, memory: workerMemory, file: workerFile})
	runtime.GOMAXPROCS(2) // the compiler is one goroutine; the other is the collector's
	debug.SetMemoryLimit(workerMemory * 9 / 10)
	stop := make(chan struct{})
	defer close(stop)
	go guardWorker(stop, workerMemory, workerCPU)
	binary, err := io.ReadAll(io.LimitReader(in, 2*maxModule))
	if err != nil {
		return fail("read the module: "+err.Error(), true)
	}
	ctx := context.Background()
	if dir == "" {
		err = compileNowhere(ctx, binary)
	} else {
		err = compileBoth(ctx, dir, binary)
	}
	switch {
	case errors.Is(err, syscall.EFBIG):
		return workerNoRoom
	case err != nil:
		return fail(err.Error(), isCacheError(err))
	}
	return workerDone
}

func compileNowhere(ctx context.Context, binary []byte) error {
	dir, err := os.MkdirTemp("", "wasmill-compile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return compileInto(ctx, dir, binary)
}

// guardWorker ends the process when it holds too much memory or has used too
// much time. The system's own limits are behind it; this one says which it was.
func guardWorker(stop <-chan struct{}, memory uint64, cpu time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond) // it lives as long as the process
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		metrics.Read(s)
		if s[0].Value.Uint64()-s[1].Value.Uint64() > memory {
			os.Exit(workerNoMemory)
		}
		if processTime() > cpu {
			os.Exit(workerNoTime)
		}
	}
}

// workerLimits are limits that a process sets for itself.
type workerLimits struct {
	cpu          time.Duration
	memory, file uint64
}
