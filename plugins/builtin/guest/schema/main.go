// Command schema is the module of the ready-made plugin validate.
package main

import (
	"github.com/wasmill/wasmill/plugins/builtin/validate"
	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.HandleOpen(validate.Open) }

func main() {}
