// Package builtin holds the plugins that every Wasmill binary carries. Each is
// a guest of its own in a folder of its own; the folder modules has the
// compiled modules, which `go generate` rebuilds.
package builtin

import (
	_ "embed"
	"strings"
)

//go:generate go run ./build

// One variable for each module, not an embed.FS: reading a file of that would
// copy it to the heap, 2 MiB a module in every process that uses none of them.
// What is embedded like this is paged in from the binary when it is used.
var (
	//go:embed modules/pass.wasm
	pass []byte
	//go:embed modules/threshold.wasm
	threshold []byte

	//go:embed modules/TOOLCHAIN
	toolchain string
)

// Modules returns the compiled modules by the name under which a configuration
// asks for them (builtin = "threshold"). The map is the caller's, the modules
// are shared and must not be written to.
func Modules() map[string][]byte {
	return map[string][]byte{
		"pass":      pass,
		"threshold": threshold,
	}
}

// Toolchain returns the version of Go that compiled the modules, as `go env
// GOVERSION` prints it.
func Toolchain() string { return strings.TrimSpace(toolchain) }
