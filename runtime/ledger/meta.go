package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/highwayhash"
)

// Names of the server's files.
const (
	metaInfo      = "meta.inf"
	metaSum       = "meta.sum"
	messagesDir   = "msgs"
	consumersDir  = "obs"
	consumerState = "o.dat"
	indexFile     = "index.db"
)

// readMeta reads the two files that describe a stream or consumer; what is
// missing is empty.
func readMeta(dir string) Meta {
	info, _ := os.ReadFile(filepath.Join(dir, metaInfo)) // empty is what whole finds
	sum, _ := os.ReadFile(filepath.Join(dir, metaSum))
	return Meta{Info: info, Sum: sum}
}

// whole says whether the files belong together; key is the stream's name, or
// "stream/consumer".
func (m *Meta) whole(key string) bool {
	k := sha256.Sum256([]byte(key))
	h, err := highwayhash.New64(k[:])
	if err != nil || len(m.Info) == 0 {
		return false
	}
	_, _ = h.Write(m.Info)
	return hex.EncodeToString(h.Sum(nil)) == string(m.Sum)
}

func (m *Meta) write(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return errors.Join(writeFile(filepath.Join(dir, metaInfo), m.Info, true), writeFile(filepath.Join(dir, metaSum), m.Sum, true))
}

// streamInfo is what the ledger needs of a stream's description.
type streamInfo struct {
	Created  time.Time     `json:"created"`
	MaxAge   time.Duration `json:"max_age"`
	MaxBytes int64         `json:"max_bytes"`
	MaxMsgs  int64         `json:"max_msgs"`
}

func (m *Meta) stream() (info streamInfo) {
	_ = json.Unmarshal(m.Info, &info) // whole has checked it
	return info
}

// place is how far a consumer is: sequences of its own and of the stream.
type place struct {
	acked, delivered [2]uint64
}

const (
	stateMagic   = 22
	stateVersion = 2
)

// parsePlace reads a consumer's state file to its end, as the server will.
func parsePlace(b []byte) (p place, ok bool) {
	if len(b) < 2 || b[0] != stateMagic || b[1] != stateVersion {
		return place{}, false
	}
	b, ok = b[2:], true
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	p.acked[0], p.acked[1], p.delivered[0], p.delivered[1] = next(), next(), next(), next()
	if pending := next(); pending > 0 {
		next() // the base of the times below; signed, which takes as many bytes
		for i := uint64(0); i < pending && ok; i++ {
			next()
			next()
			next()
		}
	}
	for again := next(); again > 0 && ok; again-- {
		next()
		next()
	}
	return p, ok && p.acked[0] <= p.delivered[0] && p.acked[1] <= p.delivered[1]
}

// encode writes a state in which nothing is outstanding.
func (p *place) encode() []byte {
	b := []byte{stateMagic, stateVersion}
	for _, v := range []uint64{p.acked[0], p.acked[1], p.acked[0], p.acked[1], 0, 0} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func stateChecksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// bounds reads the first and the last sequence, and how many messages there
// are, from the index that the server
// writes when it stops.
func bounds(index []byte, stream string) (first, last, messages uint64, ok bool) {
	const header, sum = 2, 8
	key := sha256.Sum256([]byte(stream))
	h, err := highwayhash.New64(key[:])
	if err != nil || len(index) < header+sum {
		return 0, 0, 0, false
	}
	body := index[:len(index)-sum]
	_, _ = h.Write(body)
	if !bytes.Equal(h.Sum(nil), index[len(index)-sum:]) {
		return 0, 0, 0, false
	}
	body = body[header:]
	next := func(signed bool) (v uint64) {
		var n int
		if signed {
			_, n = binary.Varint(body)
		} else {
			v, n = binary.Uvarint(body)
		}
		if n <= 0 {
			ok, body = false, nil
			return 0
		}
		body = body[n:]
		return v
	}
	ok = true
	messages = next(false)
	next(false) // bytes
	first = next(false)
	next(true) // time of the first
	last = next(false)
	return first, last, messages, ok
}
