package live

// ring keeps the newest records up to a number and a number of bytes. Records
// are numbered from 1 in the order of their coming, for ever.
type ring[T any] struct {
	records  []T
	sizes    []int
	bytes    int
	first    uint64 // number of records[0]
	most     int
	maxBytes int
}

func newRing[T any](most, maxBytes int) ring[T] {
	return ring[T]{first: 1, most: most, maxBytes: maxBytes}
}

func (r *ring[T]) add(v T, size int) {
	r.records, r.sizes = append(r.records, v), append(r.sizes, size)
	r.bytes += size
	drop := 0
	for len(r.records)-drop > r.most || r.bytes > r.maxBytes && len(r.records)-drop > 1 {
		r.bytes -= r.sizes[drop]
		drop++
	}
	if drop > 0 {
		// The front is given free when append moves the rest; until then at most
		// as much again is held.
		clear(r.records[:drop])
		r.records, r.sizes = r.records[drop:], r.sizes[drop:]
		r.first += uint64(drop)
	}
}

// last is the number of the newest record, 0 when there was none yet.
func (r *ring[T]) last() uint64 { return r.first + uint64(len(r.records)) - 1 }

// after returns a copy of at most n records behind the number seen, the number
// of the last of them, and how many in between are gone already.
func (r *ring[T]) after(seen uint64, n int) (records []T, upto, missed uint64) {
	seen = min(seen, r.last())
	if seen+1 < r.first {
		missed = r.first - 1 - seen
		seen = r.first - 1
	}
	from := int(seen + 1 - r.first)
	to := min(len(r.records), from+n)
	return append([]T(nil), r.records[from:to]...), seen + uint64(to-from), missed
}
