package bench

import (
	"fmt"
	"strconv"
)

// EventBytes is the size of every payload.
const EventBytes = 256

// threshold is the filter of the JSON variants: half of the events pass.
const threshold = 4.5

// payload returns a JSON document of EventBytes bytes. Magnitudes run evenly
// over 0.0 … 8.9.
func payload(i int) []byte {
	b := fmt.Appendf(nil, `{"id":%d,"net":"us","mag":%d.%d,"place":"%dkm NNE of Amboy","pad":"`, i, i%9, i%10, i%100)
	for len(b) < EventBytes-2 {
		b = append(b, 'x')
	}
	return append(b, '"', '}')
}

// stamped returns a payload that carries the send time in nanoseconds and the
// event's number, both at fixed places.
func stamped(buf []byte, now int64, n int) []byte {
	buf = append(buf[:0], `{"t":`...)
	buf = append(buf, fmt.Sprintf("%020d", now)...)
	buf = append(buf, `,"n":`...)
	buf = append(buf, fmt.Sprintf("%012d", n)...)
	buf = append(buf, `,"mag":9,"pad":"`...)
	for len(buf) < EventBytes-2 {
		buf = append(buf, 'x')
	}
	return append(buf, '"', '}')
}

// unstamp reads what stamped wrote.
func unstamp(b []byte) (sent int64, n int, err error) {
	if len(b) != EventBytes {
		return 0, 0, fmt.Errorf("output has %d bytes, want %d", len(b), EventBytes)
	}
	sent, err = strconv.ParseInt(string(b[5:25]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read the send time: %w", err)
	}
	n, err = strconv.Atoi(string(b[30:42]))
	if err != nil {
		return 0, 0, fmt.Errorf("read the event's number: %w", err)
	}
	return sent, n, nil
}
