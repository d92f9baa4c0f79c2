package host

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/host/rewrite"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Bounds of what a Fault carries.
const (
	maxMessage = 512
	maxDetail  = 4 << 10
)

// Fault says that a call into a plugin failed, and how. The instance that
// faulted is gone; the next call gets a fresh one.
type Fault struct {
	Kind    string // one of abi's Fault names
	Message string // one line, at most 512 bytes
	Detail  string // wasm stack trace and the guest's last lines of output, at most 4 KiB; may be empty
	Err     error  // the cause; may be nil
}

// Error reads "<kind>: <message>".
func (f *Fault) Error() string { return f.Kind + ": " + f.Message }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// FaultKind returns Kind, for callers that know faults only by their methods.
func (f *Fault) FaultKind() string { return f.Kind }

// FaultDetail returns Detail.
func (f *Fault) FaultDetail() string { return f.Detail }

// ConfigError is the cause of a Fault at a start: the plugin does not take its
// configuration. Text is what it said, one line.
type ConfigError struct{ Plugin, Text string }

// Error is the text.
func (e *ConfigError) Error() string { return e.Text }

// RefusedConfig returns the fields.
func (e *ConfigError) RefusedConfig() (plugin, text string) { return e.Plugin, e.Text }

// LoadError says why a module was refused: one sentence with what to do about it.
type LoadError struct {
	Plugin  string
	Path    string // empty for a built-in module
	Message string
	Err     error // the cause; may be nil
}

// Error reads `plugin "name" (path): message`.
func (e *LoadError) Error() string {
	where := fmt.Sprintf("plugin %q", e.Plugin)
	if e.Path != "" {
		where += " (" + e.Path + ")"
	}
	return where + ": " + e.Message
}

// Unwrap returns the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// ErrNotPlugin is the cause of a LoadError of a module that lacks the exports of
// a plugin.
var ErrNotPlugin = errors.New("is not a Wasmill plugin")

// ErrClosed is returned by calls on an instance or a generation that was closed.
var ErrClosed = errors.New("closed")

// exitError is what proc_exit panics with: wazero unwinds the guest and returns
// it from the call. The module is not closed meanwhile, because its memory is
// mapped and must outlive the call.
type exitError uint32

func (e exitError) Error() string { return fmt.Sprintf("the module exited with code %d", uint32(e)) }

// argumentError is what an import panics with when the guest passes an argument
// that no correct guest passes (a pointer outside its memory). It traps the guest.
type argumentError struct{ fn, what string }

func (e *argumentError) Error() string { return "wasmill_v1." + e.fn + ": " + e.what }

// Marks that wazero puts around the reason of an error.
const (
	wasmTraceMark = "\nwasm stack trace:"
	goTraceMark   = "\n\nGo runtime stack trace:"
)

// callFault classifies the error of a call that did not return, into a module of
// that many functions. refused says that linear memory was asked to grow beyond
// its limit during that call: then that is the reason, in whatever way the guest
// gave up.
func callFault(err error, out *output, funcs int, refused bool, limit int64) *Fault {
	text, trace, _ := strings.Cut(err.Error(), wasmTraceMark)
	trace, _, _ = strings.Cut(trace, goTraceMark)
	text = strings.TrimPrefix(text, "wasm error: ")
	text = printable([]byte(strings.TrimSuffix(text, " (recovered by wazero)")))
	if p := out.panicLine(); p != "" {
		if place := panicPlace(out.last(maxTail)); place != "" {
			p += "; at " + place
		}
		text = p + " (" + text + ")"
	}
	f := &Fault{Kind: abi.FaultTrap, Message: text, Err: err}
	var internal runtime.Error
	var late *deadlineError
	switch {
	case errors.As(err, &late):
		f.Kind = abi.FaultDeadline
	case refused:
		f.Kind = abi.FaultOutOfMemory
		f.Message = fmt.Sprintf("memory limit of %s reached: %s", size(limit), text)
	case errors.As(err, &internal):
		f.Message = "internal error in a host function: " + text
	}
	f.Message = cut(f.Message, maxMessage)
	f.Detail = detail(ownFrames(trace, funcs), out)
	return f
}

// ownFrames takes out of a stack trace the frames of what rewriting added: the
// tick, and functions behind the module's own, which have no names.
func ownFrames(trace string, funcs int) string {
	var own []string
	for line := range strings.Lines(trace) {
		frame := strings.TrimSpace(line)
		if strings.HasPrefix(frame, rewrite.Prefix) {
			continue
		}
		if _, n, ok := strings.Cut(frame, ".$"); ok { // "module.$7(i32)"
			if i, err := strconv.Atoi(n[:max(0, strings.IndexByte(n, '('))]); err == nil && i >= funcs {
				continue
			}
		}
		own = append(own, line)
	}
	return strings.Join(own, "")
}

// detail joins the wasm stack trace and the guest's last lines, each within
// half of what a Fault may carry.
func detail(trace string, out *output) string {
	var b strings.Builder
	if trace = strings.TrimSpace(trace); trace != "" {
		b.WriteString("wasm stack trace:\n\t")
		b.WriteString(cut(printableLines(out.redact.text(trace)), maxDetail/2-32)) // the names in it are the module's
	}
	if tail := out.last(maxDetail/2 - 32); tail != "" {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("output of the plugin:\n")
		b.WriteString(tail)
	}
	return b.String()
}

// printableLines is printable for text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = printable([]byte(l))
	}
	return strings.Join(lines, "\n")
}

// cut shortens s to at most n bytes, without splitting a character, and marks it.
func cut(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	end := n - len(mark)
	for end > 0 && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end] + mark
}

// size prints a number of bytes the way configurations write it.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n && n%u.n == 0 {
			return fmt.Sprintf("%d %s", n/u.n, u.name)
		}
	}
	if n >= 1<<20 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d B", n)
}
