package abi

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// layout is a table of the document: fields by name, with the size of the fixed part.
type layout struct {
	size   int
	fields map[string]field
}

type field struct{ offset, size int }

// layouts reads the tables whose header is "| offset | type | NAME, N bytes…".
func layouts(t *testing.T) map[string]layout {
	t.Helper()
	head := regexp.MustCompile(`^\| offset \| type \| ([a-z ]+), (\d+) bytes`)
	row := regexp.MustCompile(`^\| (\d+) \| (\w+) \| ([^|:;,]+)`)
	sizes := map[string]int{"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "bytes": 4}
	all := map[string]layout{}
	name := ""
	for line := range strings.Lines(Document) {
		if m := head.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2])
			name, all[m[1]] = m[1], layout{n, map[string]field{}}
			continue
		}
		if m := row.FindStringSubmatch(line); m != nil && name != "" {
			offset, _ := strconv.Atoi(m[1])
			if sizes[m[2]] == 0 {
				t.Fatalf("%s: there is no type %s", name, m[2])
			}
			all[name].fields[strings.TrimSpace(m[3])] = field{offset, sizes[m[2]]}
		} else if !strings.HasPrefix(line, "|") {
			name = ""
		}
	}
	return all
}

// read is a field of b.
func (l layout) read(t *testing.T, b []byte, name string) uint64 {
	t.Helper()
	f, ok := l.fields[name]
	if !ok {
		t.Fatalf("the document has no field %q in %v", name, l.fields)
	}
	var v [8]byte
	copy(v[:], b[f.offset:f.offset+f.size])
	return binary.LittleEndian.Uint64(v[:])
}

// check compares every field of a layout with what the codec has written, and
// sees that the fields fill the fixed part.
func (l layout) check(t *testing.T, b []byte, size int, want map[string]uint64) {
	t.Helper()
	if l.size != size {
		t.Errorf("the document says %d bytes, it is %d", l.size, size)
	}
	total := 0
	for name, f := range l.fields {
		total += f.size
		if _, ok := want[name]; !ok && !strings.HasPrefix(name, "`") {
			t.Errorf("no test for the field %q", name)
		}
	}
	if total != size {
		t.Errorf("the fields of the document have %d bytes, it is %d", total, size)
	}
	for name, v := range want {
		if got := l.read(t, b, name); got != v {
			t.Errorf("%s is %d where the document says, want %d", name, got, v)
		}
	}
}

// TestDocument: the layouts in ABI.md are those of the codec.
func TestDocument(t *testing.T) {
	all := layouts(t)
	headers := AppendHeader(nil, "key", "value")
	e := Event{Attempt: 3, Seq: 4, Time: 5, HeaderCount: 1, Subject: []byte("subjects"), Key: []byte("k"), Headers: headers, Payload: []byte("payload")}
	batch := make([]byte, BatchHeaderSize+EventSize(&e))
	PutBatchHeader(batch, BatchHeader{Kind: KindDrain, Count: 1, ID: 7, Now: 8}, len(batch))
	PutEvent(batch[BatchHeaderSize:], &e)
	var w ResponseWriter
	w.Reset()
	o := Output{Source: 9, Flags: FlagKeepHeaders, ID: 11, HeaderCount: 1, Subject: []byte("s"), Key: []byte("key"), Headers: headers, Payload: []byte("load")}
	w.Output(&o)
	w.Outcome(12, CodeRetry, 13, "why")
	response := w.Bytes()
	record := int(binary.LittleEndian.Uint32(response[ResponseHeaderSize:]))
	outcome := ResponseHeaderSize + record

	t.Run("batch header", func(t *testing.T) {
		all["batch header"].check(t, batch, BatchHeaderSize, map[string]uint64{
			"header length": BatchHeaderSize, "kind": 2, "event count": 1, "total length": uint64(len(batch)), "batch id": 7, "now": 8,
		})
	})
	t.Run("event", func(t *testing.T) {
		all["event"].check(t, batch[BatchHeaderSize:], EventHeaderSize, map[string]uint64{
			"record length": uint64(len(batch) - BatchHeaderSize), "flags": 0, "sequence in its topic": 4, "time stored": 5, "attempt": 3,
			"subject length": 8, "key length": 1, "headers length": uint64(len(headers)), "payload length": 7, "header count": 1,
		})
	})
	t.Run("header entry", func(t *testing.T) {
		all["header entry"].check(t, headers, HeaderEntrySize, map[string]uint64{"key length": 3, "value length": 5})
	})
	t.Run("response header", func(t *testing.T) {
		all["response header"].check(t, response, ResponseHeaderSize, map[string]uint64{
			"header length": ResponseHeaderSize, "outcome count": 1, "record count": 1, "total length": uint64(len(response)), "zero": 0,
		})
	})
	t.Run("output record", func(t *testing.T) {
		all["output record"].check(t, response[ResponseHeaderSize:], OutputHeaderSize, map[string]uint64{
			"record length": uint64(record), "source index": 9, "flags": 2, "output id": 11, "header count": 1,
			"subject length": 1, "key length": 3, "headers length": uint64(len(headers)), "payload length": 4,
		})
	})
	t.Run("outcome", func(t *testing.T) {
		all["outcome"].check(t, response[outcome:], OutcomeSize, map[string]uint64{
			"index of the event": 12, "code": 2, "zero": 0, "reason length": 3, "delay before a retry": 13, "reason offset": uint64(len(response) - 3),
		})
	})
	t.Run("the numbers that have names", func(t *testing.T) {
		for _, s := range []string{
			"`" + batchMagic + "`", "`" + responseMagic + "`",
			fmt.Sprintf("kind: %d data, %d timer, %d drain", KindData, KindTimer, KindDrain),
			fmt.Sprintf("code: %d drop, %d retry, %d dead letter", CodeDrop, CodeRetry, CodeDeadLetter),
			fmt.Sprintf("flags: %d payload by reference, %d keep headers", FlagPayloadRef, FlagKeepHeaders),
			fmt.Sprintf("%#x = none", NoSource),
			fmt.Sprintf("%#x is %d.%d", Version, Major, Minor),
			fmt.Sprintf("%d debug, %d info, %d warn, %d error", LevelDebug, LevelInfo, LevelWarn, LevelError),
			fmt.Sprintf("kind (%d counter, %d gauge, %d histogram)", MetricCounter, MetricGauge, MetricHistogram),
			"Module `" + ImportModule + "`", "`" + PanicReason + "`", ExportStart,
			fmt.Sprintf("The plugin ABI, version %d", Major),
		} {
			if !strings.Contains(Document, s) {
				t.Errorf("the document does not say %q", s)
			}
		}
	})
}
