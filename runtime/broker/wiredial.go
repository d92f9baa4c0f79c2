package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// option makes a nats.Conn carry the wire. It must be the last option given to
// nats.Connect: it wraps the in-process server or the dialer that the others
// have chosen.
func (w *wire) option(o *nats.Options) error {
	// A server that refuses the credentials for a while must not end it.
	o.IgnoreAuthErrorAbort = true
	then := o.ClosedCB
	o.ClosedCB = func(nc *nats.Conn) {
		w.shut()
		if then != nil {
			then(nc)
		}
	}
	if o.InProcessServer != nil {
		o.InProcessServer = wiredProcess{w, o.InProcessServer}
		return nil
	}
	if o.CustomDialer != nil {
		return errors.New("a connection with a dialer of its own cannot carry bulk traffic")
	}
	for _, s := range append([]string{o.Url}, o.Servers...) {
		if strings.HasPrefix(s, "ws://") || strings.HasPrefix(s, "wss://") {
			return fmt.Errorf("server url %q: websocket is not supported, use nats:// or tls://", s)
		}
	}
	// The dialer needs host names, for the server's certificate.
	o.SkipHostLookup = true
	o.CustomDialer = &wiredDialer{wire: w, opts: o}
	return nil
}

type wiredProcess struct {
	wire   *wire
	server nats.InProcessConnProvider
}

// InProcessConn implements nats.InProcessConnProvider.
func (p wiredProcess) InProcessConn() (net.Conn, error) {
	conn, err := p.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return newLink(conn, p.wire), nil
}

// wiredDialer dials, does the TLS handshake where the server or the
// configuration asks for it, and puts a link on top, so that the link sees
// plain text.
type wiredDialer struct {
	wire *wire
	opts *nats.Options
}

// SkipTLSHandshake tells nats.go that Dial has done it.
func (d *wiredDialer) SkipTLSHandshake() bool { return true }

// Dial implements nats.CustomDialer.
func (d *wiredDialer) Dial(network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.opts.Timeout, KeepAlive: 15 * time.Second}
	dialed, err := dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	conn, err := d.wire.tenure.guard(dialed)
	if err != nil {
		_ = dialed.Close()
		return nil, err
	}
	secured, err := d.secure(conn, address)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newLink(secured, d.wire), nil
}

// secure reads the server's INFO, upgrades to TLS if need be, and returns a
// connection that starts with that INFO again.
func (d *wiredDialer) secure(conn net.Conn, address string) (net.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(d.opts.Timeout)); err != nil {
		return nil, err
	}
	if d.opts.Secure && d.opts.TLSHandshakeFirst {
		var err error
		if conn, err = d.handshake(conn, address); err != nil {
			return nil, err
		}
		return conn, conn.SetDeadline(time.Time{})
	}
	// The server sends nothing of a TLS handshake before the client does.
	reader := bufio.NewReader(io.LimitReader(conn, linkMaxLine))
	info, err := reader.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read the server's INFO: %w", err)
	}
	var said struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if _, doc, ok := bytes.Cut(info, []byte(" ")); ok {
		_ = json.Unmarshal(doc, &said) // nats.go reports what is wrong with it
	}
	if said.Required || d.opts.Secure && said.Available {
		if conn, err = d.handshake(conn, address); err != nil {
			return nil, err
		}
	} else if more := reader.Buffered(); more > 0 { // an error behind INFO
		rest, _ := reader.Peek(more)
		info = append(info, rest...)
	}
	return &prefixedConn{Conn: conn, prefix: info}, conn.SetDeadline(time.Time{})
}

func (d *wiredDialer) handshake(conn net.Conn, address string) (net.Conn, error) {
	cfg, err := d.tlsConfig(address)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), d.opts.Timeout) // nats.go dials without a context
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", nats.ErrTLS, err)
	}
	return secured, nil
}

func (d *wiredDialer) tlsConfig(address string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.opts.TLSConfig != nil {
		cfg = d.opts.TLSConfig.Clone()
	}
	if d.opts.TLSCertCB != nil {
		cert, err := d.opts.TLSCertCB()
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if d.opts.RootCAsCB != nil {
		roots, err := d.opts.RootCAsCB()
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = roots
	}
	if cfg.ServerName == "" {
		cfg.ServerName = d.serverName(address)
	}
	return cfg, nil
}

// serverName is whose certificate to expect. A cluster announces its other
// servers by address; they present the certificate of the configured name.
func (d *wiredDialer) serverName(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if net.ParseIP(host) == nil {
		return host
	}
	name := host
	for _, s := range append([]string{d.opts.Url}, d.opts.Servers...) {
		for one := range strings.SplitSeq(s, ",") {
			one = strings.TrimSpace(one)
			if !strings.Contains(one, "://") {
				one = "nats://" + one
			}
			u, err := url.Parse(one)
			if err != nil || u.Hostname() == "" {
				continue
			}
			if u.Hostname() == host {
				return host
			}
			if name == host && net.ParseIP(u.Hostname()) == nil {
				name = u.Hostname()
			}
		}
	}
	return name
}

// prefixedConn gives prefix to the first reads.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// openWire connects a wire to the broker's server. Nothing is written to it when
// the tenure, if there is one, is over.
func (b *Broker) openWire(name string, inProcess bool, t *tenure) (*wire, error) {
	w := newWire()
	w.tenure = t
	nc, err := b.ConnectWith(ConnectOptions{Name: name, InProcess: inProcess, extra: []nats.Option{w.option}})
	if err != nil {
		w.close()
		return nil, err
	}
	w.start(nc)
	return w, nil
}

// Which way to the embedded server is the faster one, see BenchmarkConnections.
// Without a listener there is only the pipe.
const (
	sourceInProcess = false
	sinkInProcess   = true
)
