//go:build !wasip1

package abi

import _ "embed"

// Document is the description of the ABI for those who implement it, in
// Markdown. Guests do not carry it.
//
//go:embed ABI.md
var Document string
