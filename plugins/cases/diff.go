package cases

import (
	"fmt"
	"strings"
)

// mostCells bounds the table of matched: beyond it, what is between the common
// beginning and end of two texts counts as different altogether.
const mostCells = 4 << 20

// matched returns the pairs of equal elements of a longest common subsequence.
func matched(a, b []string) [][2]int {
	var pairs [][2]int
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		pairs = append(pairs, [2]int{start, start})
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
	}
	pairs = append(pairs, longest(a[start:endA], b[start:endB], start)...)
	for i := endA; i < len(a); i++ {
		pairs = append(pairs, [2]int{i, endB + i - endA})
	}
	return pairs
}

// longest is the middle part of matched; base is added to both indexes.
func longest(a, b []string, base int) [][2]int {
	if len(a) == 0 || len(b) == 0 || len(a)*len(b) > mostCells {
		return nil
	}
	width := len(b) + 1
	length := make([]int32, (len(a)+1)*width) // of the rest from i, j on
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i*width+j] = length[(i+1)*width+j+1] + 1
			} else {
				length[i*width+j] = max(length[(i+1)*width+j], length[i*width+j+1])
			}
		}
	}
	var pairs [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			pairs = append(pairs, [2]int{base + i, base + j})
			i, j = i+1, j+1
		case length[(i+1)*width+j] >= length[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// around is how many equal lines are shown around what differs.
const around = 3

// edit is one line of a diff: ' ', '-' or '+'.
type edit struct {
	op   byte
	text string
}

// unified is the unified diff of two texts, without the numbers of lines, which
// would be those of neither file.
func unified(from, to string, a, b []string) string {
	var edits []edit
	i, j := 0, 0
	for _, p := range append(matched(a, b), [2]int{len(a), len(b)}) {
		for ; i < p[0]; i++ {
			edits = append(edits, edit{'-', a[i]})
		}
		for ; j < p[1]; j++ {
			edits = append(edits, edit{'+', b[j]})
		}
		if i < len(a) {
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	skipped := false
	for k, e := range edits {
		near := false
		for n := max(0, k-around); n <= min(len(edits)-1, k+around); n++ {
			near = near || edits[n].op != ' '
		}
		if !near {
			skipped = true
			continue
		}
		if skipped {
			out.WriteString(" …\n")
			skipped = false
		}
		fmt.Fprintf(&out, "%c%s\n", e.op, e.text)
	}
	return out.String()
}
