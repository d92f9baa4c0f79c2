//go:build torture

package event

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Failpoint ends the process when WASMILL_FAILPOINT says so.
func Failpoint(name string) {
	f := armed()
	if f.name != name || f.passed.Add(1) != f.count {
		return
	}
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {} // until the signal is delivered
}

type failpoint struct {
	name   string
	count  int64
	passed atomic.Int64
}

// armed is the failpoint at which this process ends. A name or count that makes
// no sense ends it at once: a test that never fails proves nothing.
var armed = sync.OnceValue(func() *failpoint {
	spec := os.Getenv("WASMILL_FAILPOINT")
	if spec == "" {
		return &failpoint{}
	}
	name, times, ok := strings.Cut(spec, ":")
	count, err := strconv.ParseInt(times, 10, 64)
	if !ok || err != nil || count < 1 || !slices.Contains(Failpoints(), name) {
		fmt.Fprintf(os.Stderr, "WASMILL_FAILPOINT=%s is not NAME:COUNT with one of %s\n", spec, strings.Join(Failpoints(), ", "))
		os.Exit(2)
	}
	return &failpoint{name: name, count: count}
})
