package build

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"
)

// readProject returns the absolute paths of the modules that a configuration
// names, sorted. It reads nothing else of the file and does not validate it: a
// configuration whose modules have yet to be built is not valid, and what is
// wrong elsewhere in it is no reason not to build.
func readProject(file string) ([]string, error) {
	var project struct {
		Plugins map[string]struct {
			Path string `toml:"path"`
		} `toml:"plugins"`
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	if _, err := toml.DecodeFile(file, &project); err != nil {
		return nil, fmt.Errorf("read the plugins of %s: %w", file, err)
	}
	var modules []string
	for _, p := range project.Plugins {
		if p.Path == "" {
			continue // built into wasmill
		}
		if !filepath.IsAbs(p.Path) {
			p.Path = filepath.Join(filepath.Dir(file), p.Path)
		}
		if !slices.Contains(modules, p.Path) {
			modules = append(modules, p.Path)
		}
	}
	slices.Sort(modules)
	return modules, nil
}
