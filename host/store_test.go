package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/sdk/abi"
)

func TestStore(t *testing.T) {
	open := func(t *testing.T, o Options) *Host {
		t.Helper()
		h := New(o)
		if err := h.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	load := func(t *testing.T, h *Host, spec Spec) *Generation {
		t.Helper()
		gen, err := h.Load(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return gen
	}
	entries := func(t *testing.T, dir string) []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	// indexed returns the one line of the index and the stub.
	indexed := func(t *testing.T, dir string) (line, stub string) {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, storeIndex+"*", "*"))
		if err != nil || len(list) != 2 {
			t.Fatalf("index is %q: %v", list, err)
		}
		if strings.HasSuffix(list[0], stubSuffix) {
			return list[1], list[0]
		}
		return list[0], list[1]
	}
	// numbered modules differ, and so do their entries.
	numbered := func(n int) Spec {
		return Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{Snapshot: wt.I64Const(int64(n))})}
	}
	spec := numbered(0)

	t.Run("its directory is private, and keeps what was compiled", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "cache")
		load(t, open(t, Options{CacheDir: dir}), spec)
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode is %v (%v), want 0700", info.Mode(), err)
		}
		if list := entries(t, dir); len(list) != 2 {
			t.Errorf("entries are %q, want the module and the linker of the tick", list)
		}
	})
	t.Run("a directory that others can write is refused", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o770); err != nil {
			t.Fatal(err)
		}
		err := New(Options{CacheDir: dir}).Open(t.Context())
		if err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("a file in its place is refused", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "cache")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := New(Options{CacheDir: file}).Open(t.Context()); err == nil {
			t.Error("no error")
		}
	})
	t.Run("damage is noticed, and what is damaged is made anew", func(t *testing.T) {
		for name, damage := range map[string]func(b []byte) []byte{
			"cut off":      func(b []byte) []byte { return b[:20] },
			"one bit":      func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"in the table": func(b []byte) []byte { b[20] ^= 1; return b },
			"nothing left": func([]byte) []byte { return nil },
		} {
			dir := filepath.Join(t.TempDir(), "cache")
			load(t, open(t, Options{CacheDir: dir}), spec)
			good := map[string][]byte{}
			for _, e := range entries(t, dir) {
				b, err := os.ReadFile(e)
				if err != nil {
					t.Fatal(err)
				}
				good[e] = bytes.Clone(b)
				if err := os.WriteFile(e, damage(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			start(t, load(t, open(t, Options{CacheDir: dir}), spec))
			for e, want := range good {
				if b, err := os.ReadFile(e); err != nil || !bytes.Equal(b, want) {
					t.Errorf("%s: %s is not as it was: %v", name, filepath.Base(e), err)
				}
			}
		}
	})
	t.Run("a broken index does not keep a plugin from loading", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		load(t, open(t, Options{CacheDir: dir}), spec)
		line, _ := indexed(t, dir)
		for _, b := range []string{"", "{", `{"key":"../../../etc/passwd"}`, `{"key":"` + strings.Repeat("0", 64) + `"}`} {
			if err := os.WriteFile(line, []byte(b), 0o600); err != nil {
				t.Fatal(err)
			}
			start(t, load(t, open(t, Options{CacheDir: dir}), spec))
		}
	})
	t.Run("nor does a broken stub", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		load(t, open(t, Options{CacheDir: dir}), spec)
		_, stub := indexed(t, dir)
		want, err := os.ReadFile(stub)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{nil, want[:len(want)-1], append(bytes.Clone(want[:len(want)-1]), 0)} {
			if err := os.WriteFile(stub, b, 0o600); err != nil {
				t.Fatal(err)
			}
			start(t, load(t, open(t, Options{CacheDir: dir}), spec))
			if got, err := os.ReadFile(stub); err != nil || !bytes.Equal(got, want) {
				t.Errorf("it is not as it was: %v", err)
			}
		}
	})
	t.Run("a stub that wazero compiles is not run", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		load(t, open(t, Options{CacheDir: dir}), spec)
		line, _ := indexed(t, dir)
		var e entry
		b, err := os.ReadFile(line)
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err != nil {
			t.Fatal(err)
		}
		// An entry that is as the index says, and not as wazero wants it.
		path := ""
		for _, p := range entries(t, dir) {
			if filepath.Base(p) == e.Key {
				path = p
			}
		}
		code, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		code[len("WAZEVO")+1] ^= 1 // of its version
		sum := sha256.Sum256(code)
		e.SHA256 = hex.EncodeToString(sum[:])
		if b, err = json.Marshal(e); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, code, 0o600), os.WriteFile(line, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time what wazero has put there is found
			start(t, load(t, open(t, Options{CacheDir: dir}), spec))
		}
		if c, err := (&store{entries: filepath.Dir(path)}).hold(entry{Key: e.Key, Size: e.Size, SHA256: e.SHA256}); c != nil || err != nil {
			t.Errorf("the entry is still there: %v", err)
		}
	})
	t.Run("modules that differ in a body alone are told apart", func(t *testing.T) {
		h := open(t, Options{CacheDir: filepath.Join(t.TempDir(), "cache")})
		answers := func(outcome byte) Spec { // -errno
			return Spec{Name: "test", Module: wt.NewPlugin(wt.Plugin{Process: wt.OnData(wt.I64Const(-int64(outcome)))})}
		}
		for range 2 {
			for _, n := range []byte{7, 8} {
				err := start(t, load(t, h, answers(n))).Process(t.Context(), abi.BatchHeader{}, events(1, 1), &abi.Result{})
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("-%d", n)) {
					t.Errorf("the module that answers -%d answered %v", n, err)
				}
			}
		}
	})
	t.Run("a directory that cannot be written does not either", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		log := &bytes.Buffer{}
		h := open(t, Options{CacheDir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		start(t, load(t, h, spec))
		if !strings.Contains(log.String(), "is not usable for this module") {
			t.Errorf("log is %q", log)
		}
	})
	t.Run("what is in it needs no compiler", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		first := load(t, withWorker(t, Options{CacheDir: dir}), spec)
		second := load(t, open(t, Options{CacheDir: dir, Worker: []string{"/nowhere/worker"}}), spec)
		start(t, second)
		t.Logf("compiled in %s, from the store in %s", first.LoadTime(), second.LoadTime())
	})
	t.Run("what was not used for longest makes room, but not what is in use", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		h := open(t, Options{CacheDir: dir})
		held := load(t, h, numbered(1))
		one := entries(t, dir)
		for n := 2; n < 5; n++ {
			if err := load(t, h, numbered(n)).Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		long := time.Now().Add(-time.Hour)
		all := entries(t, dir)
		for i, e := range all {
			if err := os.Chtimes(e, long.Add(time.Duration(i)*time.Second), long.Add(time.Duration(i)*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		// Another process, with room for nothing but what it adds itself.
		load(t, open(t, Options{CacheDir: dir, CacheBytes: 1}), numbered(9))
		left := entries(t, dir)
		kept := func(e string) bool { _, err := os.Stat(e); return err == nil }
		if len(all) != 5 || len(left) > 3 {
			t.Errorf("%d of %d entries are left, want what is held and what is new", len(left), len(all))
		}
		n := 0
		for _, e := range one {
			if kept(e) {
				n++
			}
		}
		if n == 0 {
			t.Error("the entry of a generation that is in use is gone")
		}
		stubs, err := filepath.Glob(filepath.Join(dir, storeIndex+"*", "*"+stubSuffix))
		if err != nil || len(stubs) != 2 {
			t.Errorf("stubs are %q (%v), want those of what is held and what is new", stubs, err)
		}
		start(t, held)
	})
	t.Run("what a killed process left is swept", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		open(t, Options{CacheDir: dir})
		old, fresh := filepath.Join(dir, storeWork+"old"), filepath.Join(dir, storeWork+"fresh")
		for _, d := range []string{old, fresh} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		long := time.Now().Add(-2 * staleWork)
		if err := os.Chtimes(old, long, long); err != nil {
			t.Fatal(err)
		}
		open(t, Options{CacheDir: dir})
		if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
			t.Error("an old directory is left")
		}
		if _, err := os.Stat(fresh); err != nil {
			t.Error("a directory in use is gone")
		}
	})
}
