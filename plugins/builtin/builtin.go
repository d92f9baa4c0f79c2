// Package builtin holds the plugins that every Wasmill binary carries. Each has
// a folder of its own with its documentation; the folder modules has the
// compiled modules, which `go generate` rebuilds. Several plugins can be one
// module, which is then told which of them it is to be (sdk.Instance.Builtin).
package builtin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

//go:generate go run ./build

// The modules are compressed: they are 18 MiB, of which a process needs one or
// two, for the moment in which it loads them.
var (
	//go:embed modules/*.wasm.zst
	modules embed.FS
	//go:embed modules/TOOLCHAIN
	toolchain string

	//go:embed */README.md
	docs embed.FS
)

// moduleOf says in which module a plugin is.
var moduleOf = map[string]string{
	"pass":      "pass",
	"threshold": "threshold",
	"filter":    "expressions",
	"map":       "expressions",
	"route":     "expressions",
	"explode":   "fields",
	"redact":    "fields",
	"sample":    "fields",
	"validate":  "schema",
}

// ErrUnknown is the error for a name that no plugin has.
var ErrUnknown = errors.New("there is no such built-in plugin")

// Names returns the names under which a configuration asks for the plugins
// (builtin = "filter"), sorted.
func Names() []string {
	names := make([]string, 0, len(moduleOf))
	for name := range moduleOf {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Modules returns what unpacks the modules, by the names of the plugins; see
// Module. The map is the caller's.
func Modules() map[string]func() ([]byte, error) {
	all := make(map[string]func() ([]byte, error), len(moduleOf))
	for name := range moduleOf {
		all[name] = func() ([]byte, error) { return Module(name) }
	}
	return all
}

// Module returns the compiled module of a plugin; ErrUnknown. It is unpacked at
// each call and the caller's own: who keeps it, keeps megabytes.
func Module(name string) ([]byte, error) {
	file, ok := moduleOf[name]
	if !ok {
		return nil, ErrUnknown
	}
	packed, err := modules.ReadFile("modules/" + file + ".wasm.zst")
	if err != nil {
		return nil, fmt.Errorf("read the built-in module %s: %w", file, err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("unpack the built-in module %s: %w", file, err)
	}
	defer d.Close()
	module, err := d.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack the built-in module %s: %w", file, err)
	}
	return module, nil
}

// Doc returns the documentation of a plugin in Markdown; ErrUnknown.
func Doc(name string) (string, error) {
	if _, ok := moduleOf[name]; !ok {
		return "", ErrUnknown
	}
	b, err := fs.ReadFile(docs, name+"/README.md")
	if err != nil {
		return "", fmt.Errorf("read the documentation of %s: %w", name, err)
	}
	return string(b), nil
}

// Summary returns the first sentence of a plugin's documentation, without marks.
func Summary(name string) string {
	doc, err := Doc(name)
	if err != nil {
		return ""
	}
	_, body, _ := strings.Cut(doc, "\n\n")
	paragraph, _, _ := strings.Cut(body, "\n\n")
	sentence, _, _ := strings.Cut(strings.ReplaceAll(paragraph, "\n", " "), ". ")
	return strings.NewReplacer("`", "", "*", "").Replace(strings.TrimSuffix(sentence, "."))
}

// Toolchain returns the version of Go that compiled the modules, as `go env
// GOVERSION` prints it.
func Toolchain() string { return strings.TrimSpace(toolchain) }
