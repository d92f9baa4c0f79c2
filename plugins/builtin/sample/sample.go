// Package sample is the ready-made plugin that keeps a share of the events.
// README.md beside it is its documentation.
package sample

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/plugins/builtin/outputs"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

type config struct {
	Rate float64
	By   string
	Salt string
	Else string
}

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	var c config
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if !in.Config.Find("/rate").Exists() {
		return nil, errors.New("config: rate is missing; it is the share of events to keep, from 0 to 1, such as 0.1")
	}
	if !(c.Rate >= 0 && c.Rate <= 1) {
		return nil, errors.New("config.rate: want a number from 0 to 1, got " + strconv.FormatFloat(c.Rate, 'g', -1, 64))
	}
	if c.Else != "" {
		if err := outputs.Check(in, "else", c.Else); err != nil {
			return nil, err
		}
	}
	find, err := by(c.By)
	if err != nil {
		return nil, errors.New("config.by: " + err.Error())
	}
	start := hash(offset, []byte(c.Salt))
	limit := threshold(c.Rate)
	drop := sdk.DropBecause("not in the sample")
	var number [20]byte
	return func(e *sdk.Event, out *sdk.Out) error {
		what := find(e)
		if what == nil {
			what = strconv.AppendUint(number[:0], e.Seq(), 10)
		}
		switch {
		case mix(hash(start, what))>>1 < limit:
			out.Pass()
		case c.Else != "":
			out.PassTo(c.Else)
		default:
			return drop
		}
		return nil
	}, nil
}

// threshold returns how many of the 2^63 hashes are kept.
func threshold(rate float64) uint64 {
	return uint64(math.Ldexp(rate, 63)) // 2^63 for all of them
}

// by returns what decides about an event, nil for its sequence number.
func by(source string) (func(e *sdk.Event) []byte, error) {
	kind, rest, _ := strings.Cut(source, ":")
	switch kind {
	case "", "key":
		return func(e *sdk.Event) []byte {
			if k := e.Key(); len(k) > 0 {
				return k
			}
			return nil
		}, nil
	case "seq":
		return func(*sdk.Event) []byte { return nil }, nil
	case "subject":
		if rest == "" {
			return (*sdk.Event).Subject, nil
		}
		n, err := strconv.Atoi(rest)
		if err != nil || n < 1 {
			return nil, errors.New("subject:N needs the number of a token, from 1; got " + strconv.Quote(rest))
		}
		return func(e *sdk.Event) []byte { return present(e.SubjectToken(n)) }, nil
	case "header":
		if rest == "" {
			return nil, errors.New("header:NAME needs a name")
		}
		return func(e *sdk.Event) []byte { return present(e.Header(rest)) }, nil
	case "json":
		if err := jsonptr.Check(rest); err != nil {
			return nil, err
		}
		return func(e *sdk.Event) []byte { return present(e.Find(rest).Bytes()) }, nil
	}
	return nil, errors.New(`there are "key", "seq", "subject", "subject:N", "header:NAME" and "json:/pointer"; got ` + strconv.Quote(source))
}

// present makes of what is not there an empty value: all events without it are
// kept, or none.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// FNV-1a is the same everywhere and for ever, so that two samplers with the same
// salt agree, and so does this one with itself after an upgrade.
const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

func hash(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * prime
	}
	return h
}

// mix spreads the low bits over all of them (the finalizer of MurmurHash3):
// FNV alone leaves those of short texts alike.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
