package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How long Sources waits: for quiet after a save, so that several saves in a row
// are one change; for quiet at the most; and between two looks where the system
// tells nothing.
const (
	quietTime = 50 * time.Millisecond
	patience  = time.Second
	pollTime  = 500 * time.Millisecond
)

// Sources watches the files of a project that modules are made of. What counts
// is whether their bytes have changed. It is used by one goroutine.
type Sources struct {
	dir     string
	skip    []string
	also    []string
	watcher *fsnotify.Watcher // nil where the system has none left
	files   map[string]fileState
}

type fileState struct {
	size  int64
	saved time.Time
	sum   [sha256.Size]byte
}

// WatchSources begins to watch what is in dir and below it, but for what is in
// one of the directories skip, and the files also, which are no sources. All
// paths are absolute. Close ends it.
func WatchSources(dir string, skip, also []string) (*Sources, error) {
	s := &Sources{dir: filepath.Clean(dir), skip: skip, also: also}
	var err error
	if w, err := fsnotify.NewWatcher(); err == nil {
		s.watcher = w
	}
	if s.files, err = s.scan(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Skip ends the watch of a directory and what is below it.
func (s *Sources) Skip(dir string) {
	s.skip = append(s.skip, dir)
	if s.watcher == nil {
		return
	}
	for _, at := range s.watcher.WatchList() {
		if at == dir || strings.HasPrefix(at, dir+string(filepath.Separator)) {
			_ = s.watcher.Remove(at) // it may have gone
		}
	}
}

// Close ends the watch.
func (s *Sources) Close() error {
	if s.watcher == nil {
		return nil
	}
	return s.watcher.Close()
}

// Next waits until sources have changed and returns which, sorted; nil when ctx
// ends first.
func (s *Sources) Next(ctx context.Context) ([]string, error) {
	for {
		if err := s.wait(ctx); err != nil {
			return nil, nil //nolint:nilerr // the end of ctx is the answer
		}
		now, err := s.scan()
		if err != nil {
			return nil, err
		}
		var changed []string
		for name, state := range now {
			if s.files[name].sum != state.sum {
				changed = append(changed, name)
			}
		}
		for name := range s.files {
			if _, ok := now[name]; !ok {
				changed = append(changed, name)
			}
		}
		s.files = now
		if len(changed) > 0 {
			slices.Sort(changed)
			return changed, nil
		}
	}
}

// wait returns when something has happened to a source and it is quiet again.
func (s *Sources) wait(ctx context.Context) error {
	if s.watcher == nil {
		return sleep(ctx, pollTime)
	}
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time
	for {
		select {
		case e := <-s.watcher.Events:
			if !s.concerns(e) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(max(0, min(quietTime, patience-time.Since(first))))
		case _, ok := <-s.watcher.Errors: // events were lost: the bytes will tell
			if !ok {
				return errors.New("the watch was closed")
			}
			quiet.Reset(quietTime)
		case <-quiet.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Sources) counts(name string) bool { return IsSource(name) || slices.Contains(s.also, name) }

// concerns says whether an event can be about a source, or a directory that has
// just come.
func (s *Sources) concerns(e fsnotify.Event) bool {
	if s.counts(e.Name) {
		return e.Op != fsnotify.Chmod
	}
	if !e.Has(fsnotify.Create) || IgnoredDir(e.Name) {
		return false
	}
	info, err := os.Lstat(e.Name)
	return err == nil && info.IsDir()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scan reads all sources, as far as they are not as they were, and watches the
// directories that they are in.
func (s *Sources) scan() (map[string]fileState, error) {
	files := map[string]fileState{}
	err := filepath.WalkDir(s.dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != s.dir:
			return nil // it has just gone
		case err != nil:
			return fmt.Errorf("watch the sources of %s: %w", s.dir, err)
		case entry.IsDir():
			if name != s.dir && (IgnoredDir(name) || slices.Contains(s.skip, name)) {
				return filepath.SkipDir
			}
			if s.watcher != nil && s.watcher.Add(name) != nil { // too many: look by the clock instead
				err := s.watcher.Close()
				s.watcher = nil
				return err
			}
			return nil
		case !s.counts(name) || !entry.Type().IsRegular() && entry.Type()&fs.ModeSymlink == 0:
			return nil
		}
		if state, ok := s.look(name); ok {
			files[name] = state
		}
		return nil
	})
	return files, err
}

// look reads one source. It does not when neither size nor time have changed,
// unless that time is so recent that it may have to stand for two saves.
func (s *Sources) look(name string) (fileState, bool) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return fileState{}, false
	}
	state := fileState{size: info.Size(), saved: info.ModTime()}
	if was, ok := s.files[name]; ok && was.size == state.size && was.saved.Equal(state.saved) && time.Since(state.saved) > 2*time.Second {
		return was, true
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return fileState{}, false
	}
	state.sum = sha256.Sum256(b)
	return state, true
}

// Made lists those of plugins whose modules are made of one of the files.
func Made(plugins []Plugin, files []string) []Plugin {
	var all []Plugin
	for _, p := range plugins {
		if slices.ContainsFunc(files, func(f string) bool { return slices.Contains(Affected(plugins, f), p) }) {
			all = append(all, p)
		}
	}
	return all
}

// Name is what people call the plugin: its module without the ending.
func (p Plugin) Name() string { return strings.TrimSuffix(filepath.Base(p.Module), ".wasm") }
