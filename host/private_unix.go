//go:build unix

package host

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkPrivate refuses a directory that somebody else owns or can write to.
func checkPrivate(dir string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("%s can be written by other users (mode %04o), and what lies in it is executed; run: chmod 700 %s", dir, perm, dir)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return fmt.Errorf("%s belongs to another user (id %d), and what lies in it is executed; remove it or choose another directory", dir, st.Uid)
	}
	return nil
}
