//go:build !unix

package host

import "os"

// lockShared has nothing to do: an open file cannot be removed here.
func lockShared(*os.File) error { return nil }

// tryLockExclusive leaves it to os.Remove to fail.
func tryLockExclusive(*os.File) bool { return true }
