package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What an external server must offer: fast-ingest batch publishing and the
// reset of a consumer came with nats-server 2.14, JetStream API level 4.
const (
	minServer   = "2.14"
	minAPILevel = 4
)

// clientOptions are the credentials and TLS of an external server.
func (c Config) clientOptions() ([]nats.Option, error) {
	var opts []nats.Option
	switch {
	case c.Credentials != "":
		if _, err := os.Stat(c.Credentials); err != nil {
			return nil, envErrorf(err, "credentials file %s cannot be read: %v; see server.credentials", c.Credentials, cause(err))
		}
		opts = append(opts, nats.UserCredentials(c.Credentials))
	case c.User != "":
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token))
	}
	if c.TLS.CA != "" {
		pem, err := os.ReadFile(c.TLS.CA)
		if err != nil {
			return nil, envErrorf(err, "CA file %s cannot be read: %v; see server.tls.ca", c.TLS.CA, cause(err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, envErrorf(nil, "CA file %s holds no certificate in PEM; see server.tls.ca", c.TLS.CA)
		}
		opts = append(opts, nats.RootCAs(c.TLS.CA))
	}
	if c.TLS.Cert != "" {
		if _, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key); err != nil {
			return nil, envErrorf(err, "client certificate %s with key %s cannot be used: %v; see server.tls", c.TLS.Cert, c.TLS.Key, err)
		}
		opts = append(opts, nats.ClientCert(c.TLS.Cert, c.TLS.Key))
	}
	return opts, nil
}

// connectError turns a failed first connection into one clear line.
func (b *Broker) connectError(err error) error {
	var env *EnvError
	if errors.As(err, &env) || !b.cfg.external() {
		return err
	}
	urls := redactURLs(b.cfg.URL)
	low := strings.ToLower(err.Error())
	switch {
	case errors.Is(err, nats.ErrAuthorization), strings.Contains(low, "authorization violation"),
		strings.Contains(low, "authentication"), strings.Contains(low, "nkey"), strings.Contains(low, "jwt"):
		return envErrorf(err, "NATS server %s refuses the credentials; check server.user, password, token or credentials", urls)
	case strings.Contains(low, "tls:"), strings.Contains(low, "tls error"), strings.Contains(low, "x509:"), strings.Contains(low, "secure connection"):
		return envErrorf(err, "no TLS connection to NATS server %s: %v; check server.tls", urls, err)
	default:
		return envErrorf(err, "NATS server %s does not answer: %v; start it, or check server.url", urls, err)
	}
}

// checkServer makes sure that the external server can do what pipelines need.
func (b *Broker) checkServer(ctx context.Context) error {
	urls := redactURLs(b.cfg.URL)
	version := b.nc.ConnectedServerVersion()
	info, err := b.accountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return envErrorf(err, "NATS server %s has JetStream off for this account; turn it on (jetstream {} in its configuration)", urls)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return envErrorf(err, "NATS server %s has JetStream off; turn it on (jetstream {} in its configuration)", urls)
	case err != nil:
		return envErrorf(err, "JetStream of NATS server %s does not answer: %v; this user needs to publish to $JS.API.> and subscribe to _INBOX.>", urls, err)
	}
	if info.API.Level < minAPILevel {
		return envErrorf(nil, "NATS server %s is version %s with JetStream API level %d; Wasmill needs nats-server %s or later (level %d) on every server of the cluster",
			urls, version, info.API.Level, minServer, minAPILevel)
	}
	return nil
}

// accountInfo asks for what the account may do. A cluster answers as soon as it has
// a leader, which is waited for: servers that are started together need a moment,
// and one whose majority is down comes back some time.
func (b *Broker) accountInfo(ctx context.Context) (*jetstream.AccountInfo, error) {
	for said := false; ; {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		info, err := b.js.AccountInfo(once)
		cancel()
		if err == nil || ctx.Err() != nil || !b.leaderless(err) {
			return info, err
		}
		if !said {
			said = true
			b.log.Warn("the NATS cluster has no JetStream leader, without which nothing can be stored: waiting for one (it needs more than half of its servers)",
				"cluster", b.nc.ConnectedClusterName(), "url", redactURLs(b.cfg.URL))
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// leaderless reports whether JetStream did not answer because a cluster has no
// leader. It says so itself only after a while.
func (b *Broker) leaderless(err error) bool {
	var api *jetstream.APIError
	switch {
	case b.nc.ConnectedClusterName() == "":
		return false
	case errors.As(err, &api):
		return api.ErrorCode == clusterNotAvailable
	case errors.Is(b.nc.LastError(), nats.ErrPermissionViolation):
		return false
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

const clusterNotAvailable = 10008

// redactURLs drops credentials from a comma-separated list of URLs.
func redactURLs(list string) string {
	parts := strings.Split(list, ",")
	for i, p := range parts {
		p = strings.TrimSpace(p)
		if u, err := url.Parse(p); err == nil && u.User != nil {
			u.User = nil
			p = u.String()
		} else if err != nil {
			if _, host, ok := strings.Cut(p, "@"); ok {
				p = host
			}
		}
		parts[i] = p
	}
	return strings.Join(parts, ",")
}
