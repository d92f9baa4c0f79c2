//go:build !torture

package event

// Failpoint does nothing: this binary was built without the tag "torture".
func Failpoint(string) {}
