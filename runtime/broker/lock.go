package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

const lockFile = "wasmill.lock"

// lockStore makes dir and takes its lock, which the server itself does not do:
// two servers on one store destroy it. The lock belongs to the open file, so it
// is gone with the process, however that ends. The file holds the owner's pid.
func lockStore(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, envErrorf(err, "store directory %s cannot be made: %v; give another server.store_dir, or make it writable for this user", dir, cause(err))
	}
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, envErrorf(err, "store directory %s is not writable: %v; give another server.store_dir, or make it writable for this user", dir, cause(err))
	}
	if !ok {
		owner := "another process"
		if pid := readPID(path); pid != 0 {
			owner = fmt.Sprintf("another process (pid %d)", pid)
		}
		return nil, envErrorf(nil, "store directory %s is in use by %s; stop it, or give this one another server.store_dir", dir, owner)
	}
	if err := writePID(path); err != nil {
		_ = lock.Unlock()
		return nil, probeError(dir, err)
	}
	if err := probe(dir); err != nil {
		_ = lock.Unlock()
		return nil, err
	}
	return lock, nil
}

func writePID(path string) error {
	return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
}

// probe writes and syncs some blocks in dir, so that a full, broken or read-only
// disk is an error now and not of the first publish.
func probe(dir string) error {
	const size = 256 << 10 // what a new stream and its first messages need at least
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return probeError(dir, err)
	}
	_, err = f.Write(make([]byte, size))
	if err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		return probeError(dir, err)
	}
	return nil
}

func probeError(dir string, err error) error {
	if diskFull(err) {
		return envErrorf(err, "the disk of store directory %s is full; free some space, or give another server.store_dir", dir)
	}
	return envErrorf(err, "store directory %s is not writable: %v; give another server.store_dir, or make it writable for this user", dir, cause(err))
}

func readPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// cause strips the operation and path that os puts in front, which the message
// around it already says.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
