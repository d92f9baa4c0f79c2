//go:build !race

package host

import "time"

const raceDetector = false

// workerCPU is what a worker may use of processor time.
const workerCPU = 30 * time.Second
