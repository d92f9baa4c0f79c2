// Package assemblyscript holds the source of the SDK for plugins in AssemblyScript.
package assemblyscript

import "embed"

// Source is the package that plugins import as "wasmill". The scaffold writes it
// beside a new plugin, so that the plugin builds offline.
//
//go:embed *.ts package.json README.md
var Source embed.FS
