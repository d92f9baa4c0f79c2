package inspect

import (
	"embed"
	"io/fs"
)

//go:embed *.go
var source embed.FS

// Source returns the files of this package: what has been inspected by one
// version of it need not be inspected by the same version again.
func Source() fs.FS { return source }
