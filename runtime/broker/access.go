package broker

import (
	"crypto/rand"
	"reflect"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// inboxPrefix is where replies to the runtime's own connections go.
// Applications can neither read nor write there, so that none can forge a
// confirmation.
const inboxPrefix = "_WASMILL"

// User is who may connect to the embedded server. What no list allows is
// forbidden. Password is the word itself or its bcrypt hash; with NKey, the
// public key of a user, there is none.
type User struct {
	Name, Password, NKey string
	Publish, Subscribe   []string // subjects
	Consume              []string // topics that may be read, by consumers of the user's own
}

// Names of users that no configuration can have.
const (
	runtimeUser   = "_runtime"
	anonymousUser = "_anonymous"
)

// access decides who a client of the embedded server is. The runtime's own
// connections present a random password of this process and may do everything.
// Without users whoever presents nothing is an application; with users only
// these are let in. Everybody else is refused.
//
// The permissions guard against mistakes, not against malice, because the
// server itself obeys none when it answers: an application can have it write to
// a reserved subject by naming that as the reply subject of a request or as the
// deliver subject of a push consumer, and the legacy request to create a
// consumer names it in the body, where no permission reaches. Applications that
// are not trusted need a server with accounts (server.url), or none (listen = "").
//
// The server looks at its users when a client connects and again for every
// client when its options are reloaded, and takes over the permissions without
// closing the connection, but for users that are gone: that is how the set of
// protected pipelines grows, and how users change.
type access struct {
	secret string
	mu     struct {
		sync.Mutex
		pipelines []string // sorted
		users     []User
	}
}

func newAccess(users []User) *access {
	a := &access{secret: rand.Text() + rand.Text()}
	a.mu.users = users
	return a
}

// authorize puts everybody who is let in into the server's options.
func (a *access) authorize(o *server.Options) {
	a.mu.Lock()
	defer a.mu.Unlock()
	anonymous := &server.User{Username: anonymousUser, Password: a.secret, Permissions: a.applicationLocked()}
	if len(a.mu.users) > 0 {
		// The server does not give up its user for those who present nothing, so
		// it is one for a kind of client that there is not.
		anonymous.AllowedConnectionTypes = map[string]struct{}{"MQTT": {}}
	}
	o.NoAuthUser = anonymousUser
	o.Users = []*server.User{{Username: runtimeUser, Password: a.secret}, anonymous}
	for i := range a.mu.users {
		u := &a.mu.users[i]
		if may := a.permissionsLocked(u); u.NKey != "" {
			o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: u.NKey, Permissions: may})
		} else {
			o.Users = append(o.Users, &server.User{Username: u.Name, Password: u.Password, Permissions: may})
		}
	}
}

// set replaces the users, and reports whether they are others.
func (a *access) set(users []User) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	same := reflect.DeepEqual(a.mu.users, users)
	a.mu.users = users
	return !same
}

// permissionsLocked are a user's: what its lists allow, without what no
// application may do. A list without an entry must not be handed over as it is:
// to the server that means everything.
func (a *access) permissionsLocked(u *User) *server.Permissions {
	may := a.applicationLocked()
	may.Publish.Allow = slices.Clone(u.Publish)
	for _, topic := range u.Consume {
		may.Publish.Allow = append(may.Publish.Allow, consuming(topic)...)
	}
	may.Subscribe.Allow = append(slices.Clone(u.Subscribe), "_INBOX."+u.Name+".>")
	if len(u.Consume) == 0 { // a wildcard must not let who only publishes ask for messages
		may.Publish.Deny = append(may.Publish.Deny, "$JS.>")
	}
	if len(may.Publish.Allow) == 0 {
		may.Publish.Deny = []string{">"}
	}
	return may
}

// consuming lists what a client asks the server for when it reads a topic.
func consuming(topic string) []string {
	return []string{
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO." + topic, "$JS.API.STREAM.MSG.GET." + topic,
		"$JS.API.DIRECT.GET." + topic, "$JS.API.DIRECT.GET." + topic + ".>",
		"$JS.API.CONSUMER.CREATE." + topic, "$JS.API.CONSUMER.CREATE." + topic + ".>", "$JS.API.CONSUMER.DURABLE.CREATE." + topic + ".>",
		"$JS.API.CONSUMER.INFO." + topic + ".>", "$JS.API.CONSUMER.LIST." + topic, "$JS.API.CONSUMER.NAMES." + topic,
		"$JS.API.CONSUMER.DELETE." + topic + ".>", "$JS.API.CONSUMER.MSG.NEXT." + topic + ".>",
		"$JS.ACK." + topic + ".>", "$JS.ACK.*.*." + topic + ".>", "$JS.FC." + topic + ".>",
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

// applicationLocked returns what an application may not do. All else is allowed.
func (a *access) applicationLocked() *server.Permissions {
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
