package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// recorder is a wireSub that writes down what it is told.
type recorder struct {
	open bool
	got  []string
	bad  string
}

func (r *recorder) begin() {
	if r.open {
		r.bad = "begin within a run"
	}
	r.open = true
}

func (r *recorder) end() {
	if !r.open {
		r.bad = "end outside of a run"
	}
	r.open = false
}

func (r *recorder) deliver(m *wireMsg) {
	if !r.open {
		r.bad = "message outside of a run"
	}
	r.got = append(r.got, fmt.Sprintf("%s|%s|%s|%s", m.subject, m.reply, m.header, m.payload))
}

// script is a net.Conn that gives data in reads of at most step bytes.
type script struct {
	net.Conn
	data []byte
	step int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.data[:min(s.step, len(s.data))])
	s.data = s.data[n:]
	return n, nil
}

func (s *script) Close() error { return nil }

func bareWire(subs map[uint64]wireSub) *wire {
	w := &wire{kick: make(chan struct{}, 1)}
	w.subs.Store(&subs)
	w.mu.changed = make(chan struct{})
	return w
}

func TestLinkSplitsTheStream(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	const natsOnly = "INFO {\"a\":1}\r\nPONG\r\nMSG a 1 5\r\nMSG w\r\nHMSG a 2 r 3 5\r\nhhhpp\r\nPING\r\n-ERR 'x'\r\nMSG w9.MSG 3 0\r\n\r\n"
	stream := "INFO {\"a\":1}\r\nPONG\r\nMSG a 1 5\r\nMSG w\r\n" +
		"MSG s.1 w1 5\r\nhello\r\n" +
		"HMSG s.2 w1 $JS.ACK.x 12 17\r\nNATS/1.0\r\n\r\nworld\r\n" +
		"MSG s.3 w2 reply 0\r\n\r\n" +
		"HMSG a 2 r 3 5\r\nhhhpp\r\nPING\r\n" +
		fmt.Sprintf("MSG s.4 w1 %d\r\n%s\r\n", len(big), big) +
		"MSG gone w7 4\r\nMSG \r\n" +
		"-ERR 'x'\r\nMSG w9.MSG 3 0\r\n\r\n" +
		"HMSG s.5 w1 12 12\r\nNATS/1.0\r\n\r\n\r\n"
	for _, step := range []int{1, 2, 3, 5, 7, 64, 1 << 10, 32 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("in reads of %d bytes", step), func(t *testing.T) {
			one, two := &recorder{}, &recorder{}
			l := newLink(&script{data: []byte(stream), step: step}, bareWire(map[uint64]wireSub{1: one, 2: two}))
			passed, err := io.ReadAll(l)
			if err != nil {
				t.Fatal(err)
			}
			if string(passed) != natsOnly {
				t.Errorf("nats.go reads %q", passed)
			}
			want := []string{
				"s.1|||hello", "s.2|$JS.ACK.x|NATS/1.0\r\n\r\n|world", "s.4|||" + big, "s.5||NATS/1.0\r\n\r\n|",
			}
			if one.bad+two.bad != "" || one.open || two.open {
				t.Error("runs: ", one.bad, two.bad, one.open, two.open)
			}
			if strings.Join(one.got, "\n") != strings.Join(want, "\n") {
				t.Errorf("subscription 1 got %.200q", one.got)
			}
			if strings.Join(two.got, "\n") != "s.3|reply||" {
				t.Errorf("subscription 2 got %q", two.got)
			}
		})
	}
}

func FuzzLink(f *testing.F) {
	f.Add([]byte("MSG s w1 5\r\nhello\r\nPING\r\n"), 3)
	f.Add([]byte("HMSG s w1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n"), 1)
	f.Add([]byte("HMSG s w1 99999999999999 1\r\n"), 7)
	f.Add([]byte("MSG s w1\r\nMSG  w1 5\r\n"), 100)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		if step <= 0 || len(data) > 1<<16 {
			return
		}
		run := func(step int) (string, string) {
			r := &recorder{}
			l := newLink(&script{data: bytes.Clone(data), step: step}, bareWire(map[uint64]wireSub{1: r}))
			passed, err := io.ReadAll(l)
			if err != nil {
				t.Fatal(err)
			}
			return string(passed), strings.Join(r.got, "\n")
		}
		p1, g1 := run(step)
		p2, g2 := run(1 << 20)
		if p1 != p2 || g1 != g2 {
			t.Fatalf("it matters how the stream is cut: %q %q, %q %q", p1, p2, g1, g2)
		}
	})
}

func TestWire(t *testing.T) {
	t.Run("serves nats.go's own traffic beside its own", func(t *testing.T) {
		r := newRig(t, nil)
		for _, inProcess := range []bool{true, false} {
			w := r.wire(t, inProcess)
			big := bytes.Repeat([]byte("a MSG w1 "), 50_000)
			sub, err := r.nc.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
			if err != nil {
				t.Fatal(err)
			}
			if err := r.nc.Flush(); err != nil {
				t.Fatal(err)
			}
			resp, err := w.nc.Request("echo", big, 10*time.Second)
			if err != nil || !bytes.Equal(resp.Data, big) {
				t.Fatalf("in process %v: %v", inProcess, err)
			}
			if err := sub.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("keeps subscriptions over a lost connection", func(t *testing.T) {
		r := newRig(t, nil)
		w := r.wire(t, false)
		got := make(chanSub, 16)
		w.subscribe("news.>", got)
		if err := w.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		say := func(subject string) { // until it is heard: the subscription may be on its way
			t.Helper()
			for range 1000 {
				if err := r.nc.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
				select {
				case s := <-got:
					if s == subject {
						return
					}
				case <-time.After(10 * time.Millisecond):
				}
			}
			t.Fatal("never heard of " + subject)
		}
		say("news.1")
		breakLink(t, w)
		if err := w.waitUp(testContext(t)); err != nil {
			t.Fatal(err)
		}
		say("news.2")
	})
	t.Run("waitUp ends with its context and with the wire", func(t *testing.T) {
		r := newRig(t, nil)
		w := r.wire(t, false)
		r.stop()
		for w.isUp() {
			w.mu.Lock()
			changed := w.mu.changed
			w.mu.Unlock()
			if w.isUp() {
				<-changed
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.waitUp(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ended := make(chan error)
		go func() { ended <- w.waitUp(context.Background()) }()
		w.close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		w.close()
	})
	t.Run("refuses websockets", func(t *testing.T) {
		w := newWire()
		defer w.close()
		if _, err := nats.Connect("ws://127.0.0.1:1", w.option); err == nil || !strings.Contains(err.Error(), "websocket") {
			t.Error(err)
		}
	})
	t.Run("speaks TLS", func(t *testing.T) {
		dir := t.TempDir()
		ca, cert := selfSigned(t, dir)
		r := &rig{opts: &server.Options{Host: "127.0.0.1", Port: freeAddress(t).Port, NoSigs: true, NoLog: true, TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}}
		r.start(t)
		t.Cleanup(r.stop)
		w := r.wire(t, false, nats.RootCAs(ca))
		got := make(chanSub, 1)
		w.subscribe("a", got)
		if err := w.publish("a", "", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != "a" {
			t.Error(s)
		}
		bad := newWire()
		defer bad.close()
		if _, err := nats.Connect(r.srv.ClientURL(), bad.option); !errors.Is(err, nats.ErrTLS) {
			t.Errorf("a certificate of an unknown authority: %v", err)
		}
	})
}

// chanSub passes subjects on.
type chanSub chan string

func (c chanSub) begin()             {}
func (c chanSub) end()               {}
func (c chanSub) deliver(m *wireMsg) { c <- string(m.subject) }

// breakLink cuts the connection, as a network would.
func breakLink(t *testing.T, w *wire) {
	t.Helper()
	w.mu.Lock()
	l := w.mu.link
	w.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
}

func selfSigned(t *testing.T, dir string) (caFile string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
