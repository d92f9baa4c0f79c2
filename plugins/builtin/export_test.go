package builtin

// ModuleOf returns the name of the module that a plugin is in.
func ModuleOf(name string) string { return moduleOf[name] }
