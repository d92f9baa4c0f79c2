// Command wasmill embeds a NATS JetStream server for durable topics and runs
// sandboxed WebAssembly plugins over them. This package is flags, signals, exit
// codes and wiring; everything else lives in the rooms it imports.
package main

import (
	"os"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/builtin"
)

// version is set at link time by make; see buildVersion for what stands in.
var version string

// compileWorker is the first argument of the processes in which the host
// compiles modules. It is no verb: nobody calls it by hand.
const compileWorker = "compile-worker"

func main() {
	if len(os.Args) == 3 && os.Args[1] == compileWorker {
		os.Exit(host.CompileWorker(os.Args[2], os.Stdin, os.Stdout))
	}
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
