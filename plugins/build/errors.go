package build

// ToolchainError says that the machine lacks what the build needs: a fault of
// the environment, not of the source.
type ToolchainError struct {
	Tool    string // the command, "go"
	Message string // what is wrong and what to do, one sentence
	Err     error
}

func (e *ToolchainError) Error() string { return e.Message }

// Unwrap returns what looking for, or asking, the tool failed with.
func (e *ToolchainError) Unwrap() error { return e.Err }

// CompileError says that the compiler refused the source. Its messages have
// been written to the caller's writer, unchanged.
type CompileError struct {
	Dir string // of the source
	Err error
}

func (e *CompileError) Error() string {
	return "the source in " + e.Dir + " does not compile; the compiler's messages are above"
}

// Unwrap returns how the compiler ended.
func (e *CompileError) Unwrap() error { return e.Err }

// ModuleError says that the source compiles, but to a module that no host
// would load. The module was thrown away; an earlier one is still in place.
type ModuleError struct {
	Dir  string // of the source
	Err  error  // why the host refused it
	Hint string // what makes a plugin of source in its language
}

func (e *ModuleError) Error() string {
	text := "the source in " + e.Dir + " compiles, but to no plugin: " + e.Err.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap returns the host's refusal.
func (e *ModuleError) Unwrap() error { return e.Err }
