// Command fields is the module of the ready-made plugins that work on fields
// and need no expressions: it is a third of the size of those that do.
package main

import (
	"errors"

	"github.com/wasmill/wasmill/plugins/builtin/explode"
	"github.com/wasmill/wasmill/plugins/builtin/redact"
	"github.com/wasmill/wasmill/plugins/builtin/sample"
	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.HandleOpen(open) }

func open(in *sdk.Instance) (sdk.Handler, error) {
	switch in.Builtin {
	case "explode":
		return explode.Open(in)
	case "redact":
		return redact.Open(in)
	case "sample":
		return sample.Open(in)
	}
	return nil, errors.New("this module is explode, redact and sample: it is used by builtin = \"redact\" and so on, not by its path")
}

func main() {}
