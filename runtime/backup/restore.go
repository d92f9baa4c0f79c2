package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/runtime/ledger"
)

// Restored says what Restore has made.
type Restored struct {
	Manifest *Manifest
	Config   string // path of the TOML file
	Store    string
	// Losses are messages that were stored behind the backup, as the ledger of
	// the store that was here before knows.
	Losses []ledger.Loss
}

// ErrNotEmpty says that a store or a file is in the way of Restore.
var ErrNotEmpty = errors.New("is in the way")

// Verify reads an archive to its end.
func Verify(path string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return Read(f, nil)
}

// Restore makes the configuration of an archive in dir, and its store where that
// has it. The whole archive is checked first. A store that is there and holds
// anything, or a file that is there and is another one, is ErrNotEmpty; what
// fails leaves no store.
func Restore(archive, dir string) (_ *Restored, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	config := map[string][]byte{}
	book := ledger.NewBook()
	m, err := Read(f, func(name string, data []byte) error {
		if rest, ok := strings.CutPrefix(name, configDir); ok {
			config[filepath.FromSlash(rest)] = data
		}
		if name == ledgerName {
			return json.Unmarshal(data, book)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	store := filepath.FromSlash(m.Store)
	if !filepath.IsAbs(store) {
		store = filepath.Join(dir, store)
	}
	if store, err = filepath.Abs(store); err != nil {
		return nil, err
	}
	if err := free(dir, store, config); err != nil {
		return nil, err
	}
	beside := store + ".ledger"
	losses, err := adopt(book, beside)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(store), 0o750); err != nil {
		return nil, err
	}
	stage, err := os.MkdirTemp(filepath.Dir(store), ".restore-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(stage)
		}
	}()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	again, err := Read(f, func(name string, data []byte) error {
		if rest, ok := strings.CutPrefix(name, storeDir); ok {
			return create(filepath.Join(stage, filepath.FromSlash(rest)), data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !slices.Equal(again.Files, m.Files) {
		return nil, invalid("it has been changed while it was read")
	}
	if err := ledger.Furnish(filepath.Join(stage, "jetstream", "$G", "streams"), book); err != nil {
		return nil, err
	}
	if err := book.Save(false, filepath.Join(stage, ledger.Name)); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		path := filepath.Join(dir, name)
		if err := create(path, config[name]); err != nil && !errors.Is(err, fs.ErrExist) { // free has compared it
			return nil, err
		}
	}
	for _, path := range []string{store, beside} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := os.Rename(stage, store); err != nil {
		return nil, err
	}
	return &Restored{Manifest: m, Config: filepath.Join(dir, m.Config), Store: store, Losses: losses}, nil
}

// free says what is in the way of a restore.
func free(dir, store string, config map[string][]byte) error {
	entries, err := os.ReadDir(store)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	if len(entries) > 0 {
		errs = append(errs, fmt.Errorf("store directory %s %w: stop what uses it and move it away, or restore into another directory", store, ErrNotEmpty))
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		case !bytes.Equal(have, config[name]):
			errs = append(errs, fmt.Errorf("%s %w: it is not the one of the backup; move it away, or restore into another directory", path, ErrNotEmpty))
		}
	}
	return errors.Join(errs...)
}

// adopt takes over what the ledger of the store that was here before knows of
// later messages: they are lost, and their sequences are not used again.
func adopt(book *ledger.Book, beside string) ([]ledger.Loss, error) {
	old, err := ledger.Load(beside)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ledger.ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var losses []ledger.Loss
	for _, name := range slices.Sorted(maps.Keys(old.Streams)) {
		was, is := old.Streams[name], book.Streams[name]
		if is == nil || !is.Created.Equal(was.Created) || was.Last <= is.Last {
			continue
		}
		lost := ledger.Range{First: is.Last + 1, Last: was.Last}
		if l, ok := book.Add(ledger.Loss{Stream: name, Ranges: []ledger.Range{lost}, Cause: "stored behind the backup that was restored", Found: time.Now().UTC(), Accepted: true}); ok {
			losses = append(losses, l)
		}
		is.Advance(was.Last)
	}
	book.Edition = max(book.Edition, old.Edition)
	return losses, nil
}

// create writes a new file, and has it on the disk when it returns.
func create(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
