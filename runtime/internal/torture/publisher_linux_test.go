package torture

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// keys is how many keys events have: event n has the key n mod keys.
const keys = 16

// newEvent makes the n-th event. Events end in each of the ways that there are:
// in one of two topics, as a dead letter (the subject lacks what the output's is
// made of), or nowhere.
func newEvent(n int) (subject, payload string) {
	subject = "in.k" + strconv.Itoa(n%keys)
	switch {
	case n%50 == 49:
		return subject, fmt.Sprintf(`{"id":%d,"n":0}`, n)
	case n%10 == 3:
		return subject + ".x", fmt.Sprintf(`{"id":%d}`, n)
	}
	return subject + ".x", fmt.Sprintf(`{"id":%d,"n":%d}`, n, n%10)
}

// endOf is the topic in which a pipeline's output of event n lies; "" when it is dropped.
func endOf(pipeline string, n int) string {
	switch {
	case n%50 == 49:
		return deadLetters
	case n%10 == 3:
		return ""
	case n%10 > 6:
		return pipeline + "-high"
	}
	return pipeline
}

// eventOf is the number of the event that a message comes from.
func eventOf(payload []byte) (n int, err error) {
	rest, ok := strings.CutPrefix(string(payload), `{"id":`)
	end := strings.IndexAny(rest, ",}")
	if !ok || end < 0 {
		return 0, fmt.Errorf("the payload is %q", payload)
	}
	return strconv.Atoi(rest[:end])
}

// publisher publishes events and notes those that were acknowledged. An event
// whose acknowledgement did not come is not sent again.
type publisher struct {
	t     *testing.T
	nc    *nats.Conn
	js    jetstream.JetStream
	every time.Duration // between two events
	next  int
	stop  func() // ends and waits, while it publishes

	mu    sync.Mutex
	acked map[int]time.Time // since the last take
}

func newPublisher(t *testing.T, url string, every time.Duration) *publisher {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1), nats.RetryOnFailedConnect(true), nats.PingInterval(2*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // its server is killed again and again
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(512))
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{t: t, nc: nc, js: js, every: every, acked: map[int]time.Time{}}
}

func (p *publisher) start() {
	ctx, cancel := context.WithCancel(p.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.publish(ctx) })
	p.stop = func() {
		cancel()
		wg.Wait()
		p.stop = nil
	}
}

func (p *publisher) publish(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		<-tick.C
		n := p.next
		p.next++
		subject, payload := newEvent(n)
		f, err := p.js.PublishAsync(subject, []byte(payload), jetstream.WithRetryAttempts(0))
		if err != nil {
			continue // not connected
		}
		wg.Go(func() {
			select {
			case <-f.Ok():
				p.mu.Lock()
				p.acked[n] = time.Now()
				p.mu.Unlock()
			case err := <-f.Err():
				_ = err // not acknowledged: not in the book
			case <-time.After(5 * time.Second):
			}
		})
	}
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// take returns what was acknowledged since the last call.
func (p *publisher) take() map[int]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	acked := p.acked
	p.acked = map[int]time.Time{}
	return acked
}

func (p *publisher) close() {
	if p.stop != nil {
		p.stop()
	}
	p.nc.Close()
}
