package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/ledger"
)

// archive returns a small whole archive, changed by change before it is closed.
func archive(t *testing.T, change func(w *Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, "test", "wasmill.toml", "data")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(w.AddStore("jetstream/$G/streams/s/msgs/1.blk", []byte(strings.Repeat("block", 500))),
		w.AddConfig("wasmill.toml", []byte("# configuration")), w.AddConfig("plugins/p.wasm", []byte("module")))
	if change != nil {
		change(w)
	}
	if err = errors.Join(err, w.Close(ledger.NewBook(), []Topic{{"s", 1, 5}})); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestArchive(t *testing.T) {
	whole := archive(t, nil)
	m, err := Read(bytes.NewReader(whole), nil)
	if err != nil || len(m.Files) != 4 || m.Store != "data" {
		t.Fatalf("%+v, %v", m, err)
	}

	refused := func(t *testing.T, data []byte, why string) {
		t.Helper()
		var bad *Error
		if _, err := Read(bytes.NewReader(data), nil); !errors.As(err, &bad) || !strings.Contains(bad.Reason, why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	t.Run("cut off anywhere", func(t *testing.T) {
		for n := range whole {
			refused(t, whole[:n], "")
		}
	})
	t.Run("any byte changed", func(t *testing.T) {
		for i := range whole {
			data := bytes.Clone(whole)
			data[i] ^= 0x10
			if m, err := Read(bytes.NewReader(data), nil); err == nil && len(m.Files) != 4 {
				t.Errorf("byte %d: read as %+v", i, m)
			}
		}
	})
	t.Run("a digest that is not the entry's", func(t *testing.T) {
		refused(t, archive(t, func(w *Writer) { w.manifest.Files[0].SHA256 = "00" }), "digest of entry store/")
	})
	t.Run("an entry that the manifest does not have", func(t *testing.T) {
		refused(t, archive(t, func(w *Writer) { w.manifest.Files = w.manifest.Files[1:] }), "its manifest says 3")
	})
	t.Run("a later version", func(t *testing.T) {
		refused(t, archive(t, func(w *Writer) { w.manifest.Version = version + 1 }), "later Wasmill (test; version 2")
	})
	t.Run("an entry that leaves the directory", func(t *testing.T) {
		refused(t, archive(t, func(w *Writer) { _ = w.AddConfig("../../passwd", nil) }), "cannot be in one")
	})
}

func TestRestore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(file, archive(t, nil), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("what is there and the same stays", func(t *testing.T) {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "wasmill.toml"), []byte("# configuration"), 0o600), os.Mkdir(filepath.Join(dir, "data"), 0o700)); err != nil {
			t.Fatal(err)
		}
		r, err := Restore(file, dir)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			r.Config: "# configuration", filepath.Join(dir, "plugins", "p.wasm"): "module",
			filepath.Join(r.Store, "jetstream", "$G", "streams", "s", "msgs", "1.blk"): strings.Repeat("block", 500),
		} {
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		}
	})

	t.Run("what is there and differs stays, and nothing is made", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "wasmill.toml"), []byte("# mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(file, dir); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("%v", err)
		}
		onlyEntry(t, dir, "wasmill.toml")
	})

	t.Run("a store that cannot be written leaves nothing", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "plugins"), nil, 0o600); err != nil { // where a directory is needed
			t.Fatal(err)
		}
		if r, err := Restore(file, dir); err == nil {
			t.Errorf("restored as %+v", r)
		}
		onlyEntry(t, dir, "plugins")
	})
}

func onlyEntry(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("%v in %s, %v", entries, dir, err)
	}
}
