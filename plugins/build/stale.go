package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Plugin is a module with the directory that its source is in, both absolute.
type Plugin struct{ Source, Module string }

// Plugins lists what All would build in dir, with the source of each. It is
// empty where there is no source.
func Plugins(dir string) ([]Plugin, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	modules, err := readProject(filepath.Join(dir, ConfigFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Plugin
	for _, module := range modules {
		if source := sourceOf(module); source != "" {
			all = append(all, Plugin{Source: source, Module: module})
		}
	}
	return all, nil
}

// sourceExts are the endings of files that modules are made of, in any of the
// languages, and sourceNames such files with other endings.
var (
	sourceExts  = []string{".go", ".rs", ".ts", ".js", ".c", ".h", ".cc", ".cpp", ".hpp", ".zig"}
	sourceNames = []string{"go.mod", "go.sum", "Cargo.toml", "Cargo.lock", "asconfig.json", "package.json", "build.zig.zon"}
)

// IsSource says whether a file is one that modules are made of: not what a
// build leaves behind, nor a test, a case, or the configuration.
func IsSource(name string) bool {
	base := filepath.Base(name)
	return !strings.HasPrefix(base, ".") && !strings.HasSuffix(base, "_test.go") &&
		(slices.Contains(sourceNames, base) || slices.Contains(sourceExts, filepath.Ext(base)))
}

// IgnoredDir says whether a directory of that name holds no source: hidden ones,
// and those in which tools keep what they have made or fetched.
func IgnoredDir(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, ".") || slices.Contains([]string{"node_modules", "target", "zig-out", "cases", "testdata"}, base)
}

// Affected lists those of plugins whose modules are made of the file: the one in
// whose source it is, or all of them when it is in none's.
func Affected(plugins []Plugin, file string) []Plugin {
	var own []Plugin
	depth := -1
	for _, p := range plugins {
		if file != p.Source && !strings.HasPrefix(file, p.Source+string(filepath.Separator)) || len(p.Source) < depth {
			continue
		}
		if len(p.Source) > depth { // the innermost
			own, depth = nil, len(p.Source)
		}
		own = append(own, p)
	}
	if own == nil {
		return plugins
	}
	return own
}

// Stale lists those of the plugins of dir whose module is missing, or older than
// a file that it is made of.
func Stale(dir string) ([]Plugin, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	plugins, err := Plugins(dir)
	if err != nil || len(plugins) == 0 {
		return nil, err
	}
	newest := map[string]time.Time{} // by module
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it has just gone
		case err != nil:
			return err
		case entry.IsDir():
			if name != dir && IgnoredDir(name) {
				return filepath.SkipDir
			}
			return nil
		case !IsSource(name):
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // it has just gone
		}
		for _, p := range Affected(plugins, name) {
			if info.ModTime().After(newest[p.Module]) {
				newest[p.Module] = info.ModTime()
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var stale []Plugin
	for _, p := range plugins {
		info, err := os.Stat(p.Module)
		if err != nil || info.ModTime().Before(newest[p.Module]) {
			stale = append(stale, p)
		}
	}
	return stale, nil
}
