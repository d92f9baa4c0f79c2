//go:build !linux

package main

// clockSynced is not known here.
func clockSynced() (synced, known bool) { return false, false }

// openFileLimit is not known here.
func openFileLimit(int) (limit uint64, of string, ok bool) { return 0, "", false }
