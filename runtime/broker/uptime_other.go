//go:build !linux

package broker

import "time"

var began = time.Now() // constant

// uptime is a clock that nobody can set and that goes on while the process is
// stopped. On some systems it stands still while the machine sleeps.
func uptime() time.Duration { return time.Since(began) }
