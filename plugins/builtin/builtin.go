// Package builtin holds the plugins that every Wasmill binary carries. Each is
// a guest of its own in a folder of its own; the folder modules has the
// compiled modules, which `go generate` rebuilds.
package builtin

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:generate go run ./build

//go:embed modules
var modules embed.FS

// Modules returns the compiled modules by the name under which a configuration
// asks for them (builtin = "threshold"). The map is the caller's, the modules
// are shared and must not be written to. A build from a checkout without
// compiled modules has none.
func Modules() map[string][]byte {
	found := map[string][]byte{}
	files, _ := fs.Glob(modules, "modules/*.wasm") // the pattern is well-formed, the only error there is
	for _, file := range files {
		module, err := modules.ReadFile(file)
		if err != nil {
			continue // an embedded file can be read
		}
		found[strings.TrimSuffix(path.Base(file), ".wasm")] = module
	}
	return found
}

// Toolchain returns the version of Go that compiled the modules, as `go env
// GOVERSION` prints it; "" when there are none.
func Toolchain() string {
	version, _ := modules.ReadFile("modules/TOOLCHAIN")
	return strings.TrimSpace(string(version))
}
