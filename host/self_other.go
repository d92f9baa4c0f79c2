//go:build !linux

package host

import "os"

func selfPath() (string, error) { return os.Executable() }
