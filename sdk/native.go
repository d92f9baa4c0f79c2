//go:build !wasip1

package sdk

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/wasmill/wasmill/sdk/abi"
)

// The boundary outside of WebAssembly, for tests: package sdktest drives it.

// Host is what a native Guest reaches outside of itself. A nil field does
// nothing, except that a nil Now, Random or Secret is a grant the plugin does
// not have: using it panics.
type Host struct {
	Log    func(level Level, line string)
	Metric func(name string, kind int, value float64) // kind is one of abi's Metric constants
	Now    func() time.Time
	Random func(b []byte)
	Secret func(name string) (string, bool)
}

// Guest is an instance that runs natively, on the same frames and through the
// same code as in WebAssembly. Guests of one process take turns: the functions
// of this package that reach the host find it by whose turn it is.
type Guest struct {
	guest guest
	host  *Host
}

// NewGuest returns an instance of open, or of the registered plugin when open
// is nil.
func NewGuest(open Opener, host *Host) *Guest {
	if open == nil {
		open = registered
	}
	return &Guest{guest: guest{opener: open}, host: host}
}

// Open is wasmill_open.
func (g *Guest) Open(doc []byte) error {
	defer g.turn()()
	return g.guest.open(doc)
}

// Process is wasmill_process. The response is valid until the next call.
func (g *Guest) Process(frame []byte) ([]byte, error) {
	defer g.turn()()
	return g.guest.process(frame)
}

// Close is wasmill_close. The response is valid until the next call.
func (g *Guest) Close() ([]byte, error) {
	defer g.turn()()
	return g.guest.close()
}

// native says whose turn it is. calls is held for the length of a call, mu for
// a look at host; calls is taken first.
var native struct {
	calls sync.Mutex
	mu    sync.Mutex
	host  *Host
}

// outside is the host of a handler that a test calls without a Guest.
var outside = Host{
	Now:    time.Now,
	Random: func(b []byte) { _, _ = rand.Read(b) },
	Secret: func(string) (string, bool) { return "", false },
}

func (g *Guest) turn() (end func()) {
	native.calls.Lock()
	setHost(g.host)
	return func() {
		setHost(nil)
		native.calls.Unlock()
	}
}

func setHost(h *Host) {
	native.mu.Lock()
	defer native.mu.Unlock()
	native.host = h
}

func host() *Host {
	native.mu.Lock()
	defer native.mu.Unlock()
	if native.host == nil {
		return &outside
	}
	return native.host
}

func hostLog(level Level, line []byte) {
	if f := host().Log; f != nil {
		f(level, string(line))
	}
}

// metric is what the three kinds share. A native host knows it by its name.
type metric struct {
	name string
	kind int32
}

func (m *metric) add(n int64) { m.observe(float64(n)) }

func (m *metric) observe(v float64) {
	if f := host().Metric; f != nil {
		f(m.name, int(m.kind), v)
	}
}

// Now returns the host's clock, in UTC. It needs the grant "clock": a module
// that calls it does not load without.
func Now() time.Time {
	f := host().Now
	need(f != nil, abi.GrantClock)
	return f().UTC()
}

// Random fills b with random bytes. It needs the grant "random".
func Random(b []byte) {
	f := host().Random
	need(f != nil, abi.GrantRandom)
	f(b)
}

// Secret returns the value that [plugins.NAME.secrets] gives that name; false
// when it has none. It needs the grant "secret".
func Secret(name string) (string, bool) {
	f := host().Secret
	need(f != nil, abi.GrantSecret)
	return f(name)
}

func need(granted bool, grant string) {
	if !granted {
		panic(`sdk: the plugin does not have the grant "` + grant + `"`)
	}
}
