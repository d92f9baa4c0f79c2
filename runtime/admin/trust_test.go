package admin_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/certificate/certtest"
)

// secured is an endpoint with a certificate, and a pool with only that in it.
func secured(t *testing.T, until time.Time, hosts ...string) (*admin.Server, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if err := certtest.Write(cert, key, until, hosts...); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return open(t, &fake{}, admin.Config{TLSCert: cert, TLSKey: key}), pool
}

func TestTLS(t *testing.T) {
	later := time.Now().Add(time.Hour)
	good, pool := secured(t, later, "127.0.0.1")
	named, namedPool := secured(t, later, "box.example")
	old, oldPool := secured(t, time.Now().Add(-time.Hour), "127.0.0.1")
	plain := open(t, &fake{}, admin.Config{})
	for _, c := range []struct {
		name, url string
		roots     *x509.CertPool
		want      string
	}{
		{"a certificate that is trusted", good.URL(), pool, ""},
		{"one that is not", good.URL(), x509.NewCertPool(), "--ca or WASMILL_ADMIN_CA"},
		{"one for another name", named.URL(), namedPool, "its certificate is for box.example, not for 127.0.0.1"},
		{"one that has expired", old.URL(), oldPool, "its certificate has expired on "},
		{"plain HTTP where TLS is spoken", strings.Replace(good.URL(), "https", "http", 1), pool, "it speaks TLS: write https://"},
		{"TLS where plain HTTP is spoken", strings.Replace(plain.URL(), "http", "https", 1), pool, "it speaks plain HTTP: write http://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := admin.NewClient(c.url, "")
			defer cl.Close()
			cl.Trust(&tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12})
			_, err := cl.Status(t.Context())
			var te *admin.TLSError
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.As(err, &te) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.url)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("files that are no good are an error of Open", func(t *testing.T) {
		s := unopened(t, &fake{}, admin.Config{TLSCert: "nope.pem", TLSKey: "nope.key"})
		if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "[admin] tls_cert") {
			t.Errorf("got %v", err)
		}
	})
}
