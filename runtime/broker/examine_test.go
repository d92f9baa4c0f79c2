package broker

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime/ledger"
)

func TestExamineStore(t *testing.T) {
	t.Parallel()
	examine := func(t *testing.T, dir string) *StoreExam {
		t.Helper()
		e, err := ExamineStore(Config{StoreDir: dir, Ledger: dir + ".ledger"})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Run("one that is not there yet would be made in the first directory that is", func(t *testing.T) {
		t.Parallel()
		parent := t.TempDir()
		e := examine(t, filepath.Join(parent, "a", "b"))
		if e.Dir != parent || e.Exists || e.InUse || e.Writable != nil || e.Ledger != nil {
			t.Errorf("got %+v", e)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("it left %v", left)
		}
		if runtime.GOOS == "linux" && (e.FileSystem == "" || e.Total == 0 || e.Free > e.Total || e.Reserve == 0) {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("a file in the way is an error of the environment", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{file, filepath.Join(file, "below")} {
			var env *EnvError
			if _, err := ExamineStore(Config{StoreDir: dir}); !errors.As(err, &env) {
				t.Errorf("%s: %v", dir, err)
			}
		}
	})
	t.Run("who has it is known, and is left alone", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		lock, err := lockStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if e := examine(t, dir); !e.InUse || e.PID != os.Getpid() || !e.Exists {
				t.Errorf("got %+v", e)
			}
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
		if e := examine(t, dir); e.InUse {
			t.Errorf("got %+v", e)
		}
		again, err := lockStore(dir)
		if err != nil {
			t.Fatalf("a look keeps others out: %v", err)
		}
		_ = again.Unlock()
	})
	t.Run("what the ledger says of it", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(streamsDir(dir), "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		if e := examine(t, dir); e.Ledger == nil || !strings.Contains(e.Ledger.Error(), "there is no wasmill.ledger") || e.LaterVersion {
			t.Errorf("got %+v", e)
		}
		save := func(change func(b *ledger.Book)) {
			t.Helper()
			b := ledger.NewBook()
			change(b)
			if err := b.Save(false, filepath.Join(dir, ledger.Name)); err != nil {
				t.Fatal(err)
			}
		}
		save(func(*ledger.Book) {})
		if e := examine(t, dir); e.Ledger != nil || e.Loss != nil {
			t.Errorf("got %+v", e)
		}
		save(func(b *ledger.Book) {
			b.Losses = []ledger.Loss{{Stream: "in", Ranges: []ledger.Range{{First: 3, Last: 4}}, Count: 2, Cause: "a flipped bit"}}
		})
		if e := examine(t, dir); e.Loss == nil || !strings.Contains(e.Loss.Error(), `topic "in" has lost 2 messages`) {
			t.Errorf("got %+v", e)
		}
		save(func(b *ledger.Book) { b.Version = 99 })
		if e := examine(t, dir); !e.LaterVersion || !strings.Contains(e.Ledger.Error(), "written by a later Wasmill (version 99") {
			t.Errorf("got %+v", e)
		}
		if err := os.WriteFile(filepath.Join(dir, ledger.Name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if e := examine(t, dir); !errors.Is(e.Ledger, ledger.ErrDamaged) || e.LaterVersion {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("little space is near, and then too little", func(t *testing.T) {
		t.Parallel()
		for free, near := range map[int64]bool{1 << 40: false, 256 << 20: true, 1 << 20: true} {
			e := StoreExam{Free: free, Total: 1 << 41}
			if e.Near() != near {
				t.Errorf("%d free: %v", free, e.Near())
			}
		}
	})
}
