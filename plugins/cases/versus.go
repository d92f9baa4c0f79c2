package cases

import "slices"

// Compare is the unified diff of what came of an event in two versions, as JSON
// in one form for all that mean the same; "" when the same came of it. What was
// logged does not count.
func Compare(from, to string, a, b []Line) string {
	text := func(lines []Line) (out []string) {
		lines = slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Kind == LineLog })
		slices.SortStableFunc(lines, byKind)
		for _, l := range lines {
			out = append(out, l.shown()...)
		}
		return out
	}
	old, now := text(a), text(b)
	if slices.Equal(old, now) {
		return ""
	}
	return unified(from, to, old, now)
}
