package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// clockSynced asks the kernel whether a time service keeps the clock.
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, false
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, true
}

var openFilesLine = regexp.MustCompile(`(?m)^Max open files\s+(\S+)\s+(\S+)`)

// openFileLimit is the soft limit of a process, or that of one that is started
// here: Go raises it to the hard one. of says whose it is.
func openFileLimit(pid int) (limit uint64, of string, ok bool) {
	if pid != 0 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if m := openFilesLine.FindSubmatch(b); err == nil && m != nil {
			if string(m[1]) == "unlimited" {
				return unix.RLIM_INFINITY, fmt.Sprintf("process %d", pid), true
			}
			if n, err := strconv.ParseUint(string(m[1]), 10, 64); err == nil {
				return n, fmt.Sprintf("process %d", pid), true
			}
		}
	}
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, "", false
	}
	return r.Max, "a process started here", true
}
