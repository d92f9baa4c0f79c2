package broker

import (
	"fmt"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats-server/v2/server"
)

// blockCacheExpiry is how long the embedded server keeps a written block of a
// topic in memory after its last use.
//
// The server's own value is ten seconds and no option changes it. A block that
// is written and read at the head at once, as every topic of a pipeline is, is
// kept strongly for that time (filestore.go: writeMsgRecordLocked strengthens
// the cache, flushPendingMsgsLocked weakens it only for the asynchronous
// flusher): ten seconds of everything published, some hundred MiB at full load.
// Later readers load a block again from the system's page cache.
const blockCacheExpiry = 100 * time.Millisecond

// shortenBlockCache sets the expiry for the blocks that a stream of the embedded
// server begins from now on. It reaches into the server's unexported fields
// (Account.js → jsAccount.streams → stream.store → fileStore.fcfg), under the
// server's own locks and checking each name and type on the way. When a release
// of the server has moved one of them nothing is changed and the error says
// which; TestBlockCacheExpiry notices. Without it all works, with more memory.
func shortenBlockCache(s *server.Server, stream string, d time.Duration) error {
	jsa, err := pointee(reflect.ValueOf(s.GlobalAccount()).Elem(), "js")
	if err != nil {
		return err
	}
	unlock, err := rlock(jsa)
	if err != nil {
		return err
	}
	streams, err := field(jsa, "streams", reflect.Map)
	if err != nil {
		unlock()
		return err
	}
	if streams.Type().Key().Kind() != reflect.String {
		unlock()
		return fmt.Errorf("jsAccount.streams has keys of type %s", streams.Type().Key())
	}
	found := streams.MapIndex(reflect.ValueOf(stream))
	unlock()
	if !found.IsValid() || found.Kind() != reflect.Pointer || found.IsNil() {
		return fmt.Errorf("no stream %q", stream)
	}
	mset := found.Elem()
	unlock, err = rlock(mset)
	if err != nil {
		return err
	}
	store, err := field(mset, "store", reflect.Interface)
	unlock()
	if err != nil {
		return err
	}
	if store = store.Elem(); !store.IsValid() || store.Kind() != reflect.Pointer || store.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("the store of stream %q is no struct", stream)
	}
	fs := store.Elem()
	mu, err := mutex(fs)
	if err != nil {
		return err
	}
	cfg, err := field(fs, "fcfg", reflect.Struct)
	if err != nil {
		return err
	}
	expire, err := field(cfg, "CacheExpire", reflect.Int64)
	if err != nil {
		return err
	}
	if expire.Type() != reflect.TypeFor[time.Duration]() {
		return fmt.Errorf("CacheExpire is a %s", expire.Type())
	}
	mu.Lock()
	defer mu.Unlock()
	*(*time.Duration)(unsafe.Pointer(expire.UnsafeAddr())) = d //nolint:gosec // checked to be a time.Duration of a live struct
	return nil
}

func field(v reflect.Value, name string, kind reflect.Kind) (reflect.Value, error) {
	f := v.FieldByName(name)
	if !f.IsValid() || f.Kind() != kind {
		return f, fmt.Errorf("%s has no field %s of kind %s", v.Type(), name, kind)
	}
	return f, nil
}

func pointee(v reflect.Value, name string) (reflect.Value, error) {
	f, err := field(v, name, reflect.Pointer)
	if err != nil {
		return f, err
	}
	if f.IsNil() || f.Elem().Kind() != reflect.Struct {
		return f, fmt.Errorf("%s.%s points to no struct", v.Type(), name)
	}
	return f.Elem(), nil
}

// mutex returns the read-write lock v.mu.
func mutex(v reflect.Value) (*sync.RWMutex, error) {
	f, err := field(v, "mu", reflect.Struct)
	if err != nil {
		return nil, err
	}
	if f.Type() != reflect.TypeFor[sync.RWMutex]() || !f.CanAddr() {
		return nil, fmt.Errorf("%s.mu is a %s", v.Type(), f.Type())
	}
	return (*sync.RWMutex)(unsafe.Pointer(f.UnsafeAddr())), nil //nolint:gosec // checked to be a RWMutex of a live struct
}

func rlock(v reflect.Value) (unlock func(), err error) {
	mu, err := mutex(v)
	if err != nil {
		return nil, err
	}
	mu.RLock()
	return mu.RUnlock, nil
}
