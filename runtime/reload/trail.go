package reload

import (
	"os"
	"path/filepath"
	"strings"
)

// step is a name in a directory whose change may change what a path leads to.
type step struct{ dir, name string }

// maxLinks bounds the symbolic links that are followed on one path.
const maxLinks = 40

// trail lists the steps on the way to an absolute path: every symbolic link on
// it, the file itself, and, when something on the way is missing, that. The
// directories are real ones. What cannot be looked at ends the trail.
func trail(path string) []step {
	var steps []step
	root := filepath.VolumeName(path) + string(filepath.Separator)
	at, rest := root, split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return append(steps, step{at, name})
		case info.Mode()&os.ModeSymlink != 0:
			steps = append(steps, step{at, name})
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return steps
			}
			if filepath.IsAbs(target) {
				at = root
			} else {
				target = filepath.Join(at, target)
				at = root
			}
			rest = append(split(target), rest[1:]...)
		case len(rest) == 1:
			return append(steps, step{at, name})
		default:
			at, rest = next, rest[1:]
		}
	}
	return steps
}

// split returns the names below the root of a path.
func split(path string) []string {
	path = filepath.Clean(path)[len(filepath.VolumeName(path)):]
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
