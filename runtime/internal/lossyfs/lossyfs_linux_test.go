package lossyfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mount(t *testing.T, o lossyfs.Options) (*lossyfs.FS, string) {
	t.Helper()
	dir := t.TempDir()
	disk, err := lossyfs.Mount(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return disk, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes and, with sync, syncs a file.
func put(name string, data []byte, sync bool) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
}

// tree lists files with their contents.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out = append(out, fmt.Sprintf("%s=%.20q", rel, data))
		return err
	}))
	return out
}

func want(t *testing.T, dir string, files ...string) {
	t.Helper()
	if got := tree(t, dir); !slices.Equal(got, files) {
		t.Errorf("there is %v, want %v", got, files)
	}
}

func TestIsAFileSystem(t *testing.T) {
	disk, dir := mount(t, lossyfs.Options{})
	must(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	must(t, put(filepath.Join(dir, "a/b/large"), large, false))
	got, err := os.ReadFile(filepath.Join(dir, "a/b/large"))
	must(t, err)
	if !bytes.Equal(got, large) {
		t.Error("a large file reads back differently")
	}
	must(t, put(filepath.Join(dir, "x.tmp"), []byte("new"), false))
	must(t, put(filepath.Join(dir, "x"), []byte("old"), false))
	must(t, os.Rename(filepath.Join(dir, "x.tmp"), filepath.Join(dir, "x")))
	must(t, os.Truncate(filepath.Join(dir, "a/b/large"), 3))
	f, err := os.OpenFile(filepath.Join(dir, "x"), os.O_RDWR|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("er")
	must(t, err)
	_, err = f.WriteAt([]byte("N"), 0)
	if err == nil {
		t.Error("os allows no WriteAt on a file opened to append; it did")
	}
	must(t, os.Remove(filepath.Join(dir, "x"))) // while open
	_, err = f.WriteString("!")
	must(t, err)
	must(t, f.Close())
	want(t, dir, `a/b/large="012"`)
	if err := os.Remove(filepath.Join(dir, "a")); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("remove a full directory: %v", err)
	}
	for i := range 500 {
		must(t, put(filepath.Join(dir, fmt.Sprint(i)), nil, false))
	}
	if got := tree(t, dir); len(got) != 501 {
		t.Errorf("%d files are listed, want 501", len(got))
	}
	must(t, os.RemoveAll(filepath.Join(dir, "a")))
	used := disk.Used()
	must(t, put(filepath.Join(dir, "0"), large, false))
	must(t, os.Mkdir(filepath.Join(dir, "links"), 0o755))
	must(t, os.Link(filepath.Join(dir, "0"), filepath.Join(dir, "links/0")))
	must(t, os.Remove(filepath.Join(dir, "0")))
	if got, err := os.ReadFile(filepath.Join(dir, "links/0")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("behind its second name a file has %d bytes, %v", len(got), err)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "links")))
	for deadline := time.Now().Add(time.Minute); disk.Used() > used; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) { // the kernel tells a little later that it has forgotten a file
			t.Fatalf("%d bytes are in use, before %d", disk.Used(), used)
		}
	}
}

func TestRunsFull(t *testing.T) {
	disk, dir := mount(t, lossyfs.Options{Size: 1 << 20})
	name := filepath.Join(dir, "f")
	if err := put(name, make([]byte, 2<<20), false); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing two of one MiB: %v", err)
	}
	var st syscall.Statfs_t
	must(t, syscall.Statfs(dir, &st))
	if st.Bavail != 0 || int64(st.Blocks)*st.Bsize != 1<<20 {
		t.Errorf("%d of %d blocks are free", st.Bavail, st.Blocks)
	}
	disk.Resize(2 << 20)
	must(t, put(filepath.Join(dir, "g"), make([]byte, 500<<10), true))
	must(t, os.Remove(name))
	must(t, put(name, make([]byte, 1<<20), false))
}

func TestFailsOnRequest(t *testing.T) {
	disk, dir := mount(t, lossyfs.Options{})
	must(t, put(filepath.Join(dir, "one"), []byte("x"), true))
	for op, try := range map[lossyfs.Op]func(name string) error{
		lossyfs.Write:  func(name string) error { return put(name, []byte("y"), false) },
		lossyfs.Sync:   func(name string) error { return put(name, []byte("y"), true) },
		lossyfs.Create: func(name string) error { return put(name+"new", nil, false) },
		lossyfs.Rename: func(name string) error { return os.Rename(name, name+"2") },
		lossyfs.Remove: os.Remove,
		lossyfs.Read:   func(name string) error { _, err := os.ReadFile(name); return err },
	} {
		disk.Fail(op, "/one", syscall.EIO)
		if err := try(filepath.Join(dir, "one")); !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d: %v", op, err)
		}
		must(t, put(filepath.Join(dir, "other"), []byte("z"), true))
		disk.Heal()
	}
	want(t, dir, `one="y"`, `other="z"`)
}

func TestPowerLoss(t *testing.T) {
	t.Run("takes back the contents that were not synced", func(t *testing.T) {
		disk, dir := mount(t, lossyfs.Options{})
		f, err := os.Create(filepath.Join(dir, "f"))
		must(t, err)
		_, err = f.WriteString("synced")
		must(t, err)
		must(t, f.Sync())
		_, err = f.WriteString(" appended")
		must(t, err)
		_, err = f.WriteAt([]byte("XX"), 1)
		must(t, err)
		must(t, f.Truncate(4))
		_, err = f.WriteAt([]byte("far"), 50)
		must(t, err)
		must(t, f.Close())
		must(t, put(filepath.Join(dir, "never"), []byte("synced"), false))
		disk.PowerLoss()
		want(t, dir, `f="synced"`)
	})

	t.Run("leaves what was written to a file opened with O_SYNC", func(t *testing.T) {
		disk, dir := mount(t, lossyfs.Options{})
		f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
		must(t, err)
		_, err = f.WriteString("synced")
		must(t, err)
		must(t, f.Close())
		disk.PowerLoss()
		want(t, dir, `f="synced"`)
	})

	t.Run("takes names with it as a journal does", func(t *testing.T) {
		disk, dir := mount(t, lossyfs.Options{})
		must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		must(t, put(filepath.Join(dir, "empty"), []byte("not synced"), false))
		must(t, put(filepath.Join(dir, "d/f"), []byte("synced"), true)) // and the names of both
		must(t, os.Rename(filepath.Join(dir, "d/f"), filepath.Join(dir, "moved")))
		must(t, put(filepath.Join(dir, "late"), nil, false))
		disk.PowerLoss()
		want(t, dir, `d/f="synced"`, `empty=""`)
	})

	t.Run("takes names with it as POSIX allows", func(t *testing.T) {
		disk, dir := mount(t, lossyfs.Options{Strict: true})
		must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		must(t, put(filepath.Join(dir, "d/lost"), []byte("x"), true))
		must(t, put(filepath.Join(dir, "kept"), []byte("x"), true))
		syncDir(t, dir)
		must(t, os.Remove(filepath.Join(dir, "kept")))
		must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")))
		disk.PowerLoss()
		want(t, dir, `kept="x"`)
		if _, err := os.Stat(filepath.Join(dir, "d")); err != nil {
			t.Error(err)
		}
	})

	t.Run("shows what a failed sync has lost", func(t *testing.T) {
		disk, dir := mount(t, lossyfs.Options{})
		f, err := os.Create(filepath.Join(dir, "f"))
		must(t, err)
		_, err = f.WriteString("one")
		must(t, err)
		must(t, f.Sync())
		_, err = f.WriteString("two")
		must(t, err)
		disk.Fail(lossyfs.Sync, "", syscall.EIO)
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		disk.Heal()
		_, err = f.WriteString("three")
		must(t, err)
		must(t, f.Sync()) // says yes, and does not write "two" again
		must(t, f.Close())
		want(t, dir, `f="onetwothree"`)
		disk.PowerLoss()
		want(t, dir, `f="one\x00\x00\x00three"`)
	})
}
