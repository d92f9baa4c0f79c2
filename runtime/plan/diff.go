package plan

// Change is one difference between two plans.
type Change struct {
	Op      string   // "add", "remove" or "change"
	What    string   // "server", "admin", "topic", "plugin" or "pipeline"
	Name    string   // "" for server and admin
	Fields  []string // of a change: the TOML paths below the thing, sorted
	Restart bool     // takes effect only when the process starts again
}
