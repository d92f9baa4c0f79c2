package lossyfs

import (
	"maps"
	"slices"
	"syscall"
	"time"
)

// node is a file or a directory, guarded by FS.mu.
type node struct {
	ino   uint64
	mode  uint32 // with the type
	mtime time.Time
	known uint64 // how often the kernel has looked it up and not forgotten it
	names []name // hard links, oldest first; the root has none

	// A directory.
	entries map[string]*node
	durable map[string]*node // the names that a power loss leaves

	// A file.
	data  []byte
	undo  []undo // since the last sync, oldest first
	dirty []span // written since the last sync
	lost  []span // that a failed sync has lost, and nothing has written since
}

// name is a node's name in a directory.
type name struct {
	dir  *node
	base string
}

// undo takes one change back: the contents were old from off on, and size long.
type undo struct {
	off, size int
	old       []byte
}

type span struct{ from, to int }

func newNode(ino uint64, mode uint32) *node {
	n := &node{ino: ino, mode: mode, mtime: time.Now()}
	if n.isDir() {
		n.entries, n.durable = make(map[string]*node), make(map[string]*node)
	}
	return n
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// path is the oldest name below the mount point, "/" in front; "" for the root.
func (n *node) path() string {
	if len(n.names) == 0 {
		return ""
	}
	return n.names[0].dir.path() + "/" + n.names[0].base
}

// blocks is the space that size bytes take.
func blocks(size int) int64 { return (int64(size) + block - 1) / block * block }

// usage is the space that n takes, without what is in it.
func (n *node) usage() int64 {
	if n.isDir() {
		return block
	}
	return blocks(len(n.data))
}

// each calls f for n and everything below it.
func (n *node) each(f func(*node)) {
	f(n)
	for _, c := range n.entries {
		c.each(f)
	}
}

func (n *node) add(base string, c *node) {
	n.entries[base] = c
	n.mtime = time.Now()
	c.names = append(c.names, name{n, base})
}

func (n *node) remove(base string) {
	if c := n.entries[base]; c != nil {
		c.names = slices.DeleteFunc(c.names, func(x name) bool { return x == name{n, base} })
		delete(n.entries, base)
		n.mtime = time.Now()
	}
}

// write changes the contents.
func (n *node) write(data []byte, off int) {
	n.mtime = time.Now()
	size, end := len(n.data), off+len(data)
	if off < size {
		n.undo = append(n.undo, undo{off, size, slices.Clone(n.data[off:min(end, size)])})
	} else if len(n.undo) == 0 || n.undo[len(n.undo)-1].old != nil {
		n.undo = append(n.undo, undo{off: size, size: size}) // and for whatever is appended next
	}
	if end > size {
		n.data = slices.Grow(n.data, end-size)[:end]
		clear(n.data[size:max(size, min(off, end))])
	}
	copy(n.data[off:], data)
	if last := len(n.dirty) - 1; last >= 0 && n.dirty[last].to == off {
		n.dirty[last].to = end
	} else {
		n.dirty = append(n.dirty, span{off, end})
	}
	n.lost = subtract(n.lost, span{off, end})
}

// truncate changes the size.
func (n *node) truncate(size int) {
	n.mtime = time.Now()
	have := len(n.data)
	if size > have {
		n.write(make([]byte, size-have), have)
		return
	}
	n.undo = append(n.undo, undo{size, have, slices.Clone(n.data[size:])})
	n.data = n.data[:size]
	n.lost = subtract(n.lost, span{size, have})
}

func (n *node) sync() {
	n.undo, n.dirty = nil, nil
	n.syncNames()
}

func (n *node) syncNames() {
	if n.isDir() && !maps.Equal(n.durable, n.entries) {
		n.durable = maps.Clone(n.entries)
	}
}

// lose is what a sync does that fails.
func (n *node) lose() {
	n.lost = append(n.lost, n.dirty...)
	n.undo, n.dirty = nil, nil
}

func (n *node) powerLoss() {
	if n.isDir() {
		n.entries = maps.Clone(n.durable)
		for _, c := range n.entries {
			c.powerLoss()
		}
		return
	}
	for _, u := range slices.Backward(n.undo) {
		if u.size > len(n.data) {
			n.data = slices.Grow(n.data, u.size-len(n.data))[:u.size]
		}
		copy(n.data[u.off:], u.old)
		n.data = n.data[:u.size]
	}
	for _, s := range n.lost {
		clear(n.data[min(s.from, len(n.data)):min(s.to, len(n.data))])
	}
	n.undo, n.dirty, n.lost = nil, nil, nil
}

// subtract returns what s covers without cut.
func subtract(s []span, cut span) []span {
	if len(s) == 0 {
		return nil
	}
	var left []span
	for _, x := range s {
		if a := (span{x.from, min(x.to, cut.from)}); a.from < a.to {
			left = append(left, a)
		}
		if b := (span{max(x.from, cut.to), x.to}); b.from < b.to {
			left = append(left, b)
		}
	}
	return left
}
