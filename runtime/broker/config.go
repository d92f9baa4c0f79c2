package broker

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Sizes of messages, in bytes, headers included.
//
// An event of up to MaxEvent bytes travels through any number of topics: a
// topic takes topicHeadroom more, which is what the runtime adds to an output
// (Wasmill-Source, a continued traceparent). The server takes deadHeadroom
// more than MaxEvent, so that the dead letter of the largest event with all of
// its Wasmill- headers (cause, stack and stderr are bounded to some KiB) always
// fits in the dead-letter topic, which has no limit of its own.
const (
	MaxEvent      = 8 << 20
	topicHeadroom = 4 << 10
	deadHeadroom  = 64 << 10
)

const (
	defaultStoreDir = "data"
	defaultMaxStore = 20 << 30

	// maxMemoryStore is what JetStream may keep in memory streams and consumers
	// of applications. The server's own default is 75 % of the machine.
	maxMemoryStore = 64 << 20
	// maxPending is what the server buffers for one slow client before it
	// closes its connection; memory is only taken while a client is slow.
	maxPending = 64 << 20
)

// Config says which NATS server a Broker uses: with URL an existing one, else
// one that it embeds. The zero value embeds a server that only this process can
// reach, with its store in the directory "data".
type Config struct {
	// The embedded server.
	StoreDir   string // directory of the store; "" is "data"
	Listen     string // host:port for NATS clients, port 0 picks a free one; "" = in-process only
	Durability string // DurabilityOS (""), DurabilityFsync or DurabilityAsync
	MaxStore   int64  // bytes on disk; 0 is 20 GiB
	MaxPayload int    // largest event in bytes, headers included; 0 is MaxEvent
	// Ledger is the path of a second copy of the store's ledger, outside of the
	// store, by which the loss or the exchange of the whole store is noticed; ""
	// is none.
	Ledger     string
	AcceptLoss bool // open a store also when messages are gone from it

	Users   []User // who may connect; none = everybody who reaches the listener
	TLSCert string // PEM files of the listener's certificate and its key; "" = no TLS
	TLSKey  string

	// An existing server or cluster.
	URL         string // "nats://host:port", several separated by commas
	User        string
	Password    string
	Token       string
	Credentials string // path of a credentials file (JWT and nkey)
	TLS         TLSConfig

	// Timings of leases and connections; zero is the documented default. Tests shorten them.
	timing timing
}

// TLSConfig names PEM files for the connection to an existing server. With CA
// the server must present a certificate signed by it; Cert and Key go together.
type TLSConfig struct{ CA, Cert, Key string }

func (c Config) external() bool { return c.URL != "" }

type timing struct {
	connect    time.Duration // one attempt to connect to an external server
	ready      time.Duration // start of the embedded server, recovery of its store included
	leaseRenew time.Duration // between two renewals of a lease
	leaseTTL   time.Duration // a lease that was not renewed for so long is free
	look       time.Duration // between two looks at the space of the store
	restart    time.Duration // before the first restart of the server on a store that failed
}

func (c Config) withDefaults() Config {
	if c.StoreDir == "" {
		c.StoreDir = defaultStoreDir
	}
	if c.Durability == "" {
		c.Durability = DurabilityOS
	}
	if c.MaxStore == 0 {
		c.MaxStore = defaultMaxStore
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = MaxEvent
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.timing.connect, 5*time.Second)
	def(&c.timing.ready, 5*time.Minute)
	def(&c.timing.leaseRenew, 2*time.Second)
	def(&c.timing.leaseTTL, 8*time.Second)
	def(&c.timing.look, 200*time.Millisecond)
	def(&c.timing.restart, 250*time.Millisecond)
	return c
}

// Validate reports everything that is wrong with c, joined.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.external() {
		if c.Credentials != "" && (c.User != "" || c.Token != "") {
			bad("credentials: give either a credentials file, a user or a token, not several")
		}
		if c.User != "" && c.Token != "" {
			bad("token: give either a user or a token, not both")
		}
		if (c.TLS.Cert == "") != (c.TLS.Key == "") {
			bad("tls: cert and key go together, one of them is missing")
		}
		return errors.Join(errs...)
	}
	switch c.Durability {
	case DurabilityOS, DurabilityFsync, DurabilityAsync:
	default:
		bad("durability: %q is none of %q, %q, %q", c.Durability, DurabilityOS, DurabilityFsync, DurabilityAsync)
	}
	if c.MaxStore < 0 {
		bad("max_store: %d bytes is negative", c.MaxStore)
	}
	if c.MaxPayload < 0 || c.MaxPayload > 64<<20 {
		bad("max_payload: %d bytes is not within 1 B and 64 MiB", c.MaxPayload)
	}
	if c.Listen != "" {
		if _, _, err := splitListen(c.Listen); err != nil {
			bad("listen: %w", err)
		}
	}
	return errors.Join(errs...)
}

func splitListen(listen string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", listen)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q has no port between 0 and 65535", listen)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// loopback reports whether only this machine can reach host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
