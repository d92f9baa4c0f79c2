package broker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checkRecovered finds streams that have messages on disk and that the server
// could not recover. It only warns about them (a flipped bit in meta.inf is
// enough) and goes on without; creating the topic anew on top of its old
// directory would lose all it held.
func (b *Broker) checkRecovered(ctx context.Context) error {
	names := b.js.StreamNames(ctx)
	recovered := make(map[string]bool)
	for name := range names.Name() {
		recovered[name] = true
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the streams of the store: %w", err)
	}
	dir := filepath.Join(b.cfg.StoreDir, "jetstream", b.embedded.server.GlobalAccount().GetName(), "streams")
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return envErrorf(err, "store directory %s cannot be read: %v", dir, cause(err))
	}
	for _, entry := range entries {
		name := entry.Name()
		// The server deletes streams under a name with a dot in front.
		if !entry.IsDir() || strings.HasPrefix(name, ".") || !holdsMessages(filepath.Join(dir, name)) {
			continue
		}
		if !recovered[name] {
			return envErrorf(nil, "topic %q cannot be recovered from %s (the log says why); restore that directory from a backup, or move it away to start the topic empty",
				name, filepath.Join(dir, name))
		}
	}
	return nil
}

// holdsMessages reports whether a stream's directory has a block with something in it.
func holdsMessages(dir string) bool {
	blocks, _ := filepath.Glob(filepath.Join(dir, "msgs", "*.blk")) // the pattern is well-formed
	for _, b := range blocks {
		if fi, err := os.Stat(b); err == nil && fi.Size() > 0 {
			return true
		}
	}
	return false
}
