// Command pass is a plugin that hands every event on as it is.
package main

import "github.com/wasmill/wasmill/sdk"

func init() { sdk.Handle(pass) }

func pass(_ *sdk.Event, out *sdk.Out) error {
	out.Pass()
	return nil
}

func main() {}
