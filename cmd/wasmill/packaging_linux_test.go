package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/runtime/config"
)

// The package installs; what it installed runs under a service manager's
// protocol, says what it does, and ends in order; the unit is what systemd
// accepts; removing leaves configuration and topics, purging nothing.
func TestDebianPackage(t *testing.T) {
	needs(t, "bash", "dpkg", "gzip")
	if os.Geteuid() != 0 {
		t.Skip("installing a package, even below a directory, takes root")
	}
	dir := t.TempDir()
	bin := buildBinary(t)
	command(t, "bash", "packaging/pack", bin, bin, "linux/"+runtime.GOARCH, "0.0.1", filepath.Join(dir, "dist"))
	debs, _ := filepath.Glob(filepath.Join(dir, "dist", "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("one package was expected, there are %v", debs)
	}

	root := filepath.Join(dir, "root")
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg", f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := func(args ...string) {
		command(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless"}, args...)...)
	}
	dpkg("-i", debs[0])

	t.Run("unit", func(t *testing.T) {
		needs(t, "systemd-analyze")
		unit, err := os.ReadFile(filepath.Join(root, "lib/systemd/system/wasmill.service"))
		if err != nil {
			t.Fatal(err)
		}
		// It is verified here, where the binary is elsewhere and the manual is not installed.
		file := filepath.Join(dir, "wasmill.service")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(unit), "/usr/bin/wasmill", filepath.Join(root, "usr/bin/wasmill"))), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := command(t, "systemd-analyze", "verify", "--man=no", file); strings.Contains(out, "wasmill.service") {
			t.Errorf("systemd finds fault with the unit:\n%s", out)
		}
	})
	t.Run("manual", func(t *testing.T) {
		page := command(t, "gzip", "-dc", filepath.Join(root, "usr/share/man/man1/wasmill-run.1.gz"))
		if !strings.Contains(page, "accept-loss") {
			t.Errorf("the manual of run does not explain its flags:\n%s", page)
		}
	})
	t.Run("service", func(t *testing.T) { serveAsUnit(t, root) })

	topics := filepath.Join(root, "var/lib/wasmill/data")
	if _, err := os.Stat(topics); err != nil {
		t.Fatal(err)
	}
	dpkg("-r", "wasmill")
	for _, kept := range []string{topics, filepath.Join(root, "etc/wasmill/wasmill.toml")} {
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("removing the package took what is the user's: %v", err)
		}
	}
	dpkg("-P", "wasmill")
	for _, gone := range []string{"usr/bin/wasmill", "etc/wasmill", "var/lib/wasmill"} {
		if _, err := os.Stat(filepath.Join(root, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there after a purge", gone)
		}
	}
}

// serveAsUnit runs what is installed below root as the unit says, with this
// test in the place of systemd.
func serveAsUnit(t *testing.T, root string) {
	t.Helper()
	toml, err := os.ReadFile(filepath.Join(root, "etc/wasmill/wasmill.toml"))
	if err != nil {
		t.Fatal(err)
	}
	at := freeAddress(t)
	replaced := strings.NewReplacer(
		`"/var/lib/`, `"`+root+`/var/lib/`, "127.0.0.1:4222", freeAddress(t), "127.0.0.1:7422", at).Replace(string(toml))
	file := filepath.Join(root, "etc/wasmill/wasmill.toml")
	if err := os.WriteFile(file, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	// The path of a socket must be short.
	short, err := os.MkdirTemp("", "sd") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(short, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	expect := func(state string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		seen := []string{}
		for buf := make([]byte, 4096); ; {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("systemd never heard %q, but %q: %v", state, seen, err)
			}
			lines := strings.Split(string(buf[:n]), "\n")
			if slices.Contains(lines, state) {
				return
			}
			seen = append(seen, lines...)
		}
	}

	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/wasmill"), "run", "--log-format", "json", file) //nolint:gosec // installed above
	var log strings.Builder
	cmd.Stderr = &log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket.LocalAddr().String(), "WATCHDOG_USEC=200000",
		"WASMILL_CACHE="+filepath.Join(root, "var/cache/wasmill"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	expect("READY=1")
	expect("WATCHDOG=1")
	expect("WATCHDOG=1")
	command(t, filepath.Join(root, "usr/bin/wasmill"), "healthcheck", "--admin", at)
	command(t, filepath.Join(root, "usr/bin/wasmill"), "healthcheck", "--ready", "--admin", at)
	reload := directive(t, root, "ExecReload", file)
	command(t, reload[0], reload[1:]...)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	expect("RELOADING=1")
	expect("READY=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end in order: %v\n%s", err, log.String())
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/wasmill"), "healthcheck", "--admin", at).CombinedOutput() //nolint:gosec // installed above
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailure {
		t.Errorf("healthcheck of what has ended: %v, want exit code 1\n%s", err, out)
	}
}

// directive is a command of the installed unit, for a file in place of the
// installed configuration.
func directive(t *testing.T, root, name, file string) []string {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join(root, "lib/systemd/system/wasmill.service"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(unit), "\n"+name+"=")
	if !ok {
		t.Fatalf("the unit has no %s", name)
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.Fields(strings.NewReplacer("/usr/bin/", root+"/usr/bin/", "/etc/wasmill/wasmill.toml", file).Replace(line))
}

// The configuration that the Kubernetes example carries validates, and its
// probes and the container's are commands that exist.
func TestContainerExamples(t *testing.T) {
	manifest, err := os.ReadFile("packaging/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(manifest), "wasmill.toml: |\n")
	if !ok {
		t.Fatal("the example has no wasmill.toml")
	}
	block, _, _ = strings.Cut(block, "\n---")
	block = regexp.MustCompile(`(?m)^ {4}`).ReplaceAllString(block, "")
	file := filepath.Join(t.TempDir(), "wasmill.toml")
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &app{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, builtins: builtin.Modules()}
	if _, err := config.Load(file, a.builtinNames()...); err != nil {
		t.Errorf("the configuration of the Kubernetes example: %v", err)
	}

	containerfile, err := os.ReadFile("packaging/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`\["(?:/usr/bin/wasmill", ")?(run|healthcheck)"(?:, "([^"\]]+)")*`)
	calls := 0
	for _, text := range []string{string(manifest), string(containerfile)} {
		for _, m := range quoted.FindAllString(text, -1) {
			args := regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(m, -1)
			verb := a.root()
			for _, arg := range args {
				if strings.HasPrefix(arg[1], "/") {
					continue
				}
				if flag, isFlag := strings.CutPrefix(arg[1], "--"); isFlag {
					if verb.Flags().Lookup(flag) == nil {
						t.Errorf("%s: %s has no flag --%s", m, verb.Name(), flag)
					}
					continue
				}
				if found, _, err := verb.Find([]string{arg[1]}); err == nil {
					verb = found
				}
			}
			calls++
		}
	}
	if calls < 5 {
		t.Errorf("only %d commands were found in the examples", calls)
	}
}

// A binary of a container has nothing beside it: no C library, no shell, no
// home, a file system that it cannot write to but for its volumes.
func TestRunsInAnEmptyRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the root directory takes root")
	}
	needs(t, "go")
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "etc/wasmill", "var/lib/wasmill", "var/cache/wasmill", "tmp", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "usr/bin/wasmill"), ".") //nolint:gosec // the go command
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	at := freeAddress(t)
	toml := "[server]\nstore_dir = \"/var/lib/wasmill/data\"\nlisten = \"" + freeAddress(t) + "\"\n[admin]\nlisten = \"" + at + "\"\n" +
		"[topics.in]\nsubjects = [\"in.>\"]\n[topics.out]\nsubjects = [\"out.>\"]\n[plugins.all]\nbuiltin = \"pass\"\n" +
		"[pipelines.all]\nfrom = \"in\"\nstages = [\"all\"]\nto = \"out\"\nsubject = \"out.{subject.2}\"\n"
	if err := os.WriteFile(filepath.Join(root, "etc/wasmill/wasmill.toml"), []byte(toml), 0o644); err != nil { //nolint:gosec // for the other user
		t.Fatal(err)
	}
	const nobody = 65532
	for _, d := range []string{"var/lib/wasmill", "var/cache/wasmill", "tmp"} {
		if err := os.Chown(filepath.Join(root, d), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		t.Skipf("the kernel does not let this user mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(root, "proc"), syscall.MNT_DETACH) })

	inside := func(ctx context.Context, args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, "/usr/bin/wasmill", args...) //nolint:gosec // built above
		c.Dir = "/etc/wasmill"
		c.Env = []string{"WASMILL_CACHE=/var/cache/wasmill"}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return c
	}
	var log strings.Builder
	run := inside(t.Context(), "run")
	run.Stderr = &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Process.Kill() })
	deadline := time.Now().Add(2 * time.Minute)
	for {
		out, err := inside(t.Context(), "healthcheck", "--ready").CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not become ready: %v\n%s\n%s", err, out, log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out, err := inside(t.Context(), "topics", "publish", "in", "--subject", "in.a", "{}").CombinedOutput(); err != nil {
		t.Errorf("publish: %v\n%s", err, out)
	}
	if out, err := inside(t.Context(), "topics", "tail", "out", "--from", "all", "-n", "1").CombinedOutput(); err != nil {
		t.Errorf("tail: %v\n%s", err, out)
	}
	_ = run.Process.Signal(syscall.SIGTERM)
	if err := run.Wait(); err != nil {
		t.Errorf("it did not end in order: %v\n%s", err, log.String())
	}
}
