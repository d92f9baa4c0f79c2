package host

import (
	"fmt"
	"path"
	"strings"
)

// panicPlace returns where in its source a Go guest panicked, as
// "main.handle (main.go:12)", from the dump that its runtime wrote: the first
// function of the goroutine that ran that is not the runtime's own. It returns
// "" for what is no such dump; the guest may have written anything.
func panicPlace(dump string) string {
	_, dump, ok := strings.Cut(dump, " [running]:\n")
	if !ok {
		return ""
	}
	for {
		call, rest, ok := strings.Cut(dump, "\n")
		source, rest, _ := strings.Cut(rest, "\n")
		// main.(*T).handle(0x1, {0x2, 0x3})
		//	/home/me/plugin/main.go:12 +0x58
		args := strings.LastIndexByte(call, '(')
		if !ok || args <= 0 || !strings.HasPrefix(source, "\t") {
			return ""
		}
		if fn := call[:args]; fn != "panic" && !strings.HasPrefix(fn, "runtime.") {
			at, _, _ := strings.Cut(source[1:], " ")
			return fmt.Sprintf("%s (%s)", fn, path.Base(at))
		}
		dump = rest
	}
}
