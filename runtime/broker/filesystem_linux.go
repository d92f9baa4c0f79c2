package broker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystem names the kind of file system that holds dir.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return ""
	}
	kinds := map[uint32]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.F2FS_SUPER_MAGIC: "f2fs",
		0x2fc12fc1: "zfs", 0xca451a4e: "bcachefs",
		unix.TMPFS_MAGIC: "tmpfs", 0x858458f6: "ramfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
		unix.NFS_SUPER_MAGIC: "nfs", 0xff534d42: "cifs", 0xfe534d42: "smb", unix.CEPH_SUPER_MAGIC: "ceph", unix.V9FS_MAGIC: "9p",
		unix.FUSE_SUPER_MAGIC: "fuse", unix.ECRYPTFS_SUPER_MAGIC: "ecryptfs",
	}
	magic := uint32(st.Type) //nolint:gosec // the numbers are 32 bits wide, whatever the type
	if kind, ok := kinds[magic]; ok {
		return kind
	}
	return fmt.Sprintf("0x%x", magic)
}
