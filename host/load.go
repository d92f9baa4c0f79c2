package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wasmill/wasmill/host/inspect"
	"github.com/wasmill/wasmill/sdk/abi"
)

// maxModule is the largest module that is read.
const maxModule = 64 << 20

// Spec says what to load and what it may do.
type Spec struct {
	Name   string
	Path   string // the module's file, or
	Module []byte // the module itself
	SHA256 string // hexadecimal pin; empty = any module

	Builtin string // which ready-made plugin the module is to be; told to it

	Grants  []string          // "clock", "random", "secret"
	Secrets map[string]string // what secret_get finds under the grant "secret"
	Config  json.RawMessage   // handed to wasmill_open; empty = {}
	Limits  Limits

	// Log gets each line that the plugin logs or writes to its standard output
	// (info) and error (warn); level as in log/slog. A line has no control
	// characters and at most 4 KiB. nil = lines are only kept for faults.
	Log func(pipeline string, partition, level int, line string)
	// Metric gets what the plugin adds to a counter during a call (value ≥ 0),
	// what it sets a gauge to, and each observation of a histogram; kind is one
	// of abi's Metric kinds. May be nil.
	Metric func(pipeline, name string, kind int, value float64)

	// Fixed takes out of the plugin's surroundings what differs from run to run.
	// For tests; nil = clock and randomness are as the grants say.
	Fixed *Fixed
}

// Fixed stands in for the clock and for randomness.
type Fixed struct {
	// Now is the wall clock of a plugin with the grant "clock". That of a plugin
	// without it stands still at the beginning of 1970.
	Now func() time.Time
	// Seed is where all random numbers begin, with and without a grant, in each
	// instance anew.
	Seed string
}

// Limits bound one plugin. Zero values stand for the defaults.
type Limits struct {
	Memory         int64         // bytes of linear memory of one instance; 0 = 64 MiB; at most just below 2 GiB
	Deadline       time.Duration // of one call, at which it is ended; at least 100 ms for the calls of a start; 0 = none
	MaxOutputBytes int           // bytes of one response; 0 = 8 MiB
	MaxOutputs     int           // outputs for one event; 0 = 1024
}

func (l Limits) withDefaults() Limits {
	if l.Memory <= 0 {
		l.Memory = 64 << 20
	}
	l.Memory = max(wasmPage, min(l.Memory, maxMemory)) / wasmPage * wasmPage
	if l.MaxOutputBytes <= 0 {
		l.MaxOutputBytes = 8 << 20
	}
	if l.MaxOutputs <= 0 {
		l.MaxOutputs = 1024
	}
	return l
}

// Load reads a module, checks that it can be a plugin under spec's grants and
// limits, and compiles it. A module that is refused gives a *LoadError. What
// only running the module can show (its ABI version, whether it takes its
// configuration) is NewInstance's to find out. Safe for concurrent use.
//
// The order is the sandbox's: nothing that is cheaper to refuse comes after
// something dearer, and wazero sees only what passed the checks before it.
func (h *Host) Load(ctx context.Context, spec Spec) (*Generation, error) {
	begin := time.Now()
	refuse := func(err error) error {
		return &LoadError{Plugin: spec.Name, Path: spec.Path, Message: err.Error(), Err: err}
	}
	spec.Limits = spec.Limits.withDefaults()
	spec.Grants = slices.Compact(slices.Sorted(slices.Values(spec.Grants)))
	if err := checkGrants(spec.Grants); err != nil {
		return nil, refuse(err)
	}
	binary, err := readModule(spec)
	if err != nil {
		return nil, refuse(err)
	}
	sum := sha256.Sum256(binary)
	digest := hex.EncodeToString(sum[:])
	if pin := spec.SHA256; pin != "" && !strings.EqualFold(pin, digest) {
		return nil, refuse(fmt.Errorf("has the sha256 %s, its pin is %s; update the pin if the change is meant", digest, cut(pin, 80)))
	}
	code, m, err := h.compile(ctx, digest, binary, func(m *inspect.Module) error {
		return check(m, spec.Grants, spec.Limits.Memory)
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("load plugin %q: %w", spec.Name, err)
		}
		return nil, refuse(err)
	}
	if _, ok := m.Export(abi.ExportOpen); !ok && hasConfig(spec.Config) {
		h.log.Warn("a plugin is given a configuration but does not export what takes it", "plugin", spec.Name, "export", abi.ExportOpen)
	}
	spec.Module = nil // megabytes that nobody reads again
	gen := &Generation{
		host: h, spec: spec, compiled: code, funcs: len(m.Funcs),
		digest: digest, size: len(binary), limit: spec.Limits.Memory, loadTime: time.Since(begin),
		gate: newGate(), redact: newRedactor(spec.Secrets),
	}
	gen.mu.metrics = map[string]int{}
	if err := h.register(gen); err != nil {
		return nil, errors.Join(fmt.Errorf("load plugin %q: %w", spec.Name, err), code.close(ctx))
	}
	return gen, nil
}

func hasConfig(config json.RawMessage) bool {
	c := bytes.TrimSpace(config)
	return len(c) > 0 && string(c) != "{}" && string(c) != "null"
}

func checkGrants(grants []string) error {
	for _, g := range grants {
		switch g {
		case abi.GrantClock, abi.GrantRandom, abi.GrantSecret:
		default:
			return fmt.Errorf("has the grant %q, which this version does not know; there are %s, %s, %s",
				cut(g, 80), abi.GrantClock, abi.GrantRandom, abi.GrantSecret)
		}
	}
	return nil
}

func readModule(spec Spec) ([]byte, error) {
	if spec.Path == "" {
		if len(spec.Module) > maxModule {
			return nil, fmt.Errorf("is larger than %s", size(maxModule))
		}
		return spec.Module, nil
	}
	f, err := os.OpenFile(spec.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe must not block the open
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot be read (build the plugin first): %w", err)
		}
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	// The size is only a hint: the file may be written to meanwhile.
	var b bytes.Buffer
	b.Grow(int(min(info.Size(), maxModule)) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if n > maxModule {
		return nil, fmt.Errorf("is larger than %s", size(maxModule))
	}
	return b.Bytes(), nil
}
