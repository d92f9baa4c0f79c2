package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// safeguard keeps the server from destroying what it cannot recover. When
// anything fails while it recovers a stream at its start (a read error, a full
// disk), it removes the stream's whole directory (stream.go, addStreamWithAssignment
// → stop(true, …) → os.RemoveAll), and of a consumer likewise. So for the time of
// a start every file has a second name in another directory, and what has lost
// its first one gets it back.
//
// A file system without hard links has no safeguard.
type safeguard struct {
	streams string // the server's directory of streams
	dir     string // of the second names
}

func newSafeguard(store string) safeguard {
	return safeguard{streams: streamsDir(store), dir: filepath.Join(store, "recovering")}
}

// set gives every file a second name, after what an earlier start has left behind
// is put back.
func (s safeguard) set() error {
	if _, err := s.restore(); err != nil {
		return err
	}
	err := filepath.WalkDir(s.streams, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.streams, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(rel, ".") && rel != "." { // a stream that is being deleted
			return filepath.SkipDir
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(s.dir, rel), 0o700)
		}
		return os.Link(path, filepath.Join(s.dir, rel))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new store
	}
	if err != nil {
		return errors.Join(fmt.Errorf("safeguard the streams of the store: %w", err), os.RemoveAll(s.dir))
	}
	return nil
}

// missing lists what the server has removed: streams, and consumers of
// pipelines, as paths below the streams.
func (s safeguard) missing() ([]string, error) {
	var gone []string
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		part := strings.Split(rel, string(filepath.Separator))
		ours := len(part) == 3 && part[1] == "obs" && strings.HasPrefix(part[2], consumerName(""))
		if rel == "." || len(part) != 1 && !ours {
			return nil
		}
		if _, err := os.Stat(filepath.Join(s.streams, rel)); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, rel)
			return filepath.SkipDir
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for streams that the server has removed: %w", err)
	}
	return gone, nil
}

// restore puts back what is missing, removes the second names, and returns what
// was missing. No server may be running, unless nothing is missing.
func (s safeguard) restore() ([]string, error) {
	gone, err := s.missing()
	for _, rel := range gone {
		err = errors.Join(err, move(filepath.Join(s.dir, rel), filepath.Join(s.streams, rel)))
	}
	if err != nil {
		return gone, fmt.Errorf("put back what the server has removed: %w", err)
	}
	return gone, os.RemoveAll(s.dir)
}

// move renames a directory. A server that has just ended may still be removing
// the directories above, if they are empty.
func move(from, to string) error {
	var err error
	for range 10 {
		if err = os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			continue
		}
		if err = os.Rename(from, to); err == nil {
			return nil
		}
	}
	return err
}
