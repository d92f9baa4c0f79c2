package broker

import (
	"errors"
	"fmt"
)

// Ack acknowledges the event with that token and all before it. It does not
// wait: the position is stored as soon as the server can, see Durable, and the
// server is told after that. Tokens come in the order in which Fetch returned
// the events.
func (s *Source) Ack(token string) error {
	seq, err := ackReplySeq(token)
	if err != nil {
		return fmt.Errorf("acknowledge: %w: %q", err, token)
	}
	s.mu.Lock()
	if err := s.errLocked(); err != nil {
		s.mu.Unlock()
		return err
	}
	if seq > s.acked.Load() {
		s.acked.Store(seq)
	}
	s.mu.unsent = append(s.mu.unsent, redelivery{seq, token})
	s.mu.Unlock()
	s.pos.advance(seq)
	return nil
}

// Durable is the sequence up to which every event is finished also after a
// crash.
func (s *Source) Durable() uint64 { return s.pos.stored() }

// OnDurable has moved called, by a goroutine that must not be kept, whenever
// Durable has grown. It is called once, before the first Fetch.
func (s *Source) OnDurable(moved func()) {
	s.mu.Lock()
	s.mu.moved = moved
	s.mu.Unlock()
}

// positionMoved tells the server what the position now covers.
func (s *Source) positionMoved() {
	if err := s.pos.failed(); err != nil {
		_ = s.fail(err)
		if s.cfg.Replaced != nil && errors.Is(err, ErrReplaced) {
			s.cfg.Replaced()
		}
		return
	}
	stored := s.pos.stored()
	s.mu.Lock()
	n := 0
	for n < len(s.mu.unsent) && s.mu.unsent[n].seq <= stored {
		n++
	}
	var token string
	if n > 0 {
		ack := s.mu.unsent[n-1]
		s.mu.unsent = s.mu.unsent[:copy(s.mu.unsent, s.mu.unsent[n:])]
		token = ack.token
		if ack.seq <= s.mu.handed {
			// The consumer has been reset since: its sequence started anew, so the
			// old token would confuse it. The event is on its way once more, with a
			// token that fits.
			s.mu.owed = max(s.mu.owed, ack.seq)
			token = s.owedLocked()
		}
	}
	if token != "" && s.mu.record.token != "" && s.mu.record.seq <= stored {
		token, s.mu.record = s.mu.record.token, redelivery{} // it lies behind
	}
	moved := s.mu.moved
	s.mu.Unlock()
	if token != "" {
		_ = s.sendAck(token) // progress only
	}
	if moved != nil {
		moved()
	}
}

// owedLocked returns the token of the last event up to owed that has been
// delivered again, if any.
func (s *Source) owedLocked() (token string) {
	n := 0
	for n < len(s.mu.again) && s.mu.again[n].seq <= s.mu.owed {
		n++
	}
	if n == 0 {
		return ""
	}
	token = s.mu.again[n-1].token
	if s.mu.again[n-1].seq == s.mu.owed {
		s.mu.owed = 0
	}
	s.mu.again = s.mu.again[n:]
	return token
}

func (s *Source) sendAck(token string) error {
	err := s.wire.publish(token, "", ackPayload)
	if errors.Is(err, errDisconnected) {
		return nil // the reset after the reconnect starts behind it
	}
	return err
}

var ackPayload = []byte("+ACK") // read-only

// AckedSeq is the sequence up to which every event is acknowledged, or was
// before this start.
func (s *Source) AckedSeq() uint64 { return s.acked.Load() }
