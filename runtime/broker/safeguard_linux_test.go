package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
)

// The server removes the directory of a stream that it cannot recover.
func TestAStartNeverRemovesWhatItCannotRecover(t *testing.T) {
	d, dir := disk(t, lossyfs.Options{})
	b := open(t, Config{StoreDir: dir, timing: timing{look: time.Hour, restart: time.Hour}}) // the guard keeps its hands off
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	for i := range 10 {
		if _, err := b.js.Publish(testContext(t), "in.x", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	e := b.embedded
	stream := filepath.Join(streamsDir(dir), "in")
	t.Run("a block that cannot be read", func(t *testing.T) {
		e.stop()
		if err := os.Remove(filepath.Join(stream, "msgs", "index.db")); err != nil { // else it reads no block
			t.Fatal(err)
		}
		d.Fail(lossyfs.Read, "in/msgs/1.blk", syscall.EIO)
		err := e.start(testContext(t))
		d.Heal()
		var env *EnvError
		if !errors.As(err, &env) || !strings.Contains(env.Message, `"in"`) {
			t.Errorf("it starts: %v", err)
		}
		if err := e.start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, words(t, b, "in"), numbers(10))
	})

	t.Run("when it ends in between", func(t *testing.T) {
		e.stop()
		guard := newSafeguard(dir)
		if err := guard.set(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(stream); err != nil {
			t.Fatal(err)
		}
		back, err := guard.restore()
		if err != nil || len(back) != 1 || back[0] != "in" {
			t.Fatalf("put back %q, %v", back, err)
		}
		if err := e.start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		sameOrder(t, words(t, b, "in"), numbers(10))
	})
}

// What was created is as durable as what is written to it, whatever the file
// system.
func TestCreatedThingsOutliveAPowerLoss(t *testing.T) {
	d, dir := disk(t, lossyfs.Options{Strict: true})
	b := New(Config{StoreDir: filepath.Join(dir, "data"), Durability: DurabilityFsync}, Options{Log: logTo(t)})
	if err := b.Open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	s, err := b.OpenSource(testContext(t), SourceConfig{Pipeline: "p", Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	d.PowerLoss()
	stream := filepath.Join(streamsDir(b.cfg.StoreDir), "in")
	for _, name := range []string{"meta.inf", "meta.sum", "obs/wasmill-p/meta.inf", "obs/wasmill-p/meta.sum", "../wasmill-state/meta.inf"} {
		if info, err := os.Stat(filepath.Join(stream, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
