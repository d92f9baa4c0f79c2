package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"

	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/sdk/abi"
)

// Records of an exactly-once pipeline, in the streams of its output topics:
//
//	wasmill.exact.<topic of the stream>.<pipeline>.<topic read>.checkpoint
//	wasmill.exact.<topic of the stream>.<pipeline>.<topic read>.journal
//	wasmill.exact.<topic of the stream>.<pipeline>.<topic read>.applied
//
// A checkpoint is the last message of an atomic batch with the outputs that it
// speaks of, and the one before is repeated as the first. It says how far each partition has come, and of how many, so that
// their number and the key may change.
const exactPrefix = "wasmill.exact."

func exactSubjects(topic string) string { return exactPrefix + topic + ".>" }

func exactSubject(stream, pipeline, topic, kind string) string {
	return exactPrefix + stream + "." + pipeline + "." + topic + "." + kind
}

const (
	kindCheckpoint = "checkpoint"
	kindJournal    = "journal"
	kindApplied    = "applied"
)

// checkpoint is what one pipeline has committed of the topic that it reads.
type checkpoint struct {
	// Epoch is that of the position under which it was written, Batch counts the
	// commits in it.
	Epoch uint64 `json:"epoch"`
	Batch uint64 `json:"batch"`
	// Owner is a token of the run that wrote it.
	Owner string `json:"owner"`
	// Floor is the sequence up to which every event is finished, Layouts what is
	// finished beyond it. The first layout is the one in use; others are those
	// before it, as long as they go further.
	Floor   uint64   `json:"floor"`
	Layouts []layout `json:"layouts,omitempty"`
	// Journals lists the commits whose outputs to other topics may not be there
	// yet, oldest first.
	Journals []journalRef `json:"journals,omitempty"`
	// Begun says that it opens a batch. Torn are the pieces of batches whose events
	// are not all finished; see exactBatch.
	Begun bool    `json:"begun,omitempty"`
	Torn  []piece `json:"torn,omitempty"`
}

// layout is how far each partition has come under one way of partitioning: every
// event of partition i with a sequence up to Positions[i] is committed.
type layout struct {
	Key       string   `json:"key"`
	Positions []uint64 `json:"positions"`
}

// journalRef names the outputs that one commit owes to other topics.
type journalRef struct {
	Epoch  uint64 `json:"epoch"`
	Batch  uint64 `json:"batch"`
	Chunks int    `json:"chunks"` // messages
	Bytes  int    `json:"bytes"`
	Sum    uint32 `json:"crc32c"`
	// Outputs counts the outputs of the journal by topic.
	Outputs map[string]int `json:"outputs"`
}

// applied is how many of the outputs of one journal a topic has stored.
type applied struct {
	Epoch   uint64 `json:"epoch"`
	Batch   uint64 `json:"batch"`
	Outputs int    `json:"outputs"`
	// Begun says that it opens a batch. Torn are pieces behind those outputs.
	Begun bool    `json:"begun,omitempty"`
	Torn  []piece `json:"torn,omitempty"`
}

// reaches reports whether the outputs of a journal up to number n, counted from
// 1, are stored.
func (a applied) reaches(epoch, batch uint64, n int) bool {
	if a.Epoch != epoch {
		return a.Epoch > epoch
	}
	return a.Batch > batch || a.Batch == batch && a.Outputs >= n
}

const (
	checkpointMagic = "wasmill-checkpoint"
	appliedMagic    = "wasmill-applied"
	exactVersion    = 1
)

// sealRecord gives `<magic> 1 <CRC-32C of the rest> {…}`.
func sealRecord(magic string, v any) ([]byte, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a %s record: %w", magic, err)
	}
	return fmt.Appendf(nil, "%s %d %08x %s", magic, exactVersion, crc32.Checksum(doc, castagnoli), doc), nil
}

// openRecord refuses what it does not understand whole: ErrNewerRecord,
// ErrDamagedRecord.
func openRecord(magic string, b []byte, v any) error {
	damaged := func(why string) error { return fmt.Errorf("%w: %s: %.60q", ErrDamagedRecord, why, b) }
	head, rest, _ := bytes.Cut(b, []byte(" "))
	if string(head) != magic {
		return damaged("it is no " + magic)
	}
	number, rest, _ := bytes.Cut(rest, []byte(" "))
	version, err := strconv.ParseUint(string(number), 10, 31)
	switch {
	case err != nil || version == 0:
		return damaged("its version is no number")
	case version > exactVersion:
		return fmt.Errorf("%w: it has version %d, this one knows up to %d", ErrNewerRecord, version, exactVersion)
	}
	sum, doc, _ := bytes.Cut(rest, []byte(" "))
	if want := fmt.Sprintf("%08x", crc32.Checksum(doc, castagnoli)); string(sum) != want {
		return damaged("its checksum is " + want)
	}
	if err := json.Unmarshal(doc, v); err != nil {
		return damaged(err.Error())
	}
	return nil
}

func decodeCheckpoint(b []byte) (c checkpoint, err error) {
	if err := openRecord(checkpointMagic, b, &c); err != nil {
		return checkpoint{}, err
	}
	for _, l := range c.Layouts {
		if _, err := event.ParseKey(l.Key); err != nil || len(l.Positions) == 0 {
			return checkpoint{}, fmt.Errorf("%w: its layout is none: %.60q", ErrDamagedRecord, b)
		}
	}
	if c.Epoch == 0 {
		return checkpoint{}, fmt.Errorf("%w: it has no epoch: %.60q", ErrDamagedRecord, b)
	}
	return c, nil
}

// later reports whether c was written after o.
func (c *checkpoint) later(o *checkpoint) bool {
	return c.Epoch > o.Epoch || c.Epoch == o.Epoch && c.Batch > o.Batch
}

// low is the highest sequence up to which every event is committed.
func (c *checkpoint) low() uint64 {
	low := c.Floor
	for _, l := range c.Layouts {
		low = max(low, slices.Min(l.Positions))
	}
	return low
}

// use makes a layout the one in use. What others say beyond the floor stays.
func (c *checkpoint) use(key string, partitions int) {
	c.Floor = c.low()
	c.trim()
	if len(c.Layouts) > 0 && c.Layouts[0].Key == key && len(c.Layouts[0].Positions) == partitions {
		return
	}
	next := layout{Key: key, Positions: make([]uint64, partitions)}
	c.Layouts = append([]layout{next}, c.Layouts...)
}

// trim drops the former layouts that say nothing beyond the floor.
func (c *checkpoint) trim() {
	if len(c.Layouts) < 2 {
		return
	}
	kept := c.Layouts[:1]
	for _, l := range c.Layouts[1:] {
		if slices.Max(l.Positions) > c.Floor {
			kept = append(kept, l)
		}
	}
	c.Layouts = kept
}

// cut forgets what is beyond the end of the topic, and returns how far it went.
func (c *checkpoint) cut(last uint64) (high uint64) {
	high = c.Floor
	c.Floor = min(c.Floor, last)
	for _, l := range c.Layouts {
		for i, p := range l.Positions {
			high = max(high, p)
			l.Positions[i] = min(p, last)
		}
	}
	return high
}

// clone returns a copy that shares nothing.
func (c *checkpoint) clone() checkpoint {
	n := *c
	n.Layouts = slices.Clone(c.Layouts)
	for i := range n.Layouts {
		n.Layouts[i].Positions = slices.Clone(c.Layouts[i].Positions)
	}
	n.Journals = slices.Clone(c.Journals)
	n.Torn = slices.Clone(c.Torn)
	return n
}

// coverage answers which events a checkpoint says are committed.
type coverage struct {
	floor, high uint64
	layouts     []covered
}

type covered struct {
	key       event.Key
	positions []uint64
}

var errNoKey = errors.New("a checkpoint has a key that cannot be read")

func (c *checkpoint) coverage() (*coverage, error) {
	v := &coverage{floor: c.Floor, high: c.Floor}
	for _, l := range c.Layouts {
		key, err := event.ParseKey(l.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoKey, err)
		}
		v.layouts = append(v.layouts, covered{key, slices.Clone(l.Positions)})
		v.high = max(v.high, slices.Max(l.Positions))
	}
	return v, nil
}

// covers reports whether e is committed. e.Key is not looked at.
func (v *coverage) covers(e *abi.Event) bool {
	switch {
	case e.Seq <= v.floor:
		return true
	case e.Seq > v.high:
		return false
	}
	for _, l := range v.layouts {
		if e.Seq <= l.positions[event.Partition(l.key.Of(e), len(l.positions))] {
			return true
		}
	}
	return false
}
