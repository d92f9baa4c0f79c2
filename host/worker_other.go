//go:build !unix

package host

import (
	"os/exec"
	"time"
)

func ownGroup(*exec.Cmd) {}

// limitProcess has nothing to set; guardWorker watches.
func limitProcess(workerLimits) {}

// processTime cannot be told; the worker's parent ends it after a while.
func processTime() time.Duration { return 0 }

func outOfTime(*exec.ExitError) bool { return false }
