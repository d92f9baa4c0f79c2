package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// outputsWithin is how long the last outputs may take on a machine that is busy.
const outputsWithin = time.Minute

// keys over which the offered events are spread.
const keys = 8

// observer receives outputs and keeps what the reports need.
type observer struct {
	mu        sync.Mutex
	delays    []time.Duration
	gap       time.Duration
	previous  time.Time
	next      [keys]int // by key: lowest number that keeps the order
	reordered int
	bad       error
	seen      map[int]struct{}
	wanted    int
	all       chan struct{}
	warm      int // events below this number are not measured
}

func (o *observer) receive(data []byte) {
	now := time.Now()
	sent, n, err := unstamp(data)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.bad = errors.Join(o.bad, err)
		return
	}
	if _, again := o.seen[n]; !again {
		o.seen[n] = struct{}{}
		if n < o.next[n%keys] {
			o.reordered++
		}
		o.next[n%keys] = n
	}
	if n >= o.warm {
		o.delays = append(o.delays, time.Duration(now.UnixNano()-sent))
		if !o.previous.IsZero() {
			o.gap = max(o.gap, now.Sub(o.previous))
		}
		o.previous = now
	}
	if len(o.seen) == o.wanted {
		close(o.all)
	}
}

// offer publishes events at a steady rate for d and observes their outputs: when
// they are sent, or when a reader of their topic gets them. The first half second
// is not measured. during runs meanwhile; it may be nil.
func offer(ctx context.Context, url string, rate int, d time.Duration, stored bool, during func(context.Context) error) (*observer, int, error) {
	in, err := nats.Connect(url)
	if err != nil {
		return nil, 0, fmt.Errorf("connect to %s: %w", url, err)
	}
	defer in.Close()
	out, err := nats.Connect(url)
	if err != nil {
		return nil, 0, fmt.Errorf("connect to %s: %w", url, err)
	}
	defer out.Close()
	warm := rate / 2
	total := warm + int(d.Seconds()*float64(rate))
	o := &observer{seen: make(map[int]struct{}, total), wanted: total, all: make(chan struct{}), warm: warm}
	for i := range o.next {
		o.next[i] = -1
	}
	if stored {
		stop, err := o.read(ctx, out)
		if err != nil {
			return nil, 0, err
		}
		defer stop()
	} else if _, err := out.Subscribe("out.>", func(m *nats.Msg) { o.receive(m.Data) }); err != nil {
		return nil, 0, fmt.Errorf("subscribe to the outputs: %w", err)
	}
	if err := out.Flush(); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	side := make(chan error, 1)
	go func() {
		if during == nil {
			side <- nil
			return
		}
		side <- during(ctx)
	}()
	if err := pace(ctx, in, rate, total); err != nil {
		return nil, 0, err
	}
	select {
	case <-o.all:
	case <-time.After(outputsWithin):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	cancel()
	if err := <-side; err != nil && !errors.Is(err, context.Canceled) {
		return nil, 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o, total, o.bad
}

// read observes what comes into the topic of the outputs from now on.
func (o *observer) read(ctx context.Context, nc *nats.Conn) (stop func(), err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, "out", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, fmt.Errorf("read the outputs: %w", err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		if strings.HasPrefix(m.Subject(), "out.") { // records of the pipeline are no outputs
			o.receive(m.Data())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the outputs: %w", err)
	}
	return reading.Stop, nil
}

// pace publishes total events so that at any time elapsed×rate are sent.
func pace(ctx context.Context, nc *nats.Conn, rate, total int) error {
	var subjects [keys]string
	for i := range subjects {
		subjects[i] = "in.k" + strconv.Itoa(i)
	}
	buf := make([]byte, 0, EventBytes)
	begin := time.Now()
	for n := 0; n < total; {
		due := min(int(time.Since(begin).Seconds()*float64(rate)), total)
		if n >= due {
			if err := wait(ctx, 50*time.Microsecond); err != nil {
				return err
			}
			continue
		}
		for ; n < due; n++ {
			buf = stamped(buf, time.Now().UnixNano(), n)
			if err := nc.Publish(subjects[n%keys], buf); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
	}
	return nc.Flush()
}

func latency(ctx context.Context, url string, rate int, d time.Duration, stored bool) (Latency, error) {
	o, total, err := offer(ctx, url, rate, d, stored, nil)
	if err != nil {
		return Latency{}, err
	}
	if lost := total - len(o.seen); lost > 0 {
		return Latency{}, fmt.Errorf("at %d/s %d of %d outputs did not come within %s", rate, lost, total, outputsWithin)
	}
	slices.Sort(o.delays)
	return Latency{
		Rate: rate, Events: len(o.delays), GapMS: ms(o.gap),
		P50MS: ms(percentile(o.delays, 0.5)), P99MS: ms(percentile(o.delays, 0.99)), MaxMS: ms(percentile(o.delays, 1)),
	}, nil
}

// reload replaces the module file once a second while events flow.
func reload(ctx context.Context, url, file string, module []byte, rate, seconds int) (Reload, error) {
	r := Reload{Rate: rate}
	replace := func(ctx context.Context) error {
		for i := range seconds {
			if err := wait(ctx, time.Second); err != nil {
				return err
			}
			next := withNote(module, fmt.Sprintf("%d of %s", i, time.Now()))
			if err := os.WriteFile(file+".new", next, 0o600); err != nil {
				return err
			}
			if err := os.Rename(file+".new", file); err != nil {
				return err
			}
			r.Reloads++
		}
		return nil
	}
	o, total, err := offer(ctx, url, rate, time.Duration(seconds+1)*time.Second, false, replace)
	if err != nil {
		return r, err
	}
	slices.Sort(o.delays)
	r.Events, r.Lost, r.Reordered = total, total-len(o.seen), o.reordered
	r.GapMS, r.P99MS = ms(o.gap), ms(percentile(o.delays, 0.99))
	return r, nil
}

// withNote appends a custom section: the same program under another digest.
func withNote(module []byte, note string) []byte {
	body := append([]byte{4, 'n', 'o', 't', 'e'}, note...)
	m := append(slices.Clone(module), 0)
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			m = append(m, byte(n))
			break
		}
		m = append(m, byte(n)|0x80)
	}
	return append(m, body...)
}

// flood publishes events as fast as the broker takes them and returns the
// sequence of the last one.
func flood(ctx context.Context, url string, events int) (uint64, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", url, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	fast, err := jetstreamext.NewFastPublisher(js, jetstreamext.FastPublishFlowControl{Flow: 400, MaxOutstandingAcks: 3})
	if err != nil {
		return 0, err
	}
	for i := range events {
		if _, err := fast.Add("in.k"+strconv.Itoa(i%keys), payload(i)); err != nil {
			return 0, fmt.Errorf("publish event %d: %w", i, err)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	ack, err := fast.Close(ctx)
	if err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	if ack.BatchSize != uint64(events) {
		return 0, fmt.Errorf("the broker stored %d of %d events", ack.BatchSize, events)
	}
	return ack.Sequence, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
