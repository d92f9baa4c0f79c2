// Package freeport finds addresses for servers that a test or a benchmark starts
// in another process, or starts again at the same place.
//
// A port that the system chose (":0") is no good for that: once closed, the system
// gives it to the next connection that somebody dials, and the server finds it
// taken. The ports here lie below those that Linux, macOS and the BSDs give out
// by themselves.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range that ports are taken from. Linux gives out 32768 and more, the others
// 49152 and more.
const (
	lowest  = 10_000
	highest = 32_000
)

// Address returns a loopback address, "127.0.0.1:PORT", on which nothing listens
// and which the system does not give to anybody. It is chosen at random, so that
// processes side by side do not ask for the same. Safe for concurrent use.
func Address(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	var err error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(highest-lowest))) //nolint:gosec // not a secret
		var l net.Listener
		if l, err = lc.Listen(ctx, "tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port between %d and %d: %w", lowest, highest, err)
}
