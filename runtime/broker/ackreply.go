package broker

import (
	"bytes"
	"errors"
)

// delivery is what the reply subject of a message from a JetStream consumer
// says of it.
type delivery struct {
	streamSeq   uint64
	consumerSeq uint64 // counts what the consumer has sent since its last reset
	delivered   uint64 // how often, 1 = first time
	time        int64  // when the stream stored it, ns since the Unix epoch
	pending     uint64 // messages that the consumer had not yet sent then
}

var errAckReply = errors.New("malformed reply subject of a JetStream delivery")

// parseAckReply parses, without allocating, both forms of
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.….<pending>[.<token>…]
//
// and returns in head how many bytes come before <delivered>: they are the same
// for every message of a consumer, see parseAckTail.
func parseAckReply(reply []byte) (d delivery, head int, err error) {
	const prefix = "$JS.ACK."
	if len(reply) < len(prefix) || string(reply[:len(prefix)]) != prefix {
		return d, 0, errAckReply
	}
	skip := 4 // tokens before <delivered>
	if bytes.Count(reply, dot) >= 10 {
		skip = 6
	}
	for at := 0; skip > 0; skip-- {
		i := bytes.IndexByte(reply[at:], '.')
		if i < 0 {
			return d, 0, errAckReply
		}
		at += i + 1
		head = at
	}
	d, err = parseAckTail(reply[head:])
	return d, head, err
}

var dot = []byte{'.'} // read-only

// parseAckTail parses what follows the head that parseAckReply found.
func parseAckTail(b []byte) (d delivery, err error) {
	var n [5]uint64
	field := 0
	start := 0
	for i := 0; ; i++ {
		if i < len(b) && b[i] != '.' {
			c := b[i] - '0'
			if c > 9 || i-start >= 20 {
				return d, errAckReply
			}
			n[field] = n[field]*10 + uint64(c)
			continue
		}
		if i == start {
			return d, errAckReply
		}
		field++
		start = i + 1
		if field == len(n) {
			break
		}
		if i >= len(b) {
			return d, errAckReply
		}
	}
	return delivery{delivered: n[0], streamSeq: n[1], consumerSeq: n[2], time: int64(n[3]), pending: n[4]}, nil
}

// ackReplySeq returns the stream sequence of an Event.Ack token.
func ackReplySeq(token string) (uint64, error) {
	d, _, err := parseAckReply(asBytes(token))
	return d.streamSeq, err
}
