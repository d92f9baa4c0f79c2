// Package scaffold writes the first files of a plugin or a project: source that
// builds and passes its test, a configuration that runs it, a few real events,
// and a copy of the SDK, so that all of it works without a network.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/sdk"
)

// Go is the version of the language that scaffolded modules ask for: that of
// the SDK they are compiled with.
const Go = "1.26.0"

// sdkDir is where the copy of the SDK lies in what is scaffolded. The dot keeps
// it out of `./...`.
const sdkDir = ".wasmill"

//go:embed templates
var templates embed.FS

// file is one file to write: the template from which it is made, and where.
type file struct{ template, path string }

var common = []file{
	{"shared/go.mod.tmpl", "go.mod"},
	{"shared/gitignore.tmpl", ".gitignore"},
	{"shared/events.ndjson", "events.ndjson"},
}

var pluginFiles = []file{
	{"plugin/main.go.tmpl", "main.go"},
	{"plugin/main_test.go.tmpl", "main_test.go"},
	{"plugin/wasmill.toml.tmpl", "wasmill.toml"},
	{"plugin/README.md.tmpl", "README.md"},
}

var projectFiles = []file{
	{"plugin/main.go.tmpl", "plugins/filter/main.go"},
	{"plugin/main_test.go.tmpl", "plugins/filter/main_test.go"},
	{"project/plugins/label/main.go.tmpl", "plugins/label/main.go"},
	{"project/plugins/label/main_test.go.tmpl", "plugins/label/main_test.go"},
	{"project/wasmill.toml.tmpl", "wasmill.toml"},
	{"project/README.md.tmpl", "README.md"},
}

// names is what the TOML names of plugins, topics and pipelines look like, too.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckName returns why name cannot be that of a plugin or a project.
func CheckName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name for a plugin or project: use lower-case letters, digits and dashes, at most 63, and no dash in front", name)
	}
	return nil
}

// Plugin makes a plugin called name, in Go, with its test and a pipeline that
// runs it, in dir. It makes dir when it is not there and refuses one that holds
// anything already.
func Plugin(dir, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return write(dir, pluginFiles, values{Name: name, Plugin: name})
}

// Project makes a project called name with two plugins and a pipeline through
// both, in dir, under the same conditions as Plugin.
func Project(dir, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return write(dir, projectFiles, values{Name: name, Plugin: "filter"})
}

// values are what the templates are filled with.
type values struct {
	Name   string // of the plugin or the project
	Plugin string // of the plugin whose source the template is
}

// Go is the version that go.mod states.
func (values) Go() string { return Go }

// GoMinor is that version as people say it.
func (values) GoMinor() string { return strings.TrimSuffix(Go, ".0") }

func write(dir string, files []file, v values) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s is not empty (it holds %s): choose another name or another directory", dir, entries[0].Name())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look into %s: %w", dir, err)
	}
	contents := map[string][]byte{}
	for _, f := range append(common[:len(common):len(common)], files...) {
		if contents[f.path], err = render(f, v); err != nil {
			return err
		}
	}
	if contents["wasmill.schema.json"], err = config.Schema(); err != nil {
		return fmt.Errorf("make the schema of wasmill.toml: %w", err)
	}
	if err := addSDK(contents); err != nil {
		return err
	}
	for name, content := range contents {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("make the directory of %s: %w", name, err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func render(f file, v values) ([]byte, error) {
	source, err := templates.ReadFile("templates/" + f.template)
	if err != nil {
		return nil, fmt.Errorf("read the template of %s: %w", f.path, err)
	}
	if path.Ext(f.template) != ".tmpl" {
		return source, nil
	}
	t, err := template.New(f.template).Option("missingkey=error").Parse(string(source))
	if err != nil {
		return nil, fmt.Errorf("parse the template of %s: %w", f.path, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("fill the template of %s: %w", f.path, err)
	}
	return out.Bytes(), nil
}

// addSDK adds the SDK's source, without its tests, as a module of its own.
func addSDK(contents map[string][]byte) error {
	contents[sdkDir+"/go.mod"] = []byte("module github.com/wasmill/wasmill\n\ngo " + Go + "\n")
	return fs.WalkDir(sdk.Source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the SDK: %w", err)
		}
		if entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		content, err := fs.ReadFile(sdk.Source, name)
		if err != nil {
			return fmt.Errorf("read the SDK: %w", err)
		}
		contents[path.Join(sdkDir, "sdk", name)] = content
		return nil
	})
}
