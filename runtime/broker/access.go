package broker

import (
	"crypto/rand"
	"crypto/subtle"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// inboxPrefix is where replies to the runtime's own connections go.
// Applications can neither read nor write there, so that none can forge a
// confirmation.
const inboxPrefix = "_WASMILL"

// access decides who a client of the embedded server is. The runtime's own
// connections present a random token of this process and may do everything;
// whoever presents nothing is an application; everybody else is refused. (A
// token, since the server closes connections with a user name that is not in
// its options when it reloads them.)
//
// The permissions guard against mistakes, not against malice, because the
// server itself obeys none when it answers: an application can have it write to
// a reserved subject by naming that as the reply subject of a request or as the
// deliver subject of a push consumer, and the legacy request to create a
// consumer names it in the body, where no permission reaches. Applications that
// are not trusted need a server with accounts (server.url), or none (listen = "").
//
// The server asks Check when a client connects and again for every client when
// its options are reloaded, and takes over the permissions without closing the
// connection: that is how the set of protected pipelines grows.
type access struct {
	secret string
	mu     struct {
		sync.Mutex
		pipelines []string // sorted
	}
}

var _ server.Authentication = (*access)(nil)

func newAccess() *access { return &access{secret: rand.Text() + rand.Text()} }

// Check implements server.Authentication.
func (a *access) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	switch o := c.GetOpts(); {
	case o.Username != "" || o.Password != "" || o.JWT != "" || o.Nkey != "":
		return false
	case o.Token == "":
		c.RegisterUser(&server.User{Permissions: a.application()})
		return true
	case subtle.ConstantTimeCompare([]byte(o.Token), []byte(a.secret)) == 1:
		c.RegisterUser(&server.User{})
		return true
	default:
		return false
	}
}

// protect adds pipelines whose consumers applications must not touch, and
// reports whether there is a new one among them.
func (a *access) protect(pipelines ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	grown := false
	for _, p := range pipelines {
		if i, ok := slices.BinarySearch(a.mu.pipelines, p); !ok {
			a.mu.pipelines = slices.Insert(a.mu.pipelines, i, p)
			grown = true
		}
	}
	return grown
}

// application returns what an application may not do. All else is allowed.
func (a *access) application() *server.Permissions {
	pub := []string{
		// A topic's stream is the runtime's alone.
		"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>",
		"$JS.API.STREAM.PURGE.>", "$JS.API.STREAM.RESTORE.>", "$JS.API.STREAM.MSG.DELETE.>",
		"$JS.API.STREAM.PEER.>", "$JS.API.STREAM.LEADER.>", "$JS.API.STREAM.CANCEL_MOVE.>",
		"$JS.API.CONSUMER.PEER.>", "$JS.API.CONSUMER.LEADER.>",
		"$JS.API.META.>", "$JS.API.SERVER.>", "$JS.API.ACCOUNT.>",
		// Reserved subjects.
		"wasmill.>", inboxPrefix + ".>",
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.mu.pipelines {
		name := consumerName(p)
		for _, verb := range []string{"CREATE", "DELETE", "PAUSE", "RESET", "UNPIN"} {
			pub = append(pub, "$JS.API.CONSUMER."+verb+".*."+name)
		}
		pub = append(pub,
			"$JS.API.CONSUMER.CREATE.*."+name+".>", // with a filter
			"$JS.API.CONSUMER.DURABLE.CREATE.*."+name,
			"$JS.API.CONSUMER.MSG.NEXT.*."+name,
			"$JS.ACK.*."+name+".>",
			"$JS.ACK.*.*.*."+name+".>", // with domain and account
		)
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: pub},
		Subscribe: &server.SubjectPermission{Deny: []string{inboxPrefix + ".>"}},
	}
}
