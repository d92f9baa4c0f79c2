// Package sdk is what a Wasmill plugin in Go imports. A plugin is a main
// package whose init registers a Handler:
//
//	package main
//
//	import "github.com/wasmill/wasmill/sdk"
//
//	func init() { sdk.Handle(strong) }
//
//	func strong(e *sdk.Event, out *sdk.Out) error {
//		if m, ok := e.Find("/properties/mag").Float(); !ok || m < 4.5 {
//			return sdk.Drop
//		}
//		out.Pass()
//		return nil
//	}
//
//	func main() {}
//
// It is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags=-w -o p.wasm .
//
// # What a handler decides
//
// A handler that returns nil is done with its event: what it handed to Out is
// emitted, in that order. A handler that returns an error emits nothing. Drop,
// RetryAfter and DeadLetter, and errors that wrap them, say what becomes of the
// event; any other error asks for a retry with the error's text as the reason,
// and after the last attempt the pipeline's on_failure applies. A panic fails
// its event in the same way, and no other.
//
// # Views
//
// The byte slices that Event returns are views of a buffer that the next batch
// overwrites. A handler reads them while it runs and copies what it keeps; it
// does not write to them.
//
// # Concurrency
//
// An instance serves one partition of one pipeline: its handler is called for
// one event after the other, in order, never concurrently. Goroutines that a
// handler starts run only while a later call runs; they must not use Out.
//
// # Testing
//
// Outside of WebAssembly the package works, too: package sdktest runs the
// registered handler on events in a plain Go test.
//
// TinyGo is untested; the package avoids what TinyGo is known to lack.
package sdk

import (
	"errors"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// Handler processes one event. See the package documentation for what its
// result means.
type Handler func(e *Event, out *Out) error

// Opener makes the handler of a new instance. An error refuses the instance,
// and with it the configuration that wanted it.
type Opener func(in *Instance) (Handler, error)

// Value is a JSON value inside an event or a configuration; see package jsonptr.
type Value = jsonptr.Value

// Handle registers h as the plugin. Call Handle, HandleOpen or HandleConfig
// once, in an init function: main does not run in a guest.
func Handle(h Handler) {
	HandleOpen(func(*Instance) (Handler, error) { return h, nil })
}

// HandleOpen registers a plugin whose instances have state or read their
// configuration: open is called once for each instance, before its first event.
func HandleOpen(open Opener) {
	if registered != nil {
		panic("sdk: a handler is already registered")
	}
	registered = open
}

// registered is the plugin of this module. A module is one plugin and has no
// main to hand it over, so it lives here; written by HandleOpen only.
var registered Opener

var errNoHandler = errors.New("no handler: call sdk.Handle in an init function")

// Instance is one running copy of the plugin: it serves one partition of one
// pipeline. Its fields do not change.
type Instance struct {
	Plugin    string   // name of the plugin in the configuration
	Pipeline  string   // name of the pipeline
	Partition int      // from 0
	Outputs   []string // names of the outputs; the first is "default"
	Grants    []string // what the plugin may use: "clock", "random", "secret"
	Config    Value    // the plugin's configuration as a JSON object; may be absent
	Builtin   string   // name of a ready-made plugin, several of which can be one module; else ""

	closers []func(*Out) error
}

// OnClose has f called when the instance ends: when the runtime stops, or when
// a reload replaces the plugin. f may emit; it has no event to pass on. Several
// are called in the order of registration. The instance does not end with
// OnClose when it is thrown away after a fault.
func (in *Instance) OnClose(f func(out *Out) error) { in.closers = append(in.closers, f) }

// HasOutput reports whether the pipeline has an output of that name. An Opener
// uses it to refuse a configuration that names others.
func (in *Instance) HasOutput(name string) bool {
	for _, o := range in.Outputs {
		if o == name {
			return true
		}
	}
	return false
}

// newInstance reads the document of wasmill_open. Fields that are not there
// have their zero value; the outputs are then the default one. doc is kept.
func newInstance(doc []byte) (*Instance, error) {
	in := &Instance{}
	if len(doc) > 0 {
		root, ok := jsonptr.Find(doc, "")
		if !ok || root.Kind() != jsonptr.Object {
			return nil, errors.New("the document of wasmill_open is not a JSON object")
		}
		partition, _ := root.Find("/partition").Int()
		in.Plugin = root.Find("/plugin").String()
		in.Pipeline = root.Find("/pipeline").String()
		in.Partition = int(partition)
		in.Config = root.Find("/config")
		in.Builtin = root.Find("/builtin").String()
		for v := range root.Find("/outputs").Elements() {
			in.Outputs = append(in.Outputs, v.String())
		}
		for v := range root.Find("/grants").Elements() {
			in.Grants = append(in.Grants, v.String())
		}
	}
	if len(in.Outputs) == 0 {
		in.Outputs = []string{"default"}
	}
	return in, nil
}
