package build

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// ConfigFile is the configuration that says where modules belong.
const ConfigFile = "wasmill.toml"

// modulePath returns where the module of the source in dir belongs: where the
// nearest wasmill.toml, in dir or above, has a plugin with this source.
func modulePath(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		modules, err := readProject(filepath.Join(at, ConfigFile))
		switch {
		case err == nil:
			for _, module := range modules {
				if sourceOf(module) == dir {
					return module, nil
				}
			}
			return filepath.Join(dir, filepath.Base(dir)+".wasm"), nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case at == filepath.Dir(at):
			return filepath.Join(dir, filepath.Base(dir)+".wasm"), nil
		}
	}
}

// sourceOf returns the directory with the source of a module: for
// plugins/NAME.wasm it is plugins/NAME, or plugins itself. "" = neither has any.
func sourceOf(module string) string {
	for _, dir := range []string{strings.TrimSuffix(module, ".wasm"), filepath.Dir(module)} {
		if _, title, err := recognise(dir); err == nil && title != "" {
			return dir
		}
	}
	return ""
}
