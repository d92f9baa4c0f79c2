package torture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const deadLetters = "dead-letters"

// The pipelines, by their delivery.
var pipelines = []string{least, once}

const (
	least = "least"
	once  = "once"
)

// tally is what became of the events of one fault.
type tally struct {
	acked, stored int
	lost          map[string]int // by pipeline, as are the others
	repeated      map[string]int
	reordered     map[string]int
	// swallowed are acknowledged events that are not in the topic; every pipeline
	// has lost them. span is from the first of their acknowledgements to the last
	// of all.
	swallowed int
	span      time.Duration
}

// book compares what was acknowledged with what lies in the topics, a piece at a
// time. Events are known by their number: sequences are given anew when a power
// loss takes the end of a topic.
type book struct {
	js     jetstream.JetStream
	at     map[string]uint64 // topic → the sequence that it is read up to
	had    map[string]uint64 // topic → messages read
	closed map[int]bool      // events that were looked for
}

func newBook(js jetstream.JetStream) *book {
	return &book{js: js, at: map[string]uint64{}, had: map[string]uint64{}, closed: map[int]bool{}}
}

type message struct {
	seq     uint64
	subject string
	event   int
}

// read returns what a topic has got since it was read last. The runtime's own
// records lie on other subjects.
func (b *book) read(ctx context.Context, topic string) ([]message, error) {
	s, err := b.js.Stream(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	subject := s.CachedInfo().Config.Subjects[0]
	atLeast := uint64(0) // messages that there must be
	if s.CachedInfo().Cluster != nil {
		// The consumer below reads from any replica, which may be behind even if it
		// counts as current. The leader knows how much there is.
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", topic, err)
		}
		for _, n := range info.State.Subjects {
			atLeast += n
		}
		atLeast -= min(atLeast, b.had[topic])
	}
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: b.at[topic] + 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer func() { _ = s.DeleteConsumer(ctx, c.CachedInfo().Name) }() // otherwise the server does
	if n := c.CachedInfo().NumPending; n < atLeast {
		return nil, fmt.Errorf("topic %s: the leader has %d messages, the replica that is read %d", topic, atLeast, n)
	}
	all := make([]message, 0, c.CachedInfo().NumPending)
	for want := c.CachedInfo().NumPending; uint64(len(all)) < want; {
		batch, err := c.Fetch(int(min(want-uint64(len(all)), 1000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, fmt.Errorf("read topic %s: %w", topic, err)
		}
		had := len(all)
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			n, err := eventOf(m.Data())
			if err != nil {
				return nil, fmt.Errorf("topic %s, sequence %d: %w", topic, meta.Sequence.Stream, err)
			}
			all = append(all, message{meta.Sequence.Stream, m.Subject(), n})
		}
		if len(all) == had {
			return nil, fmt.Errorf("topic %s has %d messages and gave %d: %w", topic, want, had, batch.Error())
		}
	}
	if len(all) > 0 {
		b.at[topic] = all[len(all)-1].seq
		b.had[topic] += uint64(len(all))
	}
	return all, nil
}

// compare looks for the outputs of the events in.
func (b *book) compare(ctx context.Context, in []message, acked map[int]time.Time) (*tally, error) {
	place := make(map[int]int, len(in)) // event → place in the topic
	for i, m := range in {
		if _, twice := place[m.event]; twice || b.closed[m.event] {
			return nil, fmt.Errorf("event %d lies twice in the topic, though it was published once", m.event)
		}
		place[m.event] = i
	}
	c := &tally{
		acked: len(acked), stored: len(in),
		lost: map[string]int{}, repeated: map[string]int{}, reordered: map[string]int{},
	}
	var first, last time.Time
	for n, at := range acked {
		if last.Before(at) {
			last = at
		}
		if _, ok := place[n]; ok || b.closed[n] {
			continue
		}
		c.swallowed++
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if c.swallowed > 0 {
		c.span = last.Sub(first)
	}
	outputs := map[string][]message{} // by topic
	for _, topic := range []string{least, least + "-high", once, once + "-high", deadLetters} {
		m, err := b.read(ctx, topic)
		for err != nil && ctx.Err() == nil { // in the middle of an election, say
			time.Sleep(100 * time.Millisecond)
			m, err = b.read(ctx, topic)
		}
		if err != nil {
			return nil, err
		}
		outputs[topic] = m
	}
	for _, p := range pipelines {
		c.lost[p] = c.swallowed
		found := map[int]bool{}
		for _, topic := range []string{p, p + "-high", deadLetters} {
			newest := map[int]int{} // key → the newest event with an output, as its place
			for _, m := range outputs[topic] {
				if topic == deadLetters && !strings.HasPrefix(m.subject, "wasmill.dead."+p+".") {
					continue
				}
				at, known := place[m.event]
				switch {
				case b.closed[m.event], found[m.event], known && endOf(p, m.event) != topic:
					c.repeated[p]++
					continue
				case !known:
					continue // of an event that the topic has lost, which is counted
				}
				found[m.event] = true
				if key := m.event % keys; topic != deadLetters {
					if old, ok := newest[key]; ok && at < old {
						c.reordered[p]++
					}
					newest[key] = max(newest[key], at)
				}
			}
		}
		for n := range place {
			if endOf(p, n) != "" && !found[n] {
				c.lost[p]++
			}
		}
	}
	for n := range place {
		b.closed[n] = true
	}
	return c, nil
}
