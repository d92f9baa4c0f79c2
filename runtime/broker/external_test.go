package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/freeport"
)

// natsServer runs a NATS server as an operator would: with JetStream, and
// nothing of Wasmill's.
func natsServer(t *testing.T, set ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 30,
	}
	for _, f := range set {
		f(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func TestExternal(t *testing.T) {
	t.Run("runs topics on it", func(t *testing.T) {
		s := natsServer(t)
		b := open(t, Config{URL: s.ClientURL()})
		ctx := testContext(t)
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		seq, err := b.Publish(ctx, "quakes", event.Output{Subject: "quakes.x", Payload: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := b.Get(ctx, "quakes", seq); err != nil || m.Payload != "x" {
			t.Errorf("%+v, %v", m, err)
		}
		if d := b.Describe(); d.Mode != "external" || d.URL != s.ClientURL() || d.Version != server.VERSION || d.Durability != "external" || d.LossWindow == "" {
			t.Errorf("%+v", d)
		}
		// A dead letter has more room than what it tells of.
		if c := streamOf(t, b, "quakes").Config; c.MaxMsgSize != 1<<20-deadHeadroom+topicHeadroom {
			t.Errorf("max message size %d", c.MaxMsgSize)
		}
	})

	t.Run("authenticates", func(t *testing.T) {
		user := natsServer(t, func(o *server.Options) { o.Username, o.Password = "u", "p" })
		open(t, Config{URL: user.ClientURL(), User: "u", Password: "p"})
		token := natsServer(t, func(o *server.Options) { o.Authorization = "s3cret" })
		open(t, Config{URL: token.ClientURL(), Token: "s3cret"})

		for _, cfg := range []Config{
			{URL: user.ClientURL()}, {URL: user.ClientURL(), User: "u", Password: "hush"}, {URL: token.ClientURL(), Token: "hush"},
		} {
			msg := refused(t, cfg)
			if !strings.Contains(msg, "refuses the credentials") || strings.Contains(msg, "hush") {
				t.Error(msg)
			}
		}
		if msg := refused(t, Config{URL: user.ClientURL(), Credentials: "/nowhere/x.creds"}); !strings.Contains(msg, "/nowhere/x.creds") {
			t.Error(msg)
		}
	})

	t.Run("speaks TLS", func(t *testing.T) {
		pki := newPKI(t)
		s := natsServer(t, func(o *server.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pki.server}, ClientCAs: pki.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
		})
		ok := TLSConfig{CA: pki.path("ca.pem"), Cert: pki.path("client.pem"), Key: pki.path("client.key")}
		open(t, Config{URL: s.ClientURL(), TLS: ok})
		for name, cfg := range map[string]TLSConfig{
			"an unknown authority": {Cert: ok.Cert, Key: ok.Key},
			"no certificate":       {CA: ok.CA},
		} {
			t.Run(name, func(t *testing.T) {
				if msg := refused(t, Config{URL: s.ClientURL(), TLS: cfg}); !strings.Contains(msg, "server.tls") {
					t.Error(msg)
				}
			})
		}
		for _, cfg := range []TLSConfig{{CA: "/nowhere/ca.pem"}, {CA: pki.path("client.key")}, {CA: ok.CA, Cert: ok.Cert, Key: ok.CA}} {
			if msg := refused(t, Config{URL: s.ClientURL(), TLS: cfg}); !strings.Contains(msg, "server.tls") {
				t.Error(msg)
			}
		}
	})

	t.Run("refuses a server that does not answer", func(t *testing.T) {
		addr, err := freeport.Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		msg := refused(t, Config{URL: "nats://me:hush@" + addr})
		if !strings.Contains(msg, addr) || strings.Contains(msg, "hush") || !strings.Contains(msg, "server.url") {
			t.Error(msg)
		}
	})

	t.Run("uses whichever of several addresses answers", func(t *testing.T) {
		s := natsServer(t)
		open(t, Config{URL: "nats://127.0.0.1:1," + s.ClientURL()})
	})

	t.Run("refuses a server without JetStream", func(t *testing.T) {
		s := natsServer(t, func(o *server.Options) { o.JetStream = false })
		if msg := refused(t, Config{URL: s.ClientURL()}); !strings.Contains(msg, "JetStream off") {
			t.Error(msg)
		}
	})

	t.Run("refuses a server that is too old", func(t *testing.T) {
		// A server without JetStream, and something that answers for it as an older one would.
		s := natsServer(t, func(o *server.Options) { o.JetStream = false })
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Subscribe("$JS.API.INFO", func(m *nats.Msg) {
			_ = m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.account_info_response","api":{"level":3,"total":1,"errors":0}}`))
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if msg := refused(t, Config{URL: s.ClientURL()}); !strings.Contains(msg, "2.14") || !strings.Contains(msg, "level 3") {
			t.Error(msg)
		}
	})

	t.Run("reconnects when the server comes back", func(t *testing.T) {
		dir := t.TempDir()
		start := func(port int) *server.Server {
			return natsServer(t, func(o *server.Options) { o.StoreDir, o.Port = dir, port })
		}
		s := start(server.RANDOM_PORT)
		addr, ok := s.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("address %v", s.Addr())
		}
		b := open(t, Config{URL: s.ClientURL()})
		ensure(t, b, TopicConfig{Name: "quakes", Subjects: []string{"quakes.>"}})
		back := make(chan struct{})
		b.nc.SetReconnectHandler(func(*nats.Conn) { close(back) })
		away := b.nc.StatusChanged(nats.RECONNECTING)
		s.Shutdown()
		s.WaitForShutdown()
		<-away
		if err := b.Healthy(); err == nil || !strings.Contains(err.Error(), "out of reach") {
			t.Errorf("while it is away: %v", err)
		}
		if _, err := b.PreviewReset(testContext(t), "p", "quakes", nil, "end"); err == nil || !strings.Contains(err.Error(), "out of reach") {
			t.Errorf("a reset while it is away: %v", err)
		}
		start(addr.Port)
		select {
		case <-back:
		case <-testContext(t).Done():
			t.Fatal("no reconnect")
		}
		if err := b.Healthy(); err != nil {
			t.Error("when it is back:", err)
		}
		if _, err := b.Topic(testContext(t), "quakes"); err != nil {
			t.Error(err)
		}
	})
}

func TestForeignStreams(t *testing.T) {
	s := natsServer(t)
	b := open(t, Config{URL: s.ClientURL()})
	ctx := testContext(t)
	orders, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "orders", Subjects: []string{"orders.>"}, MaxAge: time.Hour,
		Storage: jetstream.MemoryStorage, Description: "of another team", Metadata: map[string]string{"team": "shop"},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := orders.CachedInfo().Config

	t.Run("are used as they are", func(t *testing.T) {
		ensure(t, b, TopicConfig{Name: "orders", Subjects: []string{"orders.paid.>"}, MaxAge: time.Minute})
		after := streamOf(t, b, "orders").Config
		if after.MaxAge != before.MaxAge || after.AllowBatchPublish || after.AllowDirect || len(after.Subjects) != 1 || after.Metadata[metaKey] != "" {
			t.Errorf("changed to %+v", after)
		}
	})
	t.Run("are topics from then on", func(t *testing.T) {
		topics, err := b.Topics(ctx)
		if err != nil || len(topics) != 1 || topics[0].Name != "orders" {
			t.Errorf("%+v, %v", topics, err)
		}
		other := open(t, Config{URL: s.ClientURL()})
		if topics, err := other.Topics(ctx); err != nil || len(topics) != 0 {
			t.Errorf("in a process that does not use it: %+v, %v", topics, err)
		}
	})
	t.Run("get fast-ingest publishing, and nothing else, as an output", func(t *testing.T) {
		for range 2 {
			p, err := b.NewPublisher(ctx, "orders")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Add(ctx, &event.Output{Subject: "orders.paid.1"}); err != nil {
				t.Error(err)
			}
			if err := p.Flush(ctx); err != nil {
				t.Error(err)
			}
			if err := p.Close(ctx); err != nil {
				t.Error(err)
			}
		}
		if n := streamOf(t, b, "orders").State.Msgs; n != 2 {
			t.Errorf("%d messages, want 2", n)
		}
		after := streamOf(t, b, "orders").Config
		if !after.AllowBatchPublish || after.MaxAge != before.MaxAge || after.AllowDirect || after.Description != before.Description || after.Metadata["team"] != "shop" {
			t.Errorf("changed to %+v", after)
		}
	})
	t.Run("must take the topic's subjects", func(t *testing.T) {
		refusedTopic(t, b, TopicConfig{Name: "orders", Subjects: []string{"orders.>", "invoices.>"}}, `"invoices.>"`, `"orders.>"`)
	})
	t.Run("may be a mirror to read, but not to write", func(t *testing.T) {
		if _, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: "copy", Mirror: &jetstream.StreamSource{Name: "orders"}}); err != nil {
			t.Fatal(err)
		}
		ensure(t, b, TopicConfig{Name: "copy", Subjects: []string{"orders.>"}})
		var te *TopicError
		if err := b.prepareOutput(ctx, "copy"); !errors.As(err, &te) || !strings.Contains(err.Error(), "mirror") {
			t.Error(err)
		}
	})
}

// pki is a certificate authority with a server and a client.
type pki struct {
	dir    string
	pool   *x509.CertPool
	server tls.Certificate
}

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

func newPKI(t *testing.T) pki {
	t.Helper()
	p := pki{dir: t.TempDir(), pool: x509.NewCertPool()}
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey := key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "CERTIFICATE", der)
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.pool.AddCert(ca)
	for i, name := range []string{"server", "client"} {
		k := key()
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &k.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		kd, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "EC PRIVATE KEY", kd)
	}
	if p.server, err = tls.LoadX509KeyPair(p.path("server.pem"), p.path("server.key")); err != nil {
		t.Fatal(err)
	}
	return p
}

// proxy is a network that can be cut.
type proxy struct {
	net.Listener
	target string
	mu     sync.Mutex
	cut    bool
	conns  []net.Conn
	wg     sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: strings.TrimPrefix(target, "nats://")}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.setCut(true)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.Addr().String() }

// setCut breaks all connections and lets no new one through, or ends that.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) accept() {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if p.cut || err != nil {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		for _, d := range [][2]net.Conn{{in, out}, {out, in}} {
			p.wg.Go(func() {
				_, _ = io.Copy(d[0], d[1])
				_ = d[0].Close()
			})
		}
	}
}
