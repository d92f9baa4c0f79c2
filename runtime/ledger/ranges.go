package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// Range is the sequences First to Last, both included.
type Range struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func (r Range) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d–%d", r.First, r.Last)
}

// Count is how many sequences a list of disjoint ranges holds.
func Count(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += r.Last - r.First + 1
	}
	return n
}

// Describe writes ranges for people, at most ten of them.
func Describe(ranges []Range) string {
	const most = 10
	parts := make([]string, 0, min(len(ranges), most))
	for i, r := range ranges {
		if i == most {
			return fmt.Sprintf("%s and %d more ranges", strings.Join(parts, ", "), len(ranges)-most)
		}
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ", ")
}

// union returns the sequences of either, sorted and disjoint.
func union(a, b []Range) []Range {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y Range) int {
		switch {
		case x.First < y.First:
			return -1
		case x.First > y.First:
			return 1
		}
		return 0
	})
	var out []Range
	for _, r := range all {
		if r.Last < r.First {
			continue
		}
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// subtract returns the sequences of a that are not in b. Both are sorted and disjoint.
func subtract(a, b []Range) []Range {
	var out []Range
	j := 0
	for _, r := range a {
		first := r.First
		for j < len(b) && b[j].Last < first {
			j++
		}
		k := j
		for k < len(b) && b[k].First <= r.Last && first <= r.Last {
			if b[k].First > first {
				out = append(out, Range{first, b[k].First - 1})
			}
			first = max(first, b[k].Last+1)
			k++
		}
		if first <= r.Last {
			out = append(out, Range{first, r.Last})
		}
	}
	return out
}

// above returns the sequences of ranges that are greater than floor.
func above(ranges []Range, floor uint64) []Range {
	if floor == 0 {
		return ranges
	}
	return subtract(ranges, []Range{{0, floor}})
}

// sequences turns numbers in any order, with repetitions, into ranges.
func sequences(seqs []uint64) []Range {
	sorted := slices.Clone(seqs)
	slices.Sort(sorted)
	var out []Range
	for _, s := range sorted {
		if n := len(out); n > 0 && s <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, s)
			continue
		}
		out = append(out, Range{s, s})
	}
	return out
}
