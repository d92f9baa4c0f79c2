//go:build unix

package host

import (
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownGroup keeps the signals of a terminal from the worker: whoever asked for
// it decides when it ends.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// workerNice lets the data path go first, and still has a worker finish on a
// machine that is busy all the time: at the lowest priority it may never.
const workerNice = 5

// limitProcess sets what limits the system knows, and a lower priority. They
// back guardWorker, which is more exact: so none of them is worth failing.
func limitProcess(l workerLimits) {
	seconds := uint64(l.cpu / time.Second)
	limit(unix.RLIMIT_CPU, seconds+2)
	limit(unix.RLIMIT_CORE, 0)
	// When the system is out of memory, better this process than the one that runs
	// the pipelines. Systems without that file have another way to choose.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	limit(unix.RLIMIT_FSIZE, l.file)
	// The data of a process has what it may write to, with Go's reserve of 64 MiB
	// at a time and the machine code, which Go's runtime does not count.
	if !raceDetector {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, workerNice)
		limit(unix.RLIMIT_DATA, 2*l.memory)
	}
}

func limit(resource int, most uint64) {
	_ = unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most})
}

// processTime returns the processor time that this process has used.
func processTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// outOfTime says whether the system has ended a worker for its processor time.
func outOfTime(exit *exec.ExitError) bool {
	s, ok := exit.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && (s.Signal() == syscall.SIGXCPU ||
		s.Signal() == syscall.SIGKILL && exit.UserTime()+exit.SystemTime() >= workerCPU)
}
