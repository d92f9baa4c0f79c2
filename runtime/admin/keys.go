package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
)

// Token is a bearer token of one person or program.
type Token struct {
	Name   string // by which the log calls who uses it
	Role   Role
	Secret string
}

// keys are the tokens of an endpoint. They are never changed.
type keys struct {
	tokens []Token
	sums   [][sha256.Size]byte
}

func newKeys(cfg *Config) (*keys, error) {
	k := &keys{tokens: slices.Clone(cfg.Tokens)}
	if cfg.Token != "" {
		k.tokens = append(k.tokens, Token{Name: TokenHolder, Role: RoleAdmin, Secret: cfg.Token})
	}
	var errs []error
	for i, t := range k.tokens {
		switch {
		case t.Role.rank() == 0:
			errs = append(errs, fmt.Errorf("[admin.tokens.%s] role %q is none of view, operate, admin", t.Name, t.Role))
		case t.Secret == "":
			errs = append(errs, fmt.Errorf("[admin.tokens.%s] token is empty", t.Name))
		}
		for _, earlier := range k.tokens[:i] {
			if t.Secret == earlier.Secret {
				errs = append(errs, fmt.Errorf("the admin tokens of %q and %q have the same value: give each its own", earlier.Name, t.Name))
			}
		}
		k.sums = append(k.sums, sha256.Sum256([]byte(t.Secret)))
	}
	return k, errors.Join(errs...)
}

// wanted reports whether requests need a token.
func (k *keys) wanted() bool { return len(k.tokens) > 0 }

// find returns who has the token of a sum. It takes the same time for every
// token that is presented: all are compared, in constant time, and hashing hides
// the length.
func (k *keys) find(sum [sha256.Size]byte) (Identity, bool) {
	at := -1
	for i := range k.sums {
		if subtle.ConstantTimeCompare(sum[:], k.sums[i][:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return Identity{}, false
	}
	return Identity{Name: k.tokens[at].Name, Role: string(k.tokens[at].Role)}, true
}
