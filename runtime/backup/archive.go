// Package backup is the file that "wasmill backup" writes and "wasmill restore"
// reads: a tar archive, compressed by zstd, of the configuration, the modules,
// the blocks of every topic and a ledger, with a manifest at its end that has a
// digest of every entry. An archive that is cut off, damaged or of a later
// version is refused before anything is made of it.
package backup

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/wasmill/wasmill/runtime/ledger"
)

// Names of entries. Below configDir and storeDir are the files as they lie
// beside the TOML file and in the store.
const (
	configDir    = "config/"
	storeDir     = "store/"
	ledgerName   = "ledger.json"
	manifestName = "manifest.json"
)

const (
	version = 1
	// maxEntry bounds one entry: a block is of 8 MiB and at most one message more.
	maxEntry = 256 << 20
)

// Manifest says what an archive holds.
type Manifest struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	Wasmill string    `json:"wasmill"` // the version that wrote it
	// Config is the name of the TOML file, Store its store_dir: relative to the
	// TOML file, or absolute.
	Config string  `json:"config"`
	Store  string  `json:"store"`
	Topics []Topic `json:"topics"`
	Files  []File  `json:"files"`
}

// Topic is a topic as the archive has it.
type Topic struct {
	Name  string `json:"name"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// File is one entry.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Error says that an archive cannot be used: it is damaged, cut off, or of a
// later version.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

func invalid(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Writer writes an archive, which without Close is not whole; one that is not
// closed holds nothing that must be freed. Not for concurrent use.
type Writer struct {
	zip      *zstd.Encoder
	tar      *tar.Writer
	manifest Manifest
}

// NewWriter begins an archive; by is the version that writes it.
func NewWriter(w io.Writer, by, config, store string) (*Writer, error) {
	zip, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &Writer{zip: zip, tar: tar.NewWriter(zip), manifest: Manifest{
		Version: version, Created: time.Now().UTC().Truncate(time.Second), Wasmill: by, Config: config, Store: filepath.ToSlash(store),
	}}, nil
}

// AddConfig adds a file by its path relative to the TOML file.
func (w *Writer) AddConfig(path string, data []byte) error {
	return w.add(configDir+filepath.ToSlash(path), data)
}

// AddStore adds a file by its path relative to the store.
func (w *Writer) AddStore(path string, data []byte) error {
	return w.add(storeDir+filepath.ToSlash(path), data)
}

func (w *Writer) add(name string, data []byte) error {
	if err := w.entry(name, data); err != nil {
		return fmt.Errorf("add %s to the backup: %w", name, err)
	}
	sum := sha256.Sum256(data)
	w.manifest.Files = append(w.manifest.Files, File{name, int64(len(data)), hex.EncodeToString(sum[:])})
	return nil
}

func (w *Writer) entry(name string, data []byte) error {
	err := w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: w.manifest.Created, Format: tar.FormatPAX})
	if err == nil {
		_, err = w.tar.Write(data)
	}
	return err
}

// Close adds the ledger of the store and the manifest, and ends the archive.
func (w *Writer) Close(book *ledger.Book, topics []Topic) error {
	data, err := json.Marshal(book)
	if err != nil {
		return err
	}
	if err := w.add(ledgerName, data); err != nil {
		return err
	}
	w.manifest.Topics = topics
	if data, err = json.MarshalIndent(&w.manifest, "", "  "); err != nil {
		return err
	}
	return errors.Join(w.entry(manifestName, data), w.tar.Close(), w.zip.Close())
}

// Read goes over an archive and checks every digest. each may be nil; it gets
// the entries but the manifest, before it is known that the archive is whole.
func Read(r io.Reader, each func(name string, data []byte) error) (*Manifest, error) {
	zip, err := zstd.NewReader(bufio.NewReaderSize(r, 1<<20), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, err
	}
	defer zip.Close()
	t := tar.NewReader(zip)
	var files []File
	for {
		h, err := t.Next()
		if err != nil {
			if len(files) == 0 {
				return nil, invalid("it is not a backup of Wasmill (%v)", err)
			}
			return nil, invalid("it is damaged or was cut off: it has no manifest (%v)", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > maxEntry || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			return nil, invalid("it is not a backup of Wasmill: entry %q cannot be in one", h.Name)
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(t, data); err != nil {
			return nil, invalid("it is damaged or was cut off in entry %s (%v)", h.Name, err)
		}
		if h.Name == manifestName {
			m, err := check(data, files)
			if err == nil {
				err = end(t, zip)
			}
			return m, err
		}
		sum := sha256.Sum256(data)
		files = append(files, File{h.Name, h.Size, hex.EncodeToString(sum[:])})
		if each != nil {
			if err := each(h.Name, data); err != nil {
				return nil, err
			}
		}
	}
}

// end reads what is behind the manifest: nothing, and the checksum of zstd.
func end(t *tar.Reader, zip io.Reader) error {
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return invalid("it is damaged: there is something behind the manifest")
	}
	if _, err := io.Copy(io.Discard, zip); err != nil {
		return invalid("it is damaged or was cut off (%v)", err)
	}
	return nil
}

func check(data []byte, files []File) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, invalid("it is damaged: its manifest cannot be read (%v)", err)
	}
	if m.Version > version {
		return nil, invalid("it has been written by a later Wasmill (%s; version %d of the format, this one knows %d): restore it with that one", m.Wasmill, m.Version, version)
	}
	if len(files) != len(m.Files) {
		return nil, invalid("it is damaged: it has %d entries, its manifest says %d", len(files), len(m.Files))
	}
	for i, f := range files {
		if f != m.Files[i] {
			return nil, invalid("it is damaged: the digest of entry %s is not that of the manifest", f.Name)
		}
	}
	if !filepath.IsLocal(m.Config) || strings.ContainsAny(m.Config, `/\`) {
		return nil, invalid("it is damaged: %q cannot be the name of its configuration", m.Config)
	}
	return &m, nil
}
