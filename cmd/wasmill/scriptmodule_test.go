package main

import (
	"bytes"
	"maps"
	"os"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wasmill/wasmill/host/hosttest/broken"
	wt "github.com/wasmill/wasmill/host/wasmtest"
	"github.com/wasmill/wasmill/plugins/manifest"
	"github.com/wasmill/wasmill/sdk/abi"
)

// scriptModules are what the script command module makes, by name.
var scriptModules = map[string]func() ([]byte, error){
	"labelled": labelled,
	"model":    func() ([]byte, error) { return broken.Model(), nil },
	// The same, changed after it was labelled.
	"changed": func() ([]byte, error) {
		module, err := labelled()
		return bytes.Replace(module, []byte("run_the_batch"), []byte("run_the_botch"), 1), err
	},
}

// labelled is a plugin that takes every event and emits none, with a manifest.
func labelled() ([]byte, error) {
	m := new(wt.Module)
	m.ImportFunc(abi.ImportModule, abi.ImportNow, "", wt.I64)
	return manifest.Write(m.Plugin(wt.Plugin{}).Bytes(), manifest.Manifest{
		Name: "strong", Version: "1.2.0", Language: "c", Compiler: "clang 14",
		Source: &manifest.Source{Revision: string(bytes.Repeat([]byte("0a"), 20)), Dirty: true},
	})
}

// cmdModule writes a module that is made for a script, or is wrong by its name:
// module labelled strong.wasm, module 'a misaligned buffer' bad.wasm.
func cmdModule(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: module NAME FILE")
	}
	for _, c := range broken.Cases() {
		if c.Name == args[0] {
			ts.Check(os.WriteFile(ts.MkAbs(args[1]), c.Module, 0o600))
			return
		}
	}
	if scriptModules[args[0]] == nil {
		ts.Fatalf("module %q: there are %v and the cases of host/hosttest/broken", args[0], slices.Sorted(maps.Keys(scriptModules)))
	}
	module, err := scriptModules[args[0]]()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), module, 0o600))
}
