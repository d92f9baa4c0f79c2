// Command wasmill embeds a NATS JetStream server for durable topics and runs
// sandboxed WebAssembly plugins over them. This package is flags, signals, exit
// codes and wiring; everything else lives in the rooms it imports.
package main

import (
	"os"

	"github.com/wasmill/wasmill/plugins/builtin"
)

// version is set at link time by make; see buildVersion for what stands in.
var version string

func main() {
	a := &app{
		stdin:    os.Stdin,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		getenv:   os.Getenv,
		version:  buildVersion(version),
		builtins: builtin.Modules(),
		exit:     os.Exit,
	}
	os.Exit(a.main(os.Args[1:]))
}
