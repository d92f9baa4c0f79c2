//go:build race

package host

// raceDetector: its shadow memory is many times a worker's own.
const raceDetector = true
