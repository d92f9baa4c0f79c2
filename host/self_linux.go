package host

// selfPath is this program, also when its file has been replaced or removed.
func selfPath() (string, error) { return "/proc/self/exe", nil }
