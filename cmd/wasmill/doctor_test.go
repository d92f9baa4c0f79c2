package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/broker"
	book "github.com/wasmill/wasmill/runtime/ledger"
	"github.com/wasmill/wasmill/runtime/plan"
)

// What a script cannot bring about: disks of other sizes and kinds.
func TestDoctorJudges(t *testing.T) {
	t.Parallel()
	srv := &plan.Server{Durability: "fsync", MaxStore: 20 << 30}
	for _, tt := range []struct {
		name        string
		got         check
		state, says string
	}{
		{"enough space", checkSpace(&broker.StoreExam{Free: 100 << 30, Total: 200 << 30, Reserve: 64 << 20}, srv), checkOK, "100 GiB free of 200 GiB"},
		{"little", checkSpace(&broker.StoreExam{Free: 300 << 20, Total: 200 << 30, Reserve: 64 << 20}, srv), checkWarn, "refuse messages below 64.0 MiB"},
		{"too little", checkSpace(&broker.StoreExam{Free: 1 << 20, Total: 200 << 30, Reserve: 64 << 20}, srv), checkFail, "refuse messages below 64.0 MiB"},
		{"a limit beyond the disk", checkSpace(&broker.StoreExam{Free: 9 << 30, Total: 10 << 30, Reserve: 64 << 20}, srv), checkWarn, "max_store is 20.0 GiB"},
		{"unknown space", checkSpace(&broker.StoreExam{}, srv), checkOK, "not known"},
		{"a disk", checkFileSystem(&broker.StoreExam{FileSystem: "xfs"}, srv), checkOK, `xfs, durability "fsync"`},
		{"memory", checkFileSystem(&broker.StoreExam{FileSystem: "tmpfs"}, srv), checkWarn, "is memory"},
		{"a container's layer", checkFileSystem(&broker.StoreExam{FileSystem: "overlay"}, srv), checkWarn, "belongs to a container"},
		{"a network", checkFileSystem(&broker.StoreExam{FileSystem: "nfs"}, srv), checkWarn, `(durability "fsync")`},
		{"unknown kind", checkFileSystem(&broker.StoreExam{}, srv), checkOK, "not known"},
		{"a later store", checkLedger(&broker.StoreExam{LaterVersion: true, Ledger: book.ErrLaterVersion}), checkFail, "later Wasmill"},
		{"a damaged ledger", checkLedger(&broker.StoreExam{Ledger: book.ErrDamaged}), checkWarn, "damaged"},
		{"a loss", checkLedger(&broker.StoreExam{Loss: &broker.LossError{Losses: []book.Loss{{Stream: "in", Count: 2}}}}), checkFail, `topic "in" has lost 2 messages`},
		{"files for thousands of topics", checkOpenFiles(&plan.Plan{Topics: make([]plan.Topic, 10<<20)}, 0), checkFail, "are needed"},
	} {
		if tt.name == "files for thousands of topics" && tt.got.Where == "" {
			continue // the limit is not known on this system
		}
		if tt.got.State != tt.state || !strings.Contains(tt.got.Detail, tt.says) {
			t.Errorf("%s: %+v", tt.name, tt.got)
		}
		if (tt.got.State == checkFail) && (tt.got.Fix == "" || tt.got.code != exitEnv) {
			t.Errorf("%s: what to do, or the exit code, is not said: %+v", tt.name, tt.got)
		}
	}

	t.Run("a clock that was set back", func(t *testing.T) {
		t.Parallel()
		written := filepath.Join(t.TempDir(), "f")
		later := time.Now().Add(time.Hour)
		if err := os.WriteFile(written, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(written, later, later); err != nil {
			t.Fatal(err)
		}
		if k := checkClock(written); k.State != checkWarn || !strings.Contains(k.Detail, "set back") {
			t.Errorf("got %+v", k)
		}
	})
	t.Run("another NATS server is dialled, and its credentials are not told", func(t *testing.T) {
		t.Parallel()
		at := freeAddress(t)
		k := checkDial(t.Context(), "nats://user:hidden@"+at)
		if k.State != checkFail || k.Where != at || strings.Contains(k.Detail+k.Fix, "hidden") {
			t.Errorf("got %+v", k)
		}
	})
	t.Run("a listener is ours when its port is that of the running server", func(t *testing.T) {
		t.Parallel()
		for at, want := range map[string]bool{"nats://127.0.0.1:4222": true, "nats://0.0.0.0:4223": false, "": false} {
			if samePort(at, "localhost:4222") != want {
				t.Errorf("%q: %t", at, !want)
			}
		}
	})
}
