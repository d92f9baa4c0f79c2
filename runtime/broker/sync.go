package broker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// syncNames makes the names of everything below dir durable, and those of the
// directories that lead to it, up to the one above the store: what the server
// does not do when it creates a stream or a consumer. It syncs the directory it
// has made, not the one that names it.
func syncNames(store, dir string) error {
	if runtime.GOOS == "windows" {
		return nil // has no sync of directories
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server replaces files
		}
		if err != nil || !e.IsDir() {
			return err
		}
		return syncFile(path)
	})
	for path := filepath.Dir(dir); err == nil && len(path) >= len(filepath.Dir(store)); path = filepath.Dir(path) {
		err = syncFile(path)
		if path == filepath.Dir(path) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// unsyncedWindow is how old a write can be that a failed sync was to bring to
// the disk.
func unsyncedWindow(durability string) time.Duration {
	if durability == DurabilityFsync {
		return time.Minute // the write is just before; the rest is for clocks of file servers
	}
	return 2 * syncInterval
}

// rewriteUnsynced writes every block of a stream again that was changed after
// since, with the same contents, and syncs it; it returns how many. After a sync
// has failed the kernel takes the pages for clean and no later sync writes them,
// so that an acknowledged message behind them would be lost with the power. No
// server may be running.
func rewriteUnsynced(store string, since time.Time) (blocks int, err error) {
	err = filepath.WalkDir(filepath.Join(store, "jetstream"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := e.Info()
		if err != nil || info.ModTime().Before(since) {
			return err
		}
		blocks++
		return rewrite(path)
	})
	if err != nil {
		return blocks, fmt.Errorf("write unsynced blocks again: %w", err)
	}
	return blocks, nil
}

func rewrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); err == nil; {
		var n int
		if n, err = f.ReadAt(buf, off); n == 0 {
			break
		}
		if _, werr := f.WriteAt(buf[:n], off); werr != nil {
			err = werr
		}
		off += int64(n)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Sync(), f.Close())
}
