// Command expressions is the module of the ready-made plugins that take
// expressions. They share one, because the language is most of it: its code is
// compiled once and is in memory once.
package main

import (
	"errors"

	"github.com/wasmill/wasmill/plugins/builtin/filter"
	mapping "github.com/wasmill/wasmill/plugins/builtin/map"
	"github.com/wasmill/wasmill/plugins/builtin/route"
	"github.com/wasmill/wasmill/sdk"
)

func init() { sdk.HandleOpen(open) }

func open(in *sdk.Instance) (sdk.Handler, error) {
	switch in.Builtin {
	case "filter":
		return filter.Open(in)
	case "map":
		return mapping.Open(in)
	case "route":
		return route.Open(in)
	}
	return nil, errors.New("this module is filter, map and route: it is used by builtin = \"filter\" and so on, not by its path")
}

func main() {}
