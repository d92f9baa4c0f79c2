// Package c holds the source of the SDK for plugins in C, C++ and Zig: the header
// wasmill.h, which is all of it.
package c

import "embed"

// Source is the header. The scaffold writes it beside a new plugin, so that the
// plugin builds offline.
//
//go:embed wasmill.h README.md
var Source embed.FS
