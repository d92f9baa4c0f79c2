package broker

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// commit is what one atomic batch stores: groups of the partitions, whole, and
// the checkpoint behind them. What goes to the stream of the checkpoint (the
// home) is in the batch itself. Outputs to other topics lie in its journal, from
// where they are published afterwards (see applier).
type commit struct {
	exact *Exact
	parts []part
	count int             // outputs to the home that fit
	size  int             // and their bytes
	owed  int             // and those of the journal, about
	home  []atomicMessage // the first is left empty, see exactBatch
	// side holds, by stream, what the journal is about. side[0] is empty unless
	// the outputs of one event to the home alone are more than fits into a batch.
	side    [][]atomicMessage
	journal []byte
	ref     journalRef // of the journal; Chunks is 0 without one
	seq     uint64     // of the checkpoint, once it is stored
	applied chan struct{}
	whole   bool // it holds one group, too large for a batch: all of it is in the journal
}

// part is what a commit has of one partition.
type part struct {
	sink  *ExactSink
	to    uint64 // position in the sink's ring behind it
	cause uint64 // all events of the partition up to it are finished; 0 = as before
	ends  uint64
}

const (
	// maxCommit bounds the bytes of a commit, unless one event has caused more.
	maxCommit = 8 << 20
	// journalChunk is the largest message of a journal.
	journalChunk = 512 << 10
	// journalOverhead is more than the frame of one output in a journal.
	journalOverhead = 24
)

// fits makes room for g, if there is any. A group that is too large for a batch
// is alone in its commit.
func (c *commit) fits(g *group) bool {
	count, size := c.count+g.home, c.size+g.size
	owed := c.owed + g.side
	messages := count + c.exact.chunks(owed) + 2 // the records in front and behind
	switch {
	case c.whole:
		return false
	case messages <= maxAtomic && size+owed <= c.exact.maxBytes:
	case c.count > 0 || c.owed > 0:
		return false
	default:
		c.whole = messages > maxAtomic
	}
	c.count, c.size, c.owed = count, size, owed
	return true
}

// add takes one output.
func (c *commit) add(stream int, e *entry) {
	m := atomicMessage{subject: e.data[:e.subject], payload: e.data[e.subject+e.header:]}
	if e.header > 0 { // without its first line and the empty last one
		m.header = e.data[e.subject+len(natsHeader) : e.subject+e.header-2]
	}
	if stream == 0 && !c.whole {
		c.home = append(c.home, m)
		return
	}
	c.side[stream] = append(c.side[stream], m)
	c.journal = appendJournal(c.journal, c.exact.streams[stream].topic, &m)
}

// A journal is a run of outputs, cut into messages of journalChunk bytes. Each
// message begins with the epoch and the number of its commit and its own number,
// from 0.
const journalHead = 8 + 8 + 4

func appendJournal(b []byte, topic string, m *atomicMessage) []byte {
	for _, f := range [...][]byte{asBytes(topic), m.subject, m.header, m.payload} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

// parseJournal calls each for every output, with views of b.
func parseJournal(b []byte, each func(topic string, m atomicMessage) error) error {
	for len(b) > 0 {
		var f [4][]byte
		for i := range f {
			n, k := binary.Uvarint(b)
			if k <= 0 || n > uint64(len(b)-k) {
				return fmt.Errorf("%w: a journal ends within an output", ErrDamagedRecord)
			}
			f[i], b = b[k:k+int(n)], b[k+int(n):]
		}
		if err := each(string(f[0]), atomicMessage{subject: f[1], header: f[2], payload: f[3]}); err != nil {
			return err
		}
	}
	return nil
}

// seal appends the journal and the checkpoint to the home's messages.
func (c *commit) seal(next *checkpoint) error {
	home := &c.exact.streams[0]
	if len(c.journal) > 0 {
		c.ref = journalRef{
			Epoch: next.Epoch, Batch: next.Batch, Chunks: c.exact.chunks(len(c.journal)), Bytes: len(c.journal),
			Sum: crc32.Checksum(c.journal, castagnoli), Outputs: map[string]int{},
		}
		for i, out := range c.side {
			if len(out) > 0 {
				c.ref.Outputs[c.exact.streams[i].topic] = len(out)
			}
		}
		next.Journals = append(next.Journals, c.ref)
		for i, rest := 0, c.journal; len(rest) > 0; i++ {
			n := min(len(rest), c.exact.chunk)
			b := make([]byte, 0, journalHead+n)
			b = binary.LittleEndian.AppendUint64(b, next.Epoch)
			b = binary.LittleEndian.AppendUint64(b, next.Batch)
			b = binary.LittleEndian.AppendUint32(b, uint32(i))
			b = append(b, rest[:n]...)
			rest = rest[n:]
			c.home = append(c.home, atomicMessage{subject: asBytes(home.journal), payload: b})
		}
	}
	record, err := sealRecord(checkpointMagic, next)
	if err != nil {
		return err
	}
	c.home = append(c.home, atomicMessage{subject: asBytes(home.checkpoint), payload: record})
	return nil
}

// chunks is how many messages a journal of that many bytes has.
func (e *Exact) chunks(bytes int) int { return (bytes + e.chunk - 1) / e.chunk }
