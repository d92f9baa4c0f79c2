package broker

import (
	"reflect"
	"testing"
	"time"
)

// The pinned server lets go of written blocks soon: this fails when a new
// release has moved what shortenBlockCache changes.
func TestBlockCacheExpiry(t *testing.T) {
	b := New(Config{StoreDir: t.TempDir()}, Options{})
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if err := b.EnsureTopic(t.Context(), TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := shortenBlockCache(b.embedded.current(), "quakes", blockCacheExpiry); err != nil {
		t.Fatal(err)
	}
	if err := shortenBlockCache(b.embedded.current(), "no-such", time.Second); err == nil {
		t.Error("a stream that is not there was changed")
	}
	acc := reflect.ValueOf(b.embedded.current().GlobalAccount()).Elem()
	jsa := acc.FieldByName("js").Elem()
	store := jsa.FieldByName("streams").MapIndex(reflect.ValueOf("quakes")).Elem().FieldByName("store").Elem().Elem()
	if got := time.Duration(store.FieldByName("fcfg").FieldByName("CacheExpire").Int()); got != blockCacheExpiry {
		t.Errorf("CacheExpire is %s", got)
	}
}
