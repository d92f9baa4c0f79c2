package broker

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/ledger"
)

func TestEmbedded(t *testing.T) {
	t.Run("is ready when Open returns, and an application can publish", func(t *testing.T) {
		b := open(t, Config{Listen: "127.0.0.1:0"})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		_, js := application(t, b)
		ctx := testContext(t)
		if _, err := js.Publish(ctx, "quakes.raw.x", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		topic, err := b.Topic(ctx, "quakes")
		if err != nil {
			t.Fatal(err)
		}
		if topic.Messages != 1 {
			t.Errorf("the topic holds %d messages, want 1", topic.Messages)
		}
		t.Logf("ready in %s", b.embedded.took)
	})

	t.Run("without a listener only this process reaches it", func(t *testing.T) {
		b := open(t, Config{})
		if url := b.ClientURL(); url != "" {
			t.Errorf("ClientURL is %q", url)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	})

	t.Run("connects over TCP and in process", func(t *testing.T) {
		b := open(t, Config{Listen: "127.0.0.1:0"})
		for _, in := range []bool{true, false} {
			nc, err := b.ConnectWith(ConnectOptions{Name: "x", InProcess: in})
			if err != nil {
				t.Fatal(err)
			}
			if pipe := nc.LocalAddr() == "pipe"; pipe != in {
				t.Errorf("in process %v: local address %q", in, nc.LocalAddr())
			}
			nc.Close()
		}
	})

	t.Run("keeps what was confirmed over a restart, on the same store", func(t *testing.T) {
		dir := t.TempDir()
		ctx := testContext(t)
		b := New(Config{StoreDir: dir}, Options{Log: logTo(t)})
		if err := b.Open(ctx); err != nil {
			t.Fatal(err)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		if _, err := b.js.Publish(ctx, "quakes.x", []byte("kept")); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, Config{StoreDir: dir})
		m, err := b.Get(ctx, "quakes", 1)
		if err != nil || m.Payload != "kept" {
			t.Errorf("got %+v, %v", m, err)
		}
	})

	t.Run("sets what durability says", func(t *testing.T) {
		for mode, want := range map[string]struct {
			syncAlways bool
			persist    jetstream.PersistModeType
			words      string
		}{
			DurabilityOS:    {false, jetstream.DefaultPersistMode, "power loss"},
			DurabilityFsync: {true, jetstream.DefaultPersistMode, "nothing"},
			DurabilityAsync: {false, jetstream.AsyncPersistMode, "milliseconds"},
		} {
			b := open(t, Config{Durability: mode})
			if got := b.embedded.current().JetStreamConfig().SyncAlways; got != want.syncAlways {
				t.Errorf("%s: SyncAlways is %v", mode, got)
			}
			ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
			ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>", "more.>"}})
			info, err := b.info(testContext(t), "quakes")
			if err != nil {
				t.Fatal(err)
			}
			if info.Config.PersistMode != want.persist {
				t.Errorf("%s: persist mode is %v", mode, info.Config.PersistMode)
			}
			if d := b.Describe(); d.Durability != mode || !strings.Contains(d.LossWindow, want.words) || d.Version == "" || d.Mode != "embedded" {
				t.Errorf("%s: described as %+v", mode, d)
			}
		}
	})
}

// refused opens a broker that cannot open, and returns the one line that says why.
func refused(t *testing.T, cfg Config) string {
	t.Helper()
	b := New(cfg, Options{Log: logTo(t)})
	err := b.Open(testContext(t))
	if err == nil {
		_ = b.Close()
		t.Fatal("Open succeeds")
	}
	var env *EnvError
	if !errors.As(err, &env) {
		t.Fatalf("%T is no EnvError: %v", err, err)
	}
	if strings.Contains(env.Message, "\n") {
		t.Errorf("more than one line: %q", env.Message)
	}
	t.Log(env.Message)
	return env.Message
}

func TestOpenRefuses(t *testing.T) {
	t.Run("a busy port, before it touches the store", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		dir := filepath.Join(t.TempDir(), "store")
		msg := refused(t, Config{StoreDir: dir, Listen: l.Addr().String()})
		if !strings.Contains(msg, l.Addr().String()) || !strings.Contains(msg, "server.listen") {
			t.Errorf("%q names neither the address nor what to do", msg)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the store directory was made: %v", err)
		}
	})

	t.Run("not a port that a process which just died lets go of", func(t *testing.T) {
		l, err := net.Listen("tcp", freeAddress(t).String())
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Millisecond, func() { _ = l.Close() })
		open(t, Config{Listen: l.Addr().String()})
	})

	t.Run("an address that this machine has not", func(t *testing.T) {
		if msg := refused(t, Config{StoreDir: t.TempDir(), Listen: "192.0.2.1:4222"}); !strings.Contains(msg, "no such address") {
			t.Error(msg)
		}
	})

	t.Run("a store that another process uses, naming it", func(t *testing.T) {
		b := open(t, Config{})
		msg := refused(t, Config{StoreDir: b.cfg.StoreDir})
		if !strings.Contains(msg, strconv.Itoa(os.Getpid())) || !strings.Contains(msg, b.cfg.StoreDir) {
			t.Errorf("%q names neither the process nor the directory", msg)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}}) // the owner is unharmed
	})

	t.Run("a directory that cannot be made", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if msg := refused(t, Config{StoreDir: filepath.Join(file, "store")}); !strings.Contains(msg, "store_dir") {
			t.Error(msg)
		}
	})

	t.Run("a directory that cannot be written", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			dir = "/proc/self" // where not even root can make a file
		}
		if msg := refused(t, Config{StoreDir: dir}); !strings.Contains(msg, "not writable") {
			t.Error(msg)
		}
	})

	t.Run("a store that the server does not start on", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, Config{StoreDir: dir})
		// Nothing is left behind: the same store opens once the reason is gone.
		if err := os.Remove(filepath.Join(dir, "jetstream")); err != nil {
			t.Fatal(err)
		}
		open(t, Config{StoreDir: dir})
	})

	t.Run("a topic whose directory the server cannot recover, and of which no ledger knows, instead of an empty one", func(t *testing.T) {
		dir := t.TempDir()
		b := New(Config{StoreDir: dir}, Options{Log: logTo(t)})
		if err := b.Open(testContext(t)); err != nil {
			t.Fatal(err)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		ensure(t, b, TopicConfig{Name: "alerts", Subjects: []string{"alerts.>"}})
		if _, err := b.js.Publish(testContext(t), "quakes.x", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		meta := filepath.Join(dir, "jetstream", "$G", "streams", "quakes", "meta.inf")
		body, err := os.ReadFile(meta)
		if err != nil {
			t.Fatal(err)
		}
		body[len(body)/2] ^= 1
		if err := errors.Join(os.WriteFile(meta, body, 0o600), os.Remove(filepath.Join(dir, ledger.Name))); err != nil {
			t.Fatal(err)
		}
		if msg := refused(t, Config{StoreDir: dir}); !strings.Contains(msg, `"quakes"`) || !strings.Contains(msg, filepath.Dir(meta)) {
			t.Errorf("%q names neither the topic nor its directory", msg)
		}
	})

	t.Run("a configuration that is wrong, naming every fault", func(t *testing.T) {
		err := New(Config{Durability: "maybe", Listen: "nowhere", MaxStore: -1}, Options{}).Open(testContext(t))
		if err == nil {
			t.Fatal("Open succeeds")
		}
		for _, word := range []string{"durability", "listen", "max_store"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not name %s", err, word)
			}
		}
	})

	t.Run("to wait when its context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b := New(Config{StoreDir: t.TempDir()}, Options{})
		if err := b.Open(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = b.Close()
	})
}

func TestStartErrors(t *testing.T) {
	e := &embedded{cfg: Config{StoreDir: "/s", Listen: "127.0.0.1:4222"}}
	for msg, want := range map[string]string{
		`Error listening on port: 127.0.0.1:4222, "listen tcp 127.0.0.1:4222: bind: address already in use"`: "another process has this port",
		"Can't start JetStream: mkdir /s: no space left on device":                                           "is full",
		"Can't start JetStream: storage directory is not writable":                                           "not writable",
		"Can't start JetStream: something\nelse":                                                             "did not start on store /s",
	} {
		if err := e.startError(msg); !strings.Contains(err.Error(), want) {
			t.Errorf("%q becomes %q", msg, err)
		}
	}
}

func TestClose(t *testing.T) {
	t.Run("ends what blocks, waits, and can be called again from anywhere", func(t *testing.T) {
		b := New(Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"}, Options{Log: logTo(t)})
		if err := b.Open(testContext(t)); err != nil {
			t.Fatal(err)
		}
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		nc, err := b.Connect("blocked")
		if err != nil {
			t.Fatal(err)
		}
		sub, err := nc.SubscribeSync("never")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := sub.NextMsg(time.Minute)
			ended <- err
		}()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := <-ended; !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("the blocked call ended with %v", err)
		}
		if _, err := b.Connect("late"); err == nil {
			t.Error("Connect works after Close")
		}
		if _, err := b.AcquireLease(testContext(t), "late"); !errors.Is(err, ErrClosed) {
			t.Errorf("AcquireLease after Close: %v", err)
		}
		if err := b.Open(testContext(t)); err == nil {
			t.Error("Open works after Close")
		}
	})

	t.Run("of a broker that was never opened is fine", func(t *testing.T) {
		b := New(Config{}, Options{})
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := b.Topics(testContext(t)); !errors.Is(err, ErrClosed) {
			t.Errorf("Topics: %v", err)
		}
	})
}
