package event

import "hash/crc32"

// Partition is the partition, of n, to which events with that key belong. It is
// the same in every process and version: what a pipeline has committed is
// written down by partition, and is told from what it has not by this function.
func Partition(key []byte, n int) int {
	if n <= 1 {
		return 0
	}
	h := uint64(crc32.Update(0, castagnoli, key)) * 0x9E3779B97F4A7C15 // spreads what differs in one bit only
	return int((h >> 32) * uint64(n) >> 32)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only
