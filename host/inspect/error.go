package inspect

import (
	"fmt"
	"strings"
)

// Kind says why a module is refused.
type Kind uint8

const (
	// NoModule is a file of something else.
	NoModule Kind = iota
	// Malformed does not follow the specification.
	Malformed
	// Unsupported needs a proposal that the host does not have.
	Unsupported
	// TooLarge is over one of the Caps.
	TooLarge
)

// Error says why a module is refused: what is wrong, where, and what to do.
type Error struct {
	Kind    Kind
	Rule    string // the proposal of Unsupported ("threads"), the cap of TooLarge ("locals of a function"); else empty
	Section string // "code", "type", …; empty for the module as a whole
	Index   int    // of the entry in its section or index space; -1 = none
	Func    string // the function's name, if the error is in a function and the module says it
	Offset  int    // in the module, bytes
	Message string // what is wrong and, unless Malformed, what to do about it
}

// Error reads like "code section: function 7 (main.run) at byte 0x2c1: …".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Kind == Malformed {
		b.WriteString("is not a valid WebAssembly module: ")
	}
	if e.Section != "" {
		b.WriteString(e.Section + " section: ")
	}
	if e.Index >= 0 {
		fmt.Fprintf(&b, "%s %d ", entryName(e.Section), e.Index)
		if e.Func != "" {
			fmt.Fprintf(&b, "(%s) ", e.Func)
		}
	}
	if e.Section != "" {
		fmt.Fprintf(&b, "at byte %#x: ", e.Offset)
	}
	b.WriteString(e.Message)
	return b.String()
}

func entryName(section string) string {
	switch section {
	case "code", "function":
		return "function"
	case "custom":
		return "section"
	case "":
		return "entry"
	}
	return section
}

// quote makes a name of a module printable and short.
func quote(name []byte) string {
	const most = 100
	if len(name) > most {
		return fmt.Sprintf("%q…", name[:most])
	}
	return fmt.Sprintf("%q", name)
}
