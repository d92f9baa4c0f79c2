package broker

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A start after kill -9 finds the server's index older than the messages. That is
// as it should be, and no warning.
func TestAStartAfterAKillWarnsOfNothing(t *testing.T) {
	dir, copied := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	for round := range 2 {
		b := open(t, Config{StoreDir: dir, Listen: "127.0.0.1:0"})
		ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
		_, js := application(t, b)
		for range 100 {
			if _, err := js.Publish(testContext(t), "in.x", []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if round == 1 {
			// What kill -9 would leave. (The ledger is replaced every second.)
			if err := os.CopyFS(filepath.Join(copied, "jetstream"), os.DirFS(filepath.Join(dir, "jetstream"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil { // writes the index
			t.Fatal(err)
		}
	}
	said := make(chan string, 1000)
	again := New(Config{StoreDir: copied}, Options{Log: slog.New(slog.NewTextHandler(lines(said), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err := again.Open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	close(said)
	rebuilt := false
	for line := range said {
		rebuilt = rebuilt || strings.Contains(line, "tream state")
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			t.Error(line)
		}
	}
	if !rebuilt {
		t.Error("the server's index was not behind: this test shows nothing")
	}
}
