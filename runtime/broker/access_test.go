package broker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// denied reports whether the server refuses a request of an application: it
// answers with a permissions error on the connection and never to the request.
func denied(t *testing.T, nc *nats.Conn, subject, body string) bool {
	t.Helper()
	violation := make(chan struct{}, 1)
	old := nc.ErrorHandler()
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			select {
			case violation <- struct{}{}:
			default:
			}
		}
	})
	defer nc.SetErrorHandler(old)
	answer := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		defer close(answer)
		_, _ = nc.RequestWithContext(ctx, subject, []byte(body))
	}()
	select {
	case <-violation:
		cancel()
		<-answer
		return true
	case <-answer:
		return false
	}
}

func TestApplications(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	ensure(t, b, TopicConfig{Name: "dead-letters", Subjects: []string{"wasmill.dead.>"}})
	if err := b.Protect("alerts"); err != nil {
		t.Fatal(err)
	}
	own := b.ConsumerName("alerts")
	if _, err := b.js.CreateConsumer(ctx, "quakes", jetstream.ConsumerConfig{Durable: own, AckPolicy: jetstream.AckAllPolicy}); err != nil {
		t.Fatal(err)
	}
	nc, js := application(t, b)

	t.Run("may publish, subscribe, consume and read", func(t *testing.T) {
		sub, err := nc.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, "quakes.raw.1", []byte("x")); err != nil {
			t.Error("publish:", err)
		}
		if m, err := sub.NextMsgWithContext(ctx); err != nil || m.Subject != "quakes.raw.1" {
			t.Error("subscribe:", m, err)
		}
		_ = sub.Unsubscribe()
		for _, cfg := range []jetstream.ConsumerConfig{{Durable: "mine"}, {FilterSubject: "quakes.raw.>"}, {Durable: "several", FilterSubjects: []string{"quakes.a", "quakes.raw.>"}}} {
			c, err := js.CreateConsumer(ctx, "quakes", cfg)
			if err != nil {
				t.Fatal("create consumer:", err)
			}
			m, err := c.Next()
			if err != nil {
				t.Fatal("consume:", err)
			}
			if err := m.DoubleAck(ctx); err != nil {
				t.Error("acknowledge:", err)
			}
			if err := js.DeleteConsumer(ctx, "quakes", c.CachedInfo().Name); err != nil {
				t.Error("delete its own consumer:", err)
			}
		}
		stream, err := js.Stream(ctx, "quakes")
		if err != nil {
			t.Fatal("stream info:", err)
		}
		if _, err := stream.GetMsg(ctx, 1); err != nil {
			t.Error("direct get:", err)
		}
		if _, err := js.AccountInfo(ctx); err != nil {
			t.Error("account info:", err)
		}
		if _, err := js.Consumer(ctx, "quakes", own); err != nil {
			t.Error("look at a pipeline's consumer:", err)
		}
	})

	t.Run("may not change a topic's stream", func(t *testing.T) {
		for _, subject := range []string{
			"$JS.API.STREAM.CREATE.other", "$JS.API.STREAM.UPDATE.quakes", "$JS.API.STREAM.DELETE.quakes",
			"$JS.API.STREAM.PURGE.quakes", "$JS.API.STREAM.RESTORE.quakes", "$JS.API.STREAM.MSG.DELETE.quakes",
			"$JS.API.STREAM.LEADER.STEPDOWN.quakes", "$JS.API.STREAM.PEER.REMOVE.quakes", "$JS.API.ACCOUNT.PURGE.$G",
			"$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
		} {
			if !denied(t, nc, subject, `{"seq":1}`) {
				t.Errorf("%s is allowed", subject)
			}
		}
	})

	t.Run("may not touch a pipeline's consumer", func(t *testing.T) {
		for _, subject := range []string{
			"$JS.API.CONSUMER.DELETE.quakes." + own, "$JS.API.CONSUMER.PAUSE.quakes." + own,
			"$JS.API.CONSUMER.RESET.quakes." + own, "$JS.API.CONSUMER.UNPIN.quakes." + own,
			"$JS.API.CONSUMER.MSG.NEXT.quakes." + own, "$JS.API.CONSUMER.CREATE.quakes." + own,
			"$JS.API.CONSUMER.CREATE.quakes." + own + ".quakes.>", "$JS.API.CONSUMER.DURABLE.CREATE.quakes." + own,
			"$JS.ACK.quakes." + own + ".1.9.9.1.0", "$JS.ACK._.hash.quakes." + own + ".1.9.9.1.0",
		} {
			if !denied(t, nc, subject, "") {
				t.Errorf("%s is allowed", subject)
			}
		}
	})

	t.Run("may not write reserved subjects or see the runtime's replies", func(t *testing.T) {
		for _, subject := range []string{"wasmill.dead.alerts.strong", "wasmill.lease.alerts", "wasmill.x", inboxPrefix + ".x.y"} {
			if !denied(t, nc, subject, "x") {
				t.Errorf("%s is allowed", subject)
			}
		}
		sub, err := nc.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Topics(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.nc.Publish("end", nil); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject == "end" {
				break
			}
			if strings.HasPrefix(m.Subject, inboxPrefix) {
				t.Errorf("sees %s", m.Subject)
			}
		}
	})

	t.Run("may read dead letters", func(t *testing.T) {
		if _, err := b.js.Publish(ctx, "wasmill.dead.alerts.strong", []byte("x")); err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(ctx, "dead-letters")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.GetMsg(ctx, 1); err != nil {
			t.Error(err)
		}
	})

	t.Run("with credentials of another server are refused", func(t *testing.T) {
		for _, o := range []nats.Option{nats.UserInfo("sys", ""), nats.UserInfo("admin", "admin"), nats.Token("x")} {
			if nc, err := nats.Connect(b.ClientURL(), o); err == nil {
				nc.Close()
				t.Error("accepted")
			}
		}
	})

	t.Run("do not reach the system account", func(t *testing.T) {
		if _, err := nc.RequestWithContext(ctx, "$SYS.REQ.SERVER.PING", nil); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("got %v, want no responders", err)
		}
	})

	t.Run("stay connected when a pipeline is added, and may not touch it from then on", func(t *testing.T) {
		gone := make(chan struct{}, 1)
		nc, js := application(t, b, nats.DisconnectErrHandler(func(*nats.Conn, error) { gone <- struct{}{} }))
		sub, err := nc.SubscribeSync("quakes.later")
		if err != nil {
			t.Fatal(err)
		}
		name := b.ConsumerName("later")
		if denied(t, nc, "$JS.API.CONSUMER.DELETE.quakes."+name, "") {
			t.Fatal("denied before the pipeline is known")
		}
		lost := make(chan struct{}, 1)
		b.nc.SetDisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })
		start := time.Now()
		if err := b.Protect("later"); err != nil {
			t.Fatal(err)
		}
		t.Logf("permissions renewed in %s", time.Since(start))
		if !denied(t, nc, "$JS.API.CONSUMER.DELETE.quakes."+name, "") {
			t.Error("still allowed")
		}
		if !denied(t, nc, "$JS.API.CONSUMER.DELETE.quakes."+own, "") {
			t.Error("the first pipeline is no longer protected")
		}
		if _, err := js.Publish(ctx, "quakes.later", nil); err != nil {
			t.Error(err)
		}
		if _, err := sub.NextMsgWithContext(ctx); err != nil {
			t.Error("its subscription:", err)
		}
		select {
		case <-gone:
			t.Error("it lost its connection")
		default:
		}
		if _, err := b.Topics(ctx); err != nil {
			t.Error("the runtime's own connection:", err)
		}
		select {
		case <-lost:
			t.Error("the runtime lost its own connection")
		default:
		}
	})
}
