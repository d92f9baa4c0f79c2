package engine

import (
	"context"
	"time"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/pipeline"
	"github.com/wasmill/wasmill/runtime/status"
)

// What the engine asks of its neighbours, in pieces small enough to stand in
// for. The adapters below put the real broker, host and pipeline behind them.

// topicStore keeps the topics.
type topicStore interface {
	Describe() status.Server
	Healthy() error // why topics cannot be used now
	EnsureTopic(ctx context.Context, cfg broker.TopicConfig) error
	Removal(ctx context.Context, cfg broker.TopicConfig, followers []broker.Follower) (*status.Removal, error)
	Topics(ctx context.Context) ([]status.Topic, error)
}

// dataPath opens what a pipeline reads from and writes to.
type dataPath interface {
	AcquireLease(ctx context.Context, pipeline string) (lease, error)
	OpenSource(ctx context.Context, cfg broker.SourceConfig) (pipeline.Source, error)
	OpenSink(ctx context.Context, cfg broker.SinkConfig, confirmed func()) (pipeline.Sink, error)
	OpenExact(ctx context.Context, src broker.SourceConfig, cfg broker.ExactConfig) (exactSource, error)
	ResetSource(ctx context.Context, pipeline, topic, to string) (uint64, error)
	PreviewReset(ctx context.Context, pipeline, topic string, filter []string, to string) (status.Reset, error)
	Behind(ctx context.Context, pipeline, topic string) (waiting, unacked uint64, err error)
	BehindAll(ctx context.Context, readers []broker.Reader) []broker.Backlog
	Lost(pipeline, topic string) uint64
	Protect(pipelines ...string) error
}

// exactSource is the source of an exactly-once pipeline, and its sinks.
type exactSource interface {
	pipeline.Source
	OpenSink(partition int, confirmed func()) (pipeline.Sink, error)
}

// messageStore reads and changes single messages of a topic.
type messageStore interface {
	Topic(ctx context.Context, name string) (status.Topic, error)
	Get(ctx context.Context, topic string, seq uint64) (status.Message, error)
	Next(ctx context.Context, topic string, fromSeq uint64, subject string) (status.Message, error)
	// Place is the sequence of a place, Count how many events are from begin to before end.
	Place(ctx context.Context, topic, at string) (uint64, error)
	Count(ctx context.Context, topic string, filter []string, begin, end uint64) (uint64, error)
	Publish(ctx context.Context, topic string, m event.Output) (uint64, error)
	DeleteMessage(ctx context.Context, topic string, seq uint64) error
}

// lease is the right of this process to run a pipeline.
type lease interface {
	Lost() <-chan struct{}
	Release(ctx context.Context)
}

// loader makes a module ready to be instantiated.
type loader interface {
	Load(ctx context.Context, spec host.Spec) (module, error)
}

// module is one loaded module.
type module interface {
	Digest() string
	Memory() int64
	LoadTime() time.Duration
	NewInstance(ctx context.Context, spec host.InstanceSpec) (pipeline.Processor, error)
	Close(ctx context.Context) error
}

// runner is one run of a pipeline.
type runner interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Swap(ctx context.Context, stage int, next func(partition int) (pipeline.Processor, error)) error
	Pause()
	Resume()
	Stats() pipeline.Stats
}

var (
	_ topicStore   = (*broker.Broker)(nil)
	_ messageStore = (*broker.Broker)(nil)
	_ recordStore  = (*broker.Broker)(nil)
	_ runner       = (*pipeline.Pipeline)(nil)
)

// brokerPath is the dataPath of a real broker.
type brokerPath struct{ b *broker.Broker }

func (p brokerPath) AcquireLease(ctx context.Context, name string) (lease, error) {
	l, err := p.b.AcquireLease(ctx, name)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (p brokerPath) OpenSource(ctx context.Context, cfg broker.SourceConfig) (pipeline.Source, error) {
	s, err := p.b.OpenSource(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p brokerPath) OpenSink(ctx context.Context, cfg broker.SinkConfig, confirmed func()) (pipeline.Sink, error) {
	s, err := p.b.OpenSink(ctx, cfg, confirmed)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p brokerPath) OpenExact(ctx context.Context, src broker.SourceConfig, cfg broker.ExactConfig) (exactSource, error) {
	s, err := p.b.OpenExact(ctx, src, cfg)
	if err != nil {
		return nil, err
	}
	return brokerExact{s}, nil
}

type brokerExact struct{ *broker.ExactSource }

func (s brokerExact) OpenSink(partition int, confirmed func()) (pipeline.Sink, error) {
	sink, err := s.ExactSource.OpenSink(partition, confirmed)
	if err != nil {
		return nil, err
	}
	return sink, nil
}

func (p brokerPath) ResetSource(ctx context.Context, name, topic, to string) (uint64, error) {
	return p.b.ResetSource(ctx, name, topic, to)
}

func (p brokerPath) PreviewReset(ctx context.Context, name, topic string, filter []string, to string) (status.Reset, error) {
	return p.b.PreviewReset(ctx, name, topic, filter, to)
}

func (p brokerPath) Behind(ctx context.Context, name, topic string) (waiting, unacked uint64, err error) {
	return p.b.Behind(ctx, name, topic)
}

func (p brokerPath) BehindAll(ctx context.Context, readers []broker.Reader) []broker.Backlog {
	return p.b.BehindAll(ctx, readers)
}

func (p brokerPath) Lost(name, topic string) uint64 { return p.b.Lost(name, topic) }

func (p brokerPath) Protect(pipelines ...string) error { return p.b.Protect(pipelines...) }

// hostLoader is the loader of a real host.
type hostLoader struct{ h *host.Host }

func (l hostLoader) Load(ctx context.Context, spec host.Spec) (module, error) {
	g, err := l.h.Load(ctx, spec)
	if err != nil {
		return nil, err
	}
	return hostModule{g}, nil
}

type hostModule struct{ *host.Generation }

func (m hostModule) NewInstance(ctx context.Context, spec host.InstanceSpec) (pipeline.Processor, error) {
	i, err := m.Generation.NewInstance(ctx, spec)
	if err != nil {
		return nil, err
	}
	return i, nil
}
