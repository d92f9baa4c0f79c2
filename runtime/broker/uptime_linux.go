package broker

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is a clock that nobody can set and that goes on while the process is
// stopped and while the machine sleeps.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Duration(1<<63 - 1) // no clock: every tenure is over
	}
	return time.Duration(ts.Nano())
}
