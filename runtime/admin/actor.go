package admin

import "context"

// Identity is who makes a request, as far as it is known.
type Identity struct {
	Name string `json:"name"`           // of the token; see Anonymous
	Role string `json:"role,omitempty"` // what it may do, see Role; "" when no token is needed
}

// Names of those who have no token of a name.
const (
	Anonymous   = "anonymous loopback" // no token is demanded, so it came from this machine
	TokenHolder = "token"              // who has the one token of [admin]
)

type actorKey struct{}

// WithActor returns a context in which a request is made by who.
func WithActor(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// Actor returns who makes the request of ctx: what the guard has found out, and
// Anonymous for a context that is no request's.
func Actor(ctx context.Context) Identity {
	if who, ok := ctx.Value(actorKey{}).(Identity); ok {
		return who
	}
	return Identity{Name: Anonymous}
}
