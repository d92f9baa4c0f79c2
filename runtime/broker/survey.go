package broker

import (
	"context"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// What the status asks of all topics and all pipelines at once. The embedded
// server is asked by a call: over its API each answer is JSON, and a scrape of a
// hundred pipelines would take as many requests.

// Reader is a pipeline and the topic that it reads.
type Reader struct{ Pipeline, Topic string }

// Backlog is what Behind tells of a Reader.
type Backlog struct{ Waiting, Unacked uint64 }

// inFlightQuestions is how many questions an external server is asked at once.
const inFlightQuestions = 16

// BehindAll is Behind for many, in their order; zero where there is no answer.
func (b *Broker) BehindAll(ctx context.Context, readers []Reader) []Backlog {
	detail, ok := b.survey(server.JSzOptions{Consumer: true})
	if !ok {
		return b.behindEach(ctx, readers)
	}
	found := map[Reader]Backlog{}
	for i := range detail {
		for _, c := range detail[i].Consumer {
			found[Reader{c.Name, detail[i].Name}] = Backlog{c.NumPending, uint64(max(c.NumAckPending, 0))}
		}
	}
	out := make([]Backlog, len(readers))
	for i, r := range readers {
		out[i] = found[Reader{consumerName(r.Pipeline), r.Topic}]
	}
	return out
}

// behindEach is BehindAll over the API of the server.
func (b *Broker) behindEach(ctx context.Context, readers []Reader) []Backlog {
	out := make([]Backlog, len(readers))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(inFlightQuestions, len(readers)) {
		wg.Go(func() {
			for i := range next {
				if waiting, unacked, err := b.Behind(ctx, readers[i].Pipeline, readers[i].Topic); err == nil {
					out[i] = Backlog{waiting, unacked}
				}
			}
		})
	}
	for i := range readers {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// streams lists the streams of the server, as far as topicStatus looks at them.
func (b *Broker) streams(ctx context.Context) ([]*jetstream.StreamInfo, error) {
	detail, ok := b.survey(server.JSzOptions{Config: true})
	if !ok {
		return b.listStreams(ctx)
	}
	out := make([]*jetstream.StreamInfo, 0, len(detail))
	for i := range detail {
		d := &detail[i]
		if d.Config == nil {
			continue
		}
		out = append(out, &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{
				Name: d.Name, Subjects: d.Config.Subjects, MaxBytes: d.Config.MaxBytes, MaxAge: d.Config.MaxAge,
				Replicas: d.Config.Replicas, Metadata: d.Config.Metadata,
			},
			State: jetstream.StreamState{
				Msgs: d.State.Msgs, Bytes: d.State.Bytes, FirstSeq: d.State.FirstSeq, LastSeq: d.State.LastSeq,
				LastTime: d.State.LastTime, Consumers: d.State.Consumers,
			},
		})
	}
	return out, nil
}

// listStreams is streams over the API of the server.
func (b *Broker) listStreams(ctx context.Context) ([]*jetstream.StreamInfo, error) {
	var out []*jetstream.StreamInfo
	list := b.js.ListStreams(ctx)
	for info := range list.Info() {
		out = append(out, info)
	}
	return out, list.Err()
}

// survey looks at all streams of the embedded server; false when there is none,
// or none at the moment.
func (b *Broker) survey(o server.JSzOptions) ([]server.StreamDetail, bool) {
	if b.embedded == nil {
		return nil, false
	}
	o.Account, o.Streams = server.DEFAULT_GLOBAL_ACCOUNT, true
	detail, err := b.embedded.current().JszAccount(&o)
	if err != nil || detail == nil {
		return nil, false
	}
	return detail.Streams, true
}
