package reload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"

	"github.com/wasmill/wasmill/runtime/plan"
)

// maxRead is the largest file that is read; the rooms that use it have finer
// limits.
const maxRead = 256 << 20

// files is what the watcher knows of the files. It belongs to its goroutine.
type files struct {
	config string // absolute path of the TOML file
	fs     *fsnotify.Watcher
	events <-chan fsnotify.Event // nil without fs
	errors <-chan error

	plan   *plan.Plan // the last one that was applied
	wanted *plan.Plan // one that was refused: its modules are watched, too

	tried     string            // the bytes of the TOML that were handed on last, and of the modules with them
	complaint string            // what was last said about the TOML
	refused   bool              // the TOML was, the last time it was looked at
	modules   map[string]string // by plugin: digest that was handed on last
	gone      map[string]bool   // plugins whose missing module was reported

	names map[string][]string // by watched directory: the names that matter
}

func newFiles(config string, fs *fsnotify.Watcher) files {
	if abs, err := filepath.Abs(config); err == nil {
		config = abs
	}
	f := files{config: config, fs: fs}
	if fs != nil {
		f.events, f.errors = fs.Events, fs.Errors
	}
	f.forget()
	return f
}

// forget makes the next look hand everything on.
func (f *files) forget() {
	f.tried, f.complaint = "", ""
	f.modules, f.gone = map[string]string{}, map[string]bool{}
}

func (f *files) close() {
	if f.fs != nil {
		_ = f.fs.Close()
	}
}

// watch makes the watched directories those that matter now.
func (f *files) watch() error {
	f.names = map[string][]string{}
	note := func(path string) {
		for _, s := range trail(path) {
			if !slices.Contains(f.names[s.dir], s.name) {
				f.names[s.dir] = append(f.names[s.dir], s.name)
			}
		}
	}
	note(f.config)
	for _, p := range []*plan.Plan{f.plan, f.wanted} {
		if p == nil {
			continue
		}
		for i := range p.Plugins {
			if path := p.Plugins[i].Path; path != "" {
				note(path)
			}
		}
	}
	if f.fs == nil {
		return nil
	}
	// The list is the system's: a directory that was removed is not on it.
	have := f.fs.WatchList()
	var errs []error
	for dir := range f.names {
		if !slices.Contains(have, dir) {
			if err := f.fs.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("watch %s: %w", dir, err))
			}
		}
	}
	for _, dir := range have {
		if f.names[dir] == nil {
			_ = f.fs.Remove(dir) // it may be gone by itself
		}
	}
	return errors.Join(errs...)
}

// concerns says whether an event may have changed what a path leads to.
func (f *files) concerns(ev fsnotify.Event) bool {
	if ev.Op == fsnotify.Chmod {
		return false
	}
	if f.names[ev.Name] != nil { // a watched directory itself was moved or removed
		return true
	}
	return slices.Contains(f.names[filepath.Dir(ev.Name)], filepath.Base(ev.Name))
}

// read returns a file's bytes.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxRead))
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// wholeModule says whether b is laid out like a WebAssembly module to its last
// byte: a file that a compiler is still writing is not.
func wholeModule(b []byte) bool {
	const header = "\x00asm\x01\x00\x00\x00"
	if len(b) <= len(header) || string(b[:len(header)]) != header {
		return false
	}
	for b = b[len(header):]; len(b) > 0; {
		size, n := uint64(0), 1 // behind the section's id
		for shift := 0; ; shift += 7 {
			if n >= len(b) || shift > 28 {
				return false
			}
			c := b[n]
			n++
			size |= uint64(c&0x7f) << shift
			if c < 0x80 {
				break
			}
		}
		if size > uint64(len(b)-n) {
			return false
		}
		b = b[n+int(size):]
	}
	return true
}
