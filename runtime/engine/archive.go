package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// orphanAge is when a copy that an earlier process left behind is removed.
const orphanAge = 30 * 24 * time.Hour

// archive keeps copies of module files by digest, so that a rollback works
// after the file has changed. What is read back is checked against the digest
// by the host, which compares it as a pin.
type archive struct {
	dir       string
	temporary bool
}

// openArchive makes the directory: dir, else "modules" in the store, else a
// temporary one. Only this user can write to it.
func openArchive(dir, store string) (*archive, error) {
	a := &archive{dir: dir}
	if a.dir == "" && store != "" {
		a.dir = filepath.Join(store, "modules")
	}
	if a.dir == "" {
		tmp, err := os.MkdirTemp("", "wasmill-modules-")
		if err != nil {
			return nil, fmt.Errorf("make a directory for module copies: %w", err)
		}
		a.dir, a.temporary = tmp, true
		return a, nil
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for module copies: %w", err)
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of module copies: %w", err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > orphanAge {
			_ = os.Remove(filepath.Join(a.dir, entry.Name()))
		}
	}
	return a, nil
}

func (a *archive) path(digest string) string { return filepath.Join(a.dir, digest+".wasm") }

// save keeps a copy. The file is complete or not there.
func (a *archive) save(digest string, b []byte) error {
	path := a.path(digest)
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(b)) {
		return os.Chtimes(path, time.Time{}, time.Now())
	}
	f, err := os.CreateTemp(a.dir, "copy-*")
	if err != nil {
		return fmt.Errorf("keep a copy of the module: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep a copy of the module: %w", err)
	}
	return nil
}

// load returns the copy with that digest.
func (a *archive) load(digest string) ([]byte, error) {
	b, err := os.ReadFile(a.path(digest))
	if err != nil {
		return nil, fmt.Errorf("read the copy of the module: %w", err)
	}
	return b, nil
}

// has says whether there is a copy with that digest.
func (a *archive) has(digest string) bool {
	_, err := os.Stat(a.path(digest))
	return err == nil
}

// prune removes copies that were needed before and are not now.
func (a *archive) prune(before, now []string) {
	for _, d := range before {
		if !slices.Contains(now, d) {
			_ = os.Remove(a.path(d))
		}
	}
}

// close removes a temporary directory.
func (a *archive) close() error {
	if !a.temporary {
		return nil
	}
	return os.RemoveAll(a.dir)
}
