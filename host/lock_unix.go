//go:build unix

package host

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockShared marks a file as in use until it is closed. It waits for whoever
// is about to remove it.
func lockShared(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != unix.EINTR {
			return err
		}
	}
}

// tryLockExclusive reports whether nobody uses a file.
func tryLockExclusive(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
