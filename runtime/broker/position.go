package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// Position records.
//
// JetStream flushes what consumers have acknowledged ten times a second, so an
// acknowledgement is progress and never durability. How far a pipeline has come
// is therefore written down by the pipeline itself, in a record of the state
// stream:
//
//	wasmill.state.<pipeline>.<topic>.position
//
// It is written by compare and set and names its owner and an epoch that each
// claim raises. Invariant A9: whoever claims the record makes every later write
// of a former owner fail, and a pipeline starts behind its record, never
// silently from the beginning.

// Positions that cannot be used. The pipeline is not started until the operator
// has chosen a place with `wasmill pipelines reset`.
var (
	// ErrTopicReplaced says that the topic was deleted and made anew underneath.
	ErrTopicReplaced = errors.New("the topic is not the one that the pipeline has read")
	// ErrNewerRecord says that a later version of Wasmill has written the record.
	ErrNewerRecord = errors.New("the record was written by a later version of Wasmill")
	// ErrDamagedRecord says that the record is not as it was written.
	ErrDamagedRecord = errors.New("the record is damaged")
)

// ErrReplaced says that another process has claimed the pipeline's position:
// nothing that this one still does may count.
var ErrReplaced = errors.New("another process has claimed the pipeline")

const (
	positionMagic   = "wasmill-position"
	positionVersion = 1
)

// positionRecord is what is known of a pipeline's place in a topic.
type positionRecord struct {
	Topic string `json:"topic"`
	// Created is when the topic's stream was made: which topic of that name it is.
	Created time.Time `json:"created"`
	// Position is the sequence up to which every event is finished.
	Position uint64 `json:"position"`
	Owner    string `json:"owner"` // the process that claimed it last
	// Epoch counts claims. What is written under an earlier one is void.
	Epoch uint64 `json:"epoch"`
	// Reset is the epoch of the operator's last choice of a place, 0 = never.
	Reset uint64 `json:"reset,omitempty"`
	// Partitions of the pipeline, 0 where they do not matter.
	Partitions int `json:"partitions,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

// encode gives `wasmill-position 1 <CRC-32C of the rest> {…}`.
func (r *positionRecord) encode() ([]byte, error) {
	doc, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a position: %w", err)
	}
	return fmt.Appendf(nil, "%s %d %08x %s", positionMagic, positionVersion, crc32.Checksum(doc, castagnoli), doc), nil
}

// decodePosition refuses what it does not understand whole: ErrNewerRecord,
// ErrDamagedRecord.
func decodePosition(b []byte) (r positionRecord, err error) {
	damaged := func(why string) (positionRecord, error) {
		return positionRecord{}, fmt.Errorf("%w: %s: %.60q", ErrDamagedRecord, why, b)
	}
	magic, rest, _ := bytes.Cut(b, []byte(" "))
	if string(magic) != positionMagic {
		return damaged("it is no position")
	}
	number, rest, _ := bytes.Cut(rest, []byte(" "))
	version, err := strconv.ParseUint(string(number), 10, 31)
	switch {
	case err != nil || version == 0:
		return damaged("its version is no number")
	case version > positionVersion:
		return positionRecord{}, fmt.Errorf("%w: it has version %d, this one knows up to %d", ErrNewerRecord, version, positionVersion)
	}
	sum, doc, _ := bytes.Cut(rest, []byte(" "))
	if want := fmt.Sprintf("%08x", crc32.Checksum(doc, castagnoli)); string(sum) != want {
		return damaged("its checksum is " + want)
	}
	if err := json.Unmarshal(doc, &r); err != nil {
		return damaged(err.Error())
	}
	if r.Topic == "" || r.Created.IsZero() {
		return damaged("it names no topic")
	}
	return r, nil
}
