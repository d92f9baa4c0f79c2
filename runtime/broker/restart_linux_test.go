package broker

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/runtime/internal/lossyfs"
)

// A server that is replaced leaves nothing behind: neither goroutines nor memory
// grow with the number of restarts.
func TestRestartsLeaveNothingBehind(t *testing.T) {
	d, dir := disk(t, lossyfs.Options{})
	b := open(t, Config{StoreDir: dir, Listen: "127.0.0.1:0", timing: timing{look: 10 * time.Millisecond, restart: time.Millisecond}})
	ensure(t, b, TopicConfig{Name: "in", Subjects: []string{"in.>"}})
	nc, js := application(t, b, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	stored := 0
	use := func() (goroutines int, heap uint64) {
		for range 100 {
			await(t, "a message to be stored", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := js.Publish(ctx, "in.x", fmt.Append(nil, stored))
				return err == nil
			})
			stored++
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	restart := func() {
		before := b.Describe().StoreRestarts
		d.Fail(lossyfs.Write, "in/msgs", syscall.EIO)
		await(t, "the store to fail", func() bool {
			_ = nc.Publish("in.x", []byte("lost")) // may go to the server that has ended
			return b.Healthy() != nil || b.Describe().StoreRestarts > before
		})
		d.Heal()
		await(t, "the store to work", func() bool { return b.Healthy() == nil && b.Describe().StoreRestarts > before })
		await(t, "the application to be back", nc.IsConnected)
		await(t, "the broker to be back", b.nc.IsConnected)
	}
	use()
	restart() // what is made once is made now
	goroutines, heap := use()
	const n = 5
	for range n {
		restart()
	}
	await(t, "the old servers' goroutines to end", func() bool {
		now, _ := use()
		return now <= goroutines+n-1 // timers come and go
	})
	now, after := use()
	t.Logf("after %d restarts %d goroutines, before %d; %d KiB of heap, before %d", n, now, goroutines, after>>10, heap>>10)
	if grown := int64(after) - int64(heap); grown > n*4<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
}
