package hostile_test

import "golang.org/x/sys/unix"

func olderCalls() []int { return []int{unix.SYS_FSTATAT, unix.SYS_RENAMEAT, unix.SYS_DUP} }
