package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/wasmill/wasmill/runtime/certificate/certtest"
)

func connectAs(t *testing.T, b *Broker, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.ClientURL(), append(opts, nats.Timeout(30*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// unsubscribable reports whether the server refuses a subscription.
func unsubscribable(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	refused := make(chan struct{}, 1)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			select {
			case refused <- struct{}{}:
			default:
			}
		}
	})
	defer nc.SetErrorHandler(nil)
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.FlushTimeout(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	// What the server had to say came before its answer to the flush; it is told
	// on another goroutine.
	if !errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
		return false
	}
	<-refused
	return true
}

func TestUsers(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	sensor := User{Name: "sensor", Password: "s3nsor", Publish: []string{"quakes.raw.>", "wasmill.>", ">"}}
	reader := User{
		Name:      "reader",
		Password:  "$2a$04$LkueyZV4vyZIUtBImPJbeu2HYHXjsvHQQAZsPfSTDerajJBz1Lasi", // "abc123xyz", at the least cost: the race detector makes it dear
		Subscribe: []string{"quakes.>"}, Consume: []string{"quakes"},
	}
	robot := User{Name: "robot", NKey: public, Publish: []string{"quakes.robot"}}
	b := open(t, Config{Listen: "127.0.0.1:0", Users: []User{reader, robot, sensor}})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	ensure(t, b, TopicConfig{Name: "other", Subjects: []string{"other.>"}})
	if err := b.Protect("alerts"); err != nil {
		t.Fatal(err)
	}

	t.Run("nobody else is let in", func(t *testing.T) {
		for name, opts := range map[string][]nats.Option{
			"nothing": nil, "a token": {nats.Token("x")}, "another password": {nats.UserInfo("sensor", "S3nsor")},
			"another name": {nats.UserInfo("nobody", "s3nsor")}, "the hash itself": {nats.UserInfo("reader", reader.Password)},
			"the server's own name": {nats.UserInfo(runtimeUser, "")}, "that of who presents nothing": {nats.UserInfo(anonymousUser, "")},
		} {
			nc, err := nats.Connect(b.ClientURL(), append(opts, nats.Timeout(30*time.Second))...)
			if err == nil {
				nc.Close()
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("with %s: %v", name, err)
			}
		}
		other, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		forged, err := other.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string]nats.Option{"an unknown nkey": nats.Nkey(forged, other.Sign), "a signature of another": nats.Nkey(public, other.Sign)} {
			if nc, err := nats.Connect(b.ClientURL(), o); err == nil {
				nc.Close()
				t.Errorf("with %s: let in", name)
			}
		}
	})

	t.Run("a publisher publishes, and what is the runtime's stays so", func(t *testing.T) {
		nc := connectAs(t, b, nats.UserInfo("sensor", "s3nsor"), nats.CustomInboxPrefix("_INBOX.sensor"))
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, "quakes.raw.1", []byte("x")); err != nil {
			t.Error(err)
		}
		for _, subject := range []string{
			"wasmill.dead.x.y", "wasmill.state.x", inboxPrefix + ".x", "$JS.API.STREAM.DELETE.quakes", "$JS.API.STREAM.PURGE.quakes",
			"$JS.API.DIRECT.GET.other", "$JS.API.CONSUMER.CREATE.other",
			"$JS.API.CONSUMER.DELETE.quakes." + b.ConsumerName("alerts"), "$JS.ACK.quakes." + b.ConsumerName("alerts") + ".1.1.1.1.0",
		} {
			if !denied(t, nc, subject, "") {
				t.Errorf("%s is allowed", subject)
			}
		}
		for _, subject := range []string{"quakes.>", ">", "_INBOX.>", "_INBOX.reader.>"} {
			if !unsubscribable(t, nc, subject) {
				t.Errorf("may subscribe to %s", subject)
			}
		}
	})

	t.Run("a reader reads its topic and nothing else, and writes nothing", func(t *testing.T) {
		nc := connectAs(t, b, nats.UserInfo("reader", "abc123xyz"), nats.CustomInboxPrefix("_INBOX.reader"))
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		c, err := js.CreateConsumer(ctx, "quakes", jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "quakes.raw.>"})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Next(jetstream.FetchMaxWait(30 * time.Second))
		if err != nil || string(m.Data()) != "x" {
			t.Fatal(m, err)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Error(err)
		}
		if unsubscribable(t, nc, "quakes.raw.1") {
			t.Error("may not subscribe")
		}
		for _, subject := range []string{
			"quakes.raw.1", "other.x", "$JS.API.STREAM.INFO.other", "$JS.API.CONSUMER.CREATE.other", "$JS.API.DIRECT.GET.other",
			"$JS.API.STREAM.DELETE.quakes", "$JS.API.CONSUMER.DELETE.quakes." + b.ConsumerName("alerts"),
		} {
			if !denied(t, nc, subject, "{}") {
				t.Errorf("%s is allowed", subject)
			}
		}
	})

	t.Run("an nkey proves itself", func(t *testing.T) {
		nc := connectAs(t, b, nats.Nkey(public, pair.Sign))
		if err := nc.Publish("quakes.robot", nil); err != nil {
			t.Error(err)
		}
		if !denied(t, nc, "quakes.raw.2", "") {
			t.Error("it may publish anywhere")
		}
	})

	t.Run("they change without a restart", func(t *testing.T) {
		cut := make(chan struct{}, 1)
		gone := connectAs(t, b, nats.Nkey(public, pair.Sign), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { cut <- struct{}{} }))
		stays := connectAs(t, b, nats.UserInfo("sensor", "s3nsor"), nats.NoReconnect())
		if err := stays.FlushTimeout(30 * time.Second); err != nil {
			t.Fatal(err)
		}
		less := sensor
		less.Publish = []string{"quakes.raw.>"}
		if err := b.SetUsers([]User{less}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-cut:
		case <-time.After(30 * time.Second):
			t.Fatal("who is gone is not cut off", gone.Status())
		}
		if !denied(t, stays, "other.x", "") {
			t.Error("it may still publish what it may no longer")
		}
		if stays.IsClosed() {
			t.Error("who stays was cut off")
		}
		if _, err := b.Topics(ctx); err != nil {
			t.Error("the runtime itself:", err)
		}
		if err := b.SetUsers(nil); err != nil {
			t.Fatal(err)
		}
		connectAs(t, b) // everybody is let in again
		if err := b.SetUsers([]User{less}); err != nil {
			t.Fatal(err)
		}
		if nc, err := nats.Connect(b.ClientURL()); err == nil {
			nc.Close()
			t.Error("who presents nothing is let in")
		}
	})
}

func TestListenerTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if err := certtest.Write(cert, key, time.Now().Add(time.Hour), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	b := open(t, Config{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key})
	ctx := testContext(t)
	ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
	if !strings.HasPrefix(b.ClientURL(), "tls://127.0.0.1:") {
		t.Errorf("clients are sent to %s", b.ClientURL())
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	nc := connectAs(t, b, nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "quakes.1", nil); err != nil {
		t.Error(err)
	}
	if err := b.Protect("later"); err != nil { // a reload keeps it
		t.Error(err)
	}
	if _, err := js.Publish(ctx, "quakes.2", nil); err != nil {
		t.Error(err)
	}
	// Who does not want TLS is told to, and one who does not trust it goes.
	var unknown x509.UnknownAuthorityError
	if _, err := nats.Connect("nats" + strings.TrimPrefix(b.ClientURL(), "tls")); !errors.As(err, &unknown) {
		t.Errorf("without its authority: %v", err)
	}
}
