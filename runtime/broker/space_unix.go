//go:build unix

package broker

import "golang.org/x/sys/unix"

// freeSpace asks for the space that this user may fill.
func freeSpace(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, err
	}
	size := int64(st.Bsize) //nolint:unconvert // its type differs between systems
	return space{free: int64(st.Bavail) * size, total: int64(st.Blocks) * size}, nil
}
