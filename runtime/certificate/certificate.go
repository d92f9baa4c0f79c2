// Package certificate holds a certificate with its key, as a server shows it to
// clients, and reads it again when its files change.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// Pair is a certificate and its key in two PEM files. Get is safe for concurrent
// use; there is no goroutine.
type Pair struct {
	cert, key string
	log       *slog.Logger

	mu struct {
		sync.Mutex
		current *tls.Certificate
		stamp   string // of the files that were read last, whether they were good or not
		looked  time.Time
	}
}

// Open reads the files. Without names there is no Pair and no error. A
// certificate that is not valid at this time is told to the log: clients will
// refuse it, and a server can do more than serve them.
func Open(cert, key string, log *slog.Logger) (*Pair, error) {
	if cert == "" && key == "" {
		return nil, nil //nolint:nilnil // documented
	}
	p := &Pair{cert: cert, key: key, log: log}
	current, err := p.read()
	if err != nil {
		return nil, err
	}
	p.mu.current, p.mu.stamp, p.mu.looked = current, p.stamp(), time.Now()
	return p, nil
}

// Get returns the certificate, as tls.Config.GetCertificate wants it. Files that
// have changed are read; if they are no good the certificate stays.
func (p *Pair) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.mu.looked) < lookEvery {
		return p.mu.current, nil
	}
	p.mu.looked = now
	stamp := p.stamp()
	if stamp == p.mu.stamp {
		return p.mu.current, nil
	}
	p.mu.stamp = stamp
	fresh, err := p.read()
	if err != nil {
		p.log.Error("a changed certificate cannot be used, the one in use stays", "error", err)
		return p.mu.current, nil
	}
	p.mu.current = fresh
	p.log.Info("a certificate was read again", "file", p.cert, "until", fresh.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return fresh, nil
}

// stamp is another one when a file was written.
func (p *Pair) stamp() string {
	out := ""
	for _, name := range []string{p.cert, p.key} {
		if info, err := os.Stat(name); err == nil {
			out += fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), " ")
		}
	}
	return out
}

func (p *Pair) read() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", p.cert, p.key, err)
	}
	switch now := time.Now(); {
	case now.After(c.Leaf.NotAfter):
		p.log.Warn("a certificate has expired, so clients refuse it: renew it", "file", p.cert, "until", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.Leaf.NotBefore):
		p.log.Warn("a certificate is not valid yet, so clients refuse it", "file", p.cert, "from", c.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return &c, nil
}
