package admin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Trust makes the client use TLS as cfg says. It must be called before the
// first request.
func (c *Client) Trust(cfg *tls.Config) {
	for _, h := range []*http.Client{c.http, c.patient} {
		if t, ok := h.Transport.(*http.Transport); ok {
			t.TLSClientConfig = cfg
		}
	}
}

// TLSError says why the endpoint and the client cannot agree on TLS.
type TLSError struct {
	URL, Detail string
	Err         error // nil when one of them speaks no TLS
}

func (e *TLSError) Error() string { return e.URL + ": " + e.Detail }

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// plainToTLS is what Go's server answers to HTTP where TLS is spoken.
const plainToTLS = "Client sent an HTTP request to an HTTPS server"

// tlsProblem says what is wrong when err is about TLS, else nil.
func tlsProblem(url string, err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		problem  *tls.CertificateVerificationError
		expected = strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
	)
	told := func(format string, args ...any) error {
		return &TLSError{URL: url, Detail: fmt.Sprintf(format, args...), Err: err}
	}
	switch {
	case expected:
		return told("it speaks plain HTTP: write http:// in its address, or give it a certificate (tls_cert of [admin])")
	case errors.As(err, &host):
		names := host.Certificate.DNSNames
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		return told("its certificate is for %s, not for %s: use one of its names with --admin, or give it a certificate for this one", orNone(names), host.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		const day = "2006-01-02 15:04 MST"
		if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
			return told("its certificate is not valid before %s: look at the clocks of both machines", invalid.Cert.NotBefore.UTC().Format(day))
		}
		return told("its certificate has expired on %s: renew it (tls_cert of [admin])", invalid.Cert.NotAfter.UTC().Format(day))
	case errors.As(err, &unknown):
		return told("no authority that is trusted here vouches for its certificate: name the PEM file of one that does with --ca or WASMILL_ADMIN_CA")
	case errors.As(err, &invalid), errors.As(err, &problem):
		return told("its certificate is not accepted: %v", rootCause(err))
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}
