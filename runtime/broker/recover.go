package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// recovered readies a server that has just started: it finds streams that have
// messages on disk and that the server could not recover, and makes every topic
// lean in memory.
//
// The server only warns about such a stream (a flipped bit in meta.inf is
// enough) and goes on without; creating the topic anew on top of its old
// directory would lose all it held.
func (e *embedded) recovered() error {
	streams, err := e.streamNames()
	if err != nil {
		return err
	}
	dir := streamsDir(e.cfg.StoreDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return envErrorf(err, "store directory %s cannot be read: %v", dir, cause(err))
	}
	for _, entry := range entries {
		name := entry.Name()
		// The server deletes streams under a name with a dot in front.
		if !entry.IsDir() || strings.HasPrefix(name, ".") || !holdsMessages(filepath.Join(dir, name)) {
			continue
		}
		if !slices.Contains(streams, name) {
			return envErrorf(nil, "topic %q cannot be recovered from %s (the log says why); restore that directory from a backup, or move it away to start the topic empty",
				name, filepath.Join(dir, name))
		}
	}
	for _, name := range streams {
		e.lean(name)
	}
	return nil
}

// lean shortens how long the server keeps the blocks of a stream in memory.
func (e *embedded) lean(stream string) {
	if err := shortenBlockCache(e.current(), stream, blockCacheExpiry); err != nil {
		e.log.Debug("the server keeps written blocks in memory for ten seconds", "topic", stream, "error", err)
	}
}

// streamNames are the streams that the server has.
func (e *embedded) streamNames() ([]string, error) {
	info, err := e.current().Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return nil, fmt.Errorf("list the streams of the store: %w", err)
	}
	var names []string
	for _, a := range info.AccountDetails {
		for _, s := range a.Streams {
			names = append(names, s.Name)
		}
	}
	return names, nil
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
