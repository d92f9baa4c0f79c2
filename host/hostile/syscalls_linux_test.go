package hostile_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/host/hostile"
	"github.com/wasmill/wasmill/sdk/abi"
)

// A module that probes every function of WASI makes the process open no file and
// no socket. The process that runs it has the kernel kill it at its first such
// call: nothing can be missed, and nothing has to be installed to see it.
func TestWASIProbesMakeNoSystemCalls(t *testing.T) {
	runIn := func(mode string) (*os.ProcessState, string) {
		t.Helper()
		var text strings.Builder
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGuarded$", "-test.timeout=0")
		// With GOMAXPROCS set the runtime does not read the cgroup's limit once a second.
		cmd.Env = append(os.Environ(), guardedEnv+"="+mode, "GOMAXPROCS=2", "GODEBUG=updatemaxprocs=0")
		cmd.Stdout, cmd.Stderr = &text, &text
		err := cmd.Run()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState, text.String()
	}
	killed := func(s *os.ProcessState) bool {
		ws, ok := s.Sys().(syscall.WaitStatus)
		return ok && ws.Signaled() && ws.Signal() == syscall.SIGSYS
	}
	for _, control := range []string{"file", "socket"} {
		if s, text := runIn(control); !killed(s) {
			t.Fatalf("the guard does not work: a process that opens a %s ended with %v\n%s", control, s, text)
		}
	}
	if s, text := runIn("probes"); !s.Success() {
		t.Errorf("the process that ran the probes ended with %v\n%s", s, text)
	}
}

const guardedEnv = "WASMILL_TEST_GUARDED"

// TestGuarded is the process that the test above watches; elsewhere it does nothing.
func TestGuarded(t *testing.T) {
	mode := os.Getenv(guardedEnv)
	if mode == "" {
		return
	}
	ctx := context.Background()
	h := host.New(host.Options{})
	if err := h.Open(ctx); err != nil {
		t.Fatal(err)
	}
	gen, err := h.Load(ctx, host.Spec{Name: "probes", Module: hostile.AllProbes()})
	if err != nil {
		t.Fatal(err)
	}
	i, err := gen.NewInstance(ctx, host.InstanceSpec{Pipeline: "p"})
	if err != nil {
		t.Fatal(err)
	}
	events, res := batch(), &abi.Result{}
	if err := guard(); err != nil {
		t.Fatal(err)
	}
	switch mode {
	case "file":
		_, err = os.ReadFile("/etc/hostname")
	case "socket":
		_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	default:
		for range 100 {
			if err = i.Process(ctx, abi.BatchHeader{}, events, res); err != nil {
				break
			}
		}
	}
	if err != nil || mode != "probes" {
		fmt.Fprintln(os.Stderr, mode, err)
		os.Exit(1)
	}
	os.Exit(0) // the test's own end would touch files
}

// guard has the kernel kill the process, whichever thread it is, when it calls
// one of reaching.
func guard() error {
	audit := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	const nr, arch = 0, 4 // offsets in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ret := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	filter := []unix.SockFilter{load(arch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: audit}, ret(unix.SECCOMP_RET_KILL_PROCESS), load(nr)}
	for _, call := range reaching() {
		filter = append(filter, unless(uint32(call), 1), ret(unix.SECCOMP_RET_KILL_PROCESS))
	}
	filter = append(filter, ret(unix.SECCOMP_RET_ALLOW))

	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

// reaching are the system calls that reach files, sockets and other processes,
// those of every architecture; olderCalls has what some have beside them.
func reaching() []int {
	return append([]int{
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT,
		unix.SYS_SYMLINKAT, unix.SYS_READLINKAT, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_STATX, unix.SYS_FACCESSAT,
		unix.SYS_FACCESSAT2, unix.SYS_GETDENTS64, unix.SYS_FTRUNCATE, unix.SYS_TRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
		unix.SYS_SYNC_FILE_RANGE, unix.SYS_FADVISE64, unix.SYS_FSTAT, unix.SYS_FCHMOD, unix.SYS_FCHOWN, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64,
		unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_READV, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_COPY_FILE_RANGE, unix.SYS_CHDIR, unix.SYS_FCHDIR,
		unix.SYS_DUP3, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_CHROOT, unix.SYS_INOTIFY_ADD_WATCH,
		unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_SENDTO,
		unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN,
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_KILL, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	}, olderCalls()...)
}
