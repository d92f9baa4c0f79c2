package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/wasmill/wasmill/host/inspect"
)

// What a worker may use, beside workerCPU. It is one more process on a machine
// that has something else to do.
const (
	workerWall   = 10 * time.Minute // it gives way to others, and may have to wait
	workerMemory = 320 << 20        // bytes that its runtime holds
	workerFile   = 256 << 20        // bytes of its result
	workerSays   = 4 << 10          // bytes of what it writes to its standard error
)

// Exit codes of a worker.
const (
	workerDone     = 0
	workerFailed   = 70 // see its report
	workerNoMemory = 71
	workerNoTime   = 72
	workerNoRoom   = 73 // the result is too large
)

// workerReport is what a worker writes to its standard output when it fails.
type workerReport struct {
	Message string `json:"message"`
	Cache   bool   `json:"cache"` // the result could not be written; the module is good
}

// CompileError says that a module could not be compiled aside. The module has
// passed inspection, so it is within all caps and still too dear.
type CompileError struct {
	Limit   string // "time", "memory" or "size"; empty: the worker could not do its work
	Message string // with what to do
}

// Error reads "takes more than 30s …".
func (e *CompileError) Error() string { return e.Message }

// work has a worker compile a module into dir; an empty dir keeps no result.
func (h *Host) work(ctx context.Context, dir string, binary []byte, m *inspect.Module) error {
	ctx, cancel := context.WithTimeout(ctx, workerWall)
	defer cancel()
	args := append(h.worker[1:len(h.worker):len(h.worker)], dir)
	cmd := exec.CommandContext(ctx, h.worker[0], args...) //nolint:gosec // our own program
	if self, err := selfPath(); err == nil && self == h.worker[0] {
		cmd.Args[0] = os.Args[0] // a program may go by its name
	}
	cmd.Env = []string{} // no secret of this process
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(binary)
	var report, says tail
	report.most, says.most = workerSays, workerSays
	cmd.Stdout, cmd.Stderr = &report, &says
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if ctx.Err() != nil {
			return tooDear("time", fmt.Sprintf("takes more than %s to compile", workerWall), m)
		}
		return &CompileError{Message: fmt.Sprintf("cannot be compiled: the worker %s does not start: %v", h.worker[0], err)}
	}
	return workerError(exit, report.String(), says.String(), ctx.Err() != nil, m)
}

// workerError turns how a worker ended into what that says of the module.
func workerError(exit *exec.ExitError, report, says string, late bool, m *inspect.Module) error {
	switch code := exit.ExitCode(); {
	case code == workerFailed:
		var r workerReport
		if err := json.Unmarshal([]byte(report), &r); err != nil {
			return &CompileError{Message: "cannot be compiled: the worker does not say why"}
		}
		if r.Cache {
			return &fs.PathError{Op: "write", Path: "compiled module", Err: errors.New(r.Message)}
		}
		return invalidModule(errors.New(r.Message))
	case code == workerNoMemory, strings.Contains(says, "out of memory"), strings.Contains(says, "cannot allocate memory"):
		return tooDear("memory", fmt.Sprintf("takes more than %s of memory to compile", size(workerMemory)), m)
	case code == workerNoTime, outOfTime(exit):
		return tooDear("time", fmt.Sprintf("takes more than %s of processor time to compile", workerCPU), m)
	case late:
		return tooDear("time", fmt.Sprintf("takes more than %s to compile", workerWall), m)
	case code == workerNoRoom:
		return tooDear("size", fmt.Sprintf("has more than %s of machine code", size(workerFile)), m)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(says), "\n")
	return &CompileError{Message: strings.TrimSuffix(fmt.Sprintf(
		"cannot be compiled: the worker ended with %s; try again, and report it if it repeats: %s", exit, cut(printable([]byte(first)), 200)), ": ")}
}

// tooDear names what is most likely to blame.
func tooDear(limit, what string, m *inspect.Module) error {
	largest, at := 0, 0
	for i, b := range m.Bodies {
		if n := b.End - b.Start; n > largest {
			largest, at = n, m.ImportedFuncs()+i
		}
	}
	name := string(m.FuncName(uint32(at)))
	if name == "" {
		name = fmt.Sprintf("number %d", at)
	}
	return &CompileError{Limit: limit, Message: fmt.Sprintf(
		"%s; its largest function is %s with %s: split it, compile with optimization, or make the plugin smaller",
		what, cut(printable([]byte(name)), 100), size(int64(largest)))}
}

// tail is a writer that keeps no more than its first most bytes.
type tail struct {
	bytes.Buffer
	most int
}

func (t *tail) Write(b []byte) (int, error) {
	if room := t.most - t.Len(); room > 0 {
		t.Buffer.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

// Executable returns this program as a command for Options.Worker, with the
// arguments that make it call CompileWorker. It survives that the file is
// replaced while the process runs.
func Executable(args ...string) ([]string, error) {
	path, err := selfPath()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return append([]string{path}, args...), nil
}
