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

	"github.com/wasmill/wasmill/plugins/builtin"
	"github.com/wasmill/wasmill/runtime/config"
)

// templates are, by folder: shared, what every scaffold has; plugin/shared, what
// every plugin has; plugin/LANGUAGE, what one in that language has; project, what
// a project has. A file becomes one of the same path below its folder, without
// the suffix .tmpl when it is a template.
//
//go:embed all:templates
var templates embed.FS

// folder is a folder of templates, or one of them, and the folder where what
// becomes of it goes.
type folder struct{ from, to string }

// names is what the TOML names of plugins, topics and pipelines look like, too.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckName returns why name cannot be that of a plugin or a project.
func CheckName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name for a plugin or project: use lower-case letters, digits and dashes, at most 63, and no dash in front", name)
	}
	return nil
}

// Plugin makes a plugin called name, in a language of Languages, with its test
// and a pipeline that runs it, in dir. It makes dir when it is not there and
// refuses one that holds anything already.
func Plugin(dir, lang, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	l, err := find(lang)
	if err != nil {
		return err
	}
	return write(dir, l, values{Name: name, Plugin: name, Ignore: l.ignore},
		folder{"shared", ""}, folder{"plugin/shared", ""}, folder{"plugin/" + l.name, ""})
}

// Pass makes a plugin that passes every event on, for benchmarks, under the same
// conditions as Plugin. It has neither tests nor cases.
func Pass(dir, lang string) error {
	l, err := find(lang)
	if err != nil {
		return err
	}
	return write(dir, l, values{Name: "pass", Plugin: "pass", Ignore: l.ignore},
		folder{"plugin/" + l.name, ""}, folder{"pass/" + l.name, ""})
}

// Project makes a project called name with two plugins in Go and a pipeline
// through both, in dir, under the same conditions as Plugin.
func Project(dir, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return write(dir, languages[0], values{Name: name, Plugin: "filter", Ignore: languages[0].ignore},
		folder{"shared", ""}, folder{"project", ""}, folder{"plugin/go/go.mod.tmpl", ""},
		folder{"plugin/go/main.go.tmpl", "plugins/filter"}, folder{"plugin/go/main_test.go.tmpl", "plugins/filter"})
}

// values are what the templates are filled with.
type values struct {
	Name   string   // of the plugin or the project
	Plugin string   // of the plugin whose source the template is
	Ignore []string // what the language's compiler leaves behind, as .gitignore says it
}

// Go is the version that go.mod states.
func (values) Go() string { return Go }

// Crate is the name of the plugin as a Rust package, which does not begin with a
// digit and is not that of the SDK.
func (v values) Crate() string {
	if c := v.Name[0]; c >= '0' && c <= '9' || v.Name == "wasmill" {
		return "plugin-" + v.Name
	}
	return v.Name
}

// GoMinor is that version as people say it.
func (values) GoMinor() string { return strings.TrimSuffix(Go, ".0") }

func write(dir string, l language, v values, folders ...folder) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s is not empty (it holds %s): choose another name or another directory", dir, entries[0].Name())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look into %s: %w", dir, err)
	}
	contents := map[string][]byte{}
	for _, f := range folders {
		if err := fill(contents, f, v); err != nil {
			return err
		}
	}
	if contents["wasmill.schema.json"], err = config.Schema(builtin.Names()...); err != nil {
		return fmt.Errorf("make the schema of wasmill.toml: %w", err)
	}
	if err := l.addSDK(contents); err != nil {
		return fmt.Errorf("read the SDK: %w", err)
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

// fill adds what the templates of a folder make.
func fill(contents map[string][]byte, f folder, v values) error {
	root := path.Join("templates", f.from)
	return fs.WalkDir(templates, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the templates: %w", err)
		}
		if entry.IsDir() {
			return nil
		}
		below := strings.TrimPrefix(name, root+"/")
		if name == root {
			below = path.Base(name)
		}
		contents[path.Join(f.to, strings.TrimSuffix(below, ".tmpl"))], err = render(name, v)
		return err
	})
}

func render(name string, v values) ([]byte, error) {
	source, err := templates.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the template %s: %w", name, err)
	}
	if path.Ext(name) != ".tmpl" {
		return source, nil
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(source))
	if err != nil {
		return nil, fmt.Errorf("parse the template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("fill the template %s: %w", name, err)
	}
	return out.Bytes(), nil
}
