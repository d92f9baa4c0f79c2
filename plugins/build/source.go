package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ConfigFile is the configuration that says where modules belong.
const ConfigFile = "wasmill.toml"

// signs are the files, or endings of files, by which a language shows itself.
// The first that fits counts.
var signs = []struct{ file, suffix, language string }{
	{suffix: ".go", language: "go"},
	{file: "Cargo.toml", language: "Rust"},
	{suffix: ".rs", language: "Rust"},
	{file: "asconfig.json", language: "AssemblyScript"},
	{suffix: ".ts", language: "AssemblyScript"},
	{suffix: ".js", language: "JavaScript"},
	{suffix: ".zig", language: "Zig"},
	{suffix: ".c", language: "C"},
	{suffix: ".py", language: "Python"},
}

// languageOf returns the language of the source in dir, "" when there is none.
func languageOf(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look for the source of a plugin: %w", err)
	}
	for _, sign := range signs {
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if e.Name() == sign.file || sign.suffix != "" && strings.HasSuffix(e.Name(), sign.suffix) {
				return sign.language, nil
			}
		}
	}
	return "", nil
}

func noSource(dir string) error {
	return fmt.Errorf("no plugin source in %s: expected a Go main package, as `wasmill new plugin NAME` makes one, or a %s that names plugins/NAME.wasm with the source in plugins/NAME",
		dir, ConfigFile)
}

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
		if language, err := languageOf(dir); err == nil && language != "" {
			return dir
		}
	}
	return ""
}
