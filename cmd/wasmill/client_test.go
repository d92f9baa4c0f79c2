package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// A certificate that some authority has made for another host is not the
// endpoint's, also when this is an address; the endpoint's own may have any name.
func TestVerify(t *testing.T) {
	issue := func(names []string, ips ...net.IP) *x509.Certificate {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IPAddresses: ips,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, named, addressed := issue([]string{"mill.example"}), issue([]string{"other.example"}), issue(nil, net.IPv4(192, 0, 2, 1))
	roots := x509.NewCertPool()
	for _, c := range []*x509.Certificate{own, named, addressed} {
		roots.AddCert(c)
	}
	for _, c := range []struct {
		name, host string
		shown      *x509.Certificate
		ok         bool
	}{
		{"its own, by another name", "192.0.2.1", own, true},
		{"another's, asked by an address", "192.0.2.1", named, false},
		{"another's, without a host", "", named, false},
		{"another's, asked by its name", "other.example", named, true},
		{"that of the address", "192.0.2.1", addressed, true},
		{"that of another address", "192.0.2.2", addressed, false},
		{"one of no authority", "x.example", issue([]string{"x.example"}), false},
	} {
		if err := verify([]*x509.Certificate{c.shown}, c.host, own, roots); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
