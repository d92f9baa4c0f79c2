//go:build unix

package broker

import (
	"errors"
	"fmt"
	"syscall"
)

// Write implements net.Conn. It writes p whole, or fails with errTenureOver with
// nothing more written from when the tenure was over.
func (c *guardedConn) Write(p []byte) (written int, err error) {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	for written < len(p) {
		var failed error
		// The poller calls again when the socket has room, after any time.
		err := raw.Write(func(fd uintptr) bool {
			if c.tenure.over() {
				failed = errTenureOver
				return true
			}
			n, err := syscall.Write(int(fd), p[written:])
			if errors.Is(err, syscall.EAGAIN) {
				return false
			}
			if err != nil && !errors.Is(err, syscall.EINTR) {
				failed = fmt.Errorf("write to the NATS server: %w", err)
			}
			written += max(n, 0)
			return true
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
