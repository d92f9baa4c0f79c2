package broker

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
	"github.com/wasmill/wasmill/runtime/ledger"
)

// With fsync the ledger survives a power loss as the messages do: it is there,
// whole, and as late as the last second.
func TestTheLedgerSurvivesAPowerLoss(t *testing.T) {
	d, dir := disk(t, lossyfs.Options{Strict: true})
	store := filepath.Join(dir, "data")
	b := New(Config{StoreDir: store, Listen: "127.0.0.1:0", Durability: DurabilityFsync}, Options{Log: logTo(t)})
	if err := b.Open(testContext(t)); err != nil {
		t.Fatal(err)
	}
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	_, js := application(t, b)
	const n = 20
	for i := range n {
		if _, err := js.Publish(testContext(t), "in.x", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	waitLedger(t, b)
	path := filepath.Join(store, ledger.Name)
	before, err := ledger.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	d.PowerLoss()
	after, err := ledger.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.Edition < before.Edition || after.Streams["in"] == nil || after.Streams["in"].Last != n {
		t.Errorf("after a power loss the ledger is edition %d of %d, and says %+v", after.Edition, before.Edition, after.Streams["in"])
	}
}
