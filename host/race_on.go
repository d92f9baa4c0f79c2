//go:build race

package host

import "time"

// raceDetector says that this is a build for tests, whose workers are many
// times slower and larger.
const raceDetector = true

// workerCPU is what a worker may use of processor time.
const workerCPU = 10 * time.Minute
