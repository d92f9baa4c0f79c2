package hostile_test

import "golang.org/x/sys/unix"

func olderCalls() []int {
	return []int{
		unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_ACCESS, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK,
		unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_READLINK, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_MKNOD,
		unix.SYS_GETDENTS, unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_FORK, unix.SYS_VFORK,
	}
}
