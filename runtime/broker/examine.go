package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/wasmill/wasmill/runtime/ledger"
)

// StoreExam is what a look at a store shows without opening it.
type StoreExam struct {
	Dir    string // the store; when it is not there, the directory in which it would be made
	Exists bool
	InUse  bool // by a process
	PID    int  // of that, 0 when it is not known

	// Writable is why a start could not write there, nil when it could. It is not
	// tried in a store that is in use.
	Writable error

	Free, Total int64  // bytes of its file system; 0 = not known
	Reserve     int64  // of those, what topics may not fill
	FileSystem  string // its kind, "" when it is not known

	LedgerFile string // where its ledger is, in the store

	// Ledger is why its ledger cannot be used, and LaterVersion that a later
	// Wasmill wrote it, which keeps this one from starting. Loss is what a start
	// would be refused for, as far as the ledger knows already.
	Ledger       error
	LaterVersion bool
	Loss         *LossError
}

// Near says that the space of the store is almost used up.
func (e *StoreExam) Near() bool { return space{e.Free, e.Total}.near() }

// ExamineStore looks at the store of a configuration. It changes nothing in it,
// but for a file that it writes to see whether it can, and removes.
func ExamineStore(cfg Config) (*StoreExam, error) {
	e := &StoreExam{Dir: cfg.StoreDir, Exists: true, LedgerFile: filepath.Join(cfg.StoreDir, ledger.Name)}
	info, err := os.Stat(e.Dir)
	for errors.Is(err, fs.ErrNotExist) {
		e.Exists = false
		parent := filepath.Dir(e.Dir)
		if parent == e.Dir {
			break
		}
		e.Dir = parent
		info, err = os.Stat(e.Dir)
	}
	if err != nil {
		return nil, envErrorf(err, "%s cannot be looked at: %v", e.Dir, cause(err))
	}
	if !info.IsDir() {
		return nil, envErrorf(nil, "%s is not a directory", e.Dir)
	}
	if s, err := freeSpace(e.Dir); err == nil {
		e.Free, e.Total, e.Reserve = s.free, s.total, s.reserve()
	}
	e.FileSystem = fileSystem(e.Dir)
	if e.Exists {
		e.examineLock()
		e.examineLedger(cfg)
	}
	if !e.InUse {
		e.Writable = probe(e.Dir)
	}
	return e, nil
}

// examineLock finds out who has the store. A lock that is free is held shared
// for a moment.
func (e *StoreExam) examineLock() {
	path := filepath.Join(e.Dir, lockFile)
	if _, err := os.Stat(path); err != nil {
		return // nobody has ever opened it
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	ok, err := lock.TryRLock()
	if err != nil {
		return // its rights say no more than those of the directory
	}
	if ok {
		_ = lock.Unlock()
		return
	}
	e.InUse, e.PID = true, readPID(path)
}

func (e *StoreExam) examineLedger(cfg Config) {
	paths := []string{e.LedgerFile}
	if cfg.Ledger != "" {
		paths = append(paths, cfg.Ledger)
	}
	book, err := ledger.Load(paths...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if streams, _ := filepath.Glob(filepath.Join(streamsDir(cfg.StoreDir), "*")); len(streams) > 0 {
			e.Ledger = fmt.Errorf("there is no %s, so that what has gone missing cannot be told; the next start makes one", ledger.Name)
		}
	case err != nil:
		e.Ledger, e.LaterVersion = err, errors.Is(err, ledger.ErrLaterVersion)
	default:
		if open := book.Unaccepted(); len(open) > 0 {
			e.Loss = &LossError{StoreDir: cfg.StoreDir, Losses: open}
		}
	}
}
