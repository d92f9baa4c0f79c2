package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/plan"
)

// checkServer looks at the NATS server behind the topics: at the store and the
// listener of the embedded one, or whether another one is to be reached.
func (s *site) checkServer(ctx context.Context) []check {
	p := s.plan
	if p.Server.URL != "" {
		var checks []check
		for one := range strings.SplitSeq(p.Server.URL, ",") {
			checks = append(checks, checkDial(ctx, one))
		}
		return checks
	}
	checks := s.checkStore()
	ours := s.runs != nil && s.runs.Server.Mode == "embedded" && samePort(s.runs.Server.URL, p.Server.Listen)
	if p.Server.Listen == "" {
		return append(checks, check{Name: "NATS listener", State: checkOK, Where: s.file, Detail: "none: in this process only"})
	}
	return append(checks, s.checkPort(ctx, "NATS listener", "[server] listen", p.Server.Listen, ours))
}

// samePort says whether a URL has the port of an address.
func samePort(at, listen string) bool {
	u, err := url.Parse(at)
	_, port, splitErr := net.SplitHostPort(listen)
	return err == nil && splitErr == nil && u.Port() == port
}

func checkDial(ctx context.Context, at string) check {
	k := check{Name: "NATS server", State: checkOK, Detail: "answers", code: exitEnv}
	if !strings.Contains(at, "://") {
		at = "nats://" + at
	}
	u, err := url.Parse(at)
	if err != nil {
		k.State, k.Detail, k.Fix = checkFail, "it is not a URL", "set [server] url"
		return k
	}
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	k.Where = net.JoinHostPort(u.Hostname(), port) // without credentials
	d := net.Dialer{Timeout: siteTimeout}
	conn, err := d.DialContext(ctx, "tcp", k.Where)
	if err != nil {
		k.State, k.Detail, k.Fix = checkFail, "cannot be reached: "+innermost(err).Error(), "start it, or mend [server] url or what is between"
		return k
	}
	_ = conn.Close()
	return k
}

// checkStore looks at the directory of the store without opening it.
func (s *site) checkStore() []check {
	p := s.plan
	where := s.storeOf()
	k := check{Name: "store", State: checkOK, Where: where, code: exitEnv}
	e, err := broker.ExamineStore(broker.Config{StoreDir: p.Server.StoreDir, Ledger: ledgerBeside(p.Server.StoreDir)})
	if err != nil {
		k.State, k.Detail, k.Fix = checkFail, err.Error(), "set [server] store_dir"
		return []check{k}
	}
	owner := "another process"
	if e.PID != 0 {
		owner = fmt.Sprintf("process %d", e.PID)
	}
	switch ours := s.runs != nil && s.runs.Server.StoreDir == p.Server.StoreDir; {
	case e.InUse && ours && s.runs.Server.Storing:
		k.Detail = "the running instance stores in it"
	case e.InUse && ours:
		k.State, k.Detail, k.Fix = checkFail, "the running instance cannot store: "+s.runs.Server.StorageTrouble, "mend the disk or make room; it goes on by itself"
	case e.InUse && p.Admin.Listen == "":
		k.Detail = "in use by " + owner
	case e.InUse:
		k.State, k.Detail = checkWarn, fmt.Sprintf("in use by %s, which does not answer as the instance of %s", owner, s.file)
		k.Fix = "stop it, or give this one another [server] store_dir; a second process is refused"
	case e.Writable != nil:
		k.State, k.Detail = checkFail, "cannot be written to: "+innermost(e.Writable).Error()
		k.Fix = "make room and let this user write in " + e.Dir + ", or set another [server] store_dir"
	case !e.Exists:
		k.Detail = "not there yet; it can be made in " + e.Dir
	default:
		k.Detail = "writable, and free for a process"
	}
	checks := []check{k, checkSpace(e, &p.Server), checkFileSystem(e, &p.Server)}
	if e.Exists {
		checks = append(checks, checkLedger(e))
	}
	s.pid, s.written = e.PID, e.LedgerFile
	return checks
}

// checkMachine looks at what is not of the configuration.
func (s *site) checkMachine() []check {
	p := s.plan
	if p == nil {
		p = &plan.Plan{}
	}
	return []check{checkOpenFiles(p, s.pid), checkClock(s.written)}
}

func checkSpace(e *broker.StoreExam, srv *plan.Server) check {
	k := check{Name: "space", State: checkOK, Where: e.Dir, code: exitEnv}
	if e.Total == 0 {
		k.Detail = "it is not known here how much there is"
		return k
	}
	k.Detail = fmt.Sprintf("%s free of %s", size(e.Free), size(e.Total))
	switch {
	case e.Free < e.Reserve:
		k.State, k.Fix = checkFail, "make room, or move [server] store_dir"
		k.Detail += fmt.Sprintf(": topics refuse messages below %s", size(e.Reserve))
	case e.Near():
		k.State, k.Fix = checkWarn, "make room, or lower the max_bytes and max_age of topics"
		k.Detail += fmt.Sprintf(": topics refuse messages below %s", size(e.Reserve))
	case srv.MaxStore > e.Total:
		k.State, k.Fix = checkWarn, "lower [server] max_store below what the disk has"
		k.Detail += fmt.Sprintf("; max_store is %s, so the disk is full first", size(srv.MaxStore))
	}
	return k
}

// checkFileSystem says where a file system does not keep what a durability
// promises.
func checkFileSystem(e *broker.StoreExam, srv *plan.Server) check {
	k := check{Name: "file system", State: checkOK, Where: e.Dir, Detail: e.FileSystem}
	volatile := []string{"tmpfs", "ramfs"}
	layered := []string{"overlay"}
	remote := []string{"nfs", "cifs", "smb", "ceph", "9p", "fuse"}
	switch kind := e.FileSystem; {
	case kind == "":
		k.Detail = "its kind is not known here"
	case slices.Contains(volatile, kind):
		k.State, k.Fix = checkWarn, "put [server] store_dir on a disk"
		k.Detail += " is memory: every topic is gone when the machine starts again, whatever the durability"
	case slices.Contains(layered, kind):
		k.State, k.Fix = checkWarn, "mount a volume at [server] store_dir"
		k.Detail += " belongs to a container: the topics are gone with it"
	case slices.Contains(remote, kind):
		k.State, k.Fix = checkWarn, "put [server] store_dir on a local disk"
		k.Detail += fmt.Sprintf(": whether a confirmed message survives (durability %q), and whether the lock keeps a second process out, is up to what is behind it", srv.Durability)
	default:
		k.Detail += fmt.Sprintf(", durability %q", srv.Durability)
	}
	return k
}

// checkLedger says whether this version can open the store, and whether a start
// would be refused for what is gone.
func checkLedger(e *broker.StoreExam) check {
	k := check{Name: "store version", State: checkOK, Where: e.LedgerFile, Detail: "one that this version opens; nothing is missing that is known of", code: exitEnv}
	switch {
	case e.Loss != nil:
		all := strings.Split(e.Loss.Error(), "\n")
		k.State, k.Detail, k.Fix = checkFail, strings.Join(all[:len(all)-1], "; "), "restore a backup, or go on without them by \"wasmill run --accept-loss\""
	case e.LaterVersion:
		k.State, k.Detail, k.Fix = checkFail, e.Ledger.Error(), "run the version that wrote it, or a later one"
	case e.Ledger != nil:
		k.State, k.Detail = checkWarn, e.Ledger.Error()
	}
	return k
}

// checkClock says whether the clock can be believed; written is a file that was
// written while an instance ran.
func checkClock(written string) check {
	k := check{Name: "clock", State: checkOK, Detail: time.Now().Format(time.RFC3339)}
	if info, err := os.Stat(written); err == nil && time.Until(info.ModTime()) > time.Minute {
		k.State, k.Where = checkWarn, written
		k.Detail = fmt.Sprintf("%s, but the store was written at %s: the clock was set back", k.Detail, info.ModTime().Format(time.RFC3339))
		k.Fix = "set the clock; max_age and the times of events go by it"
		return k
	}
	switch synced, known := clockSynced(); {
	case !known:
	case synced:
		k.Detail += ", kept by a time service"
	default:
		k.State, k.Fix = checkWarn, "let a time service keep it (chrony, systemd-timesyncd); max_age and the times of events go by it"
		k.Detail += ", and no time service keeps it"
	}
	return k
}

// What a process needs of open files: itself, and about so many for each topic
// and pipeline.
const (
	filesOfProcess  = 200
	filesOfTopic    = 8
	filesOfPipeline = 4
	filesEnough     = 4096
)

// checkOpenFiles compares the limit of open files with what the plan needs: that
// of the running process pid, or that which a process started here would have.
func checkOpenFiles(p *plan.Plan, pid int) check {
	k := check{Name: "open files", State: checkOK, code: exitEnv}
	limit, of, ok := openFileLimit(pid)
	if !ok {
		k.Detail = "the limit is not known here"
		return k
	}
	k.Where = of
	need := uint64(filesOfProcess + filesOfTopic*len(p.Topics) + filesOfPipeline*len(p.Pipelines))
	k.Detail = fmt.Sprintf("at most %s, of which about %s are needed beside those of clients", limitText(limit), count(need))
	switch {
	case limit < need:
		k.State, k.Fix = checkFail, "raise it: LimitNOFILE=65536 in the unit, or \"ulimit -n 65536\""
	case limit < max(filesEnough, 2*need):
		k.State, k.Fix = checkWarn, "raise it: LimitNOFILE=65536 in the unit, or \"ulimit -n 65536\""
	}
	return k
}

func limitText(n uint64) string {
	if n > 1<<40 {
		return "any number"
	}
	return count(n)
}
