// Package rust holds the source of the SDK for plugins in Rust. The crate itself
// is in src.
package rust

import "embed"

// Source is the crate. The scaffold writes it beside a new plugin, so that the
// plugin builds offline.
//
//go:embed Cargo.toml README.md src examples
var Source embed.FS
