package lossyfs

import (
	"cmp"
	"maps"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The operations of the kernel. A node id is the inode; every answer is valid
// for no time at all, so that the kernel asks each time.

func (f *FS) attrLocked(n *node, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = n.ino, n.mode, uint32(max(1, len(n.names))), block
	if n.isDir() {
		out.Size = block
	} else {
		out.Size = uint64(len(n.data))
	}
	out.Blocks = uint64(blocks(int(out.Size)) / 512)
	out.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

func (f *FS) entryLocked(n *node, out *fuse.EntryOut) {
	n.known++
	f.nodes[n.ino] = n
	out.NodeId = n.ino
	f.attrLocked(n, &out.Attr)
}

// Lookup implements fuse.RawFileSystem.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[h.NodeId]
	if n == nil || n.entries[name] == nil {
		return fuse.ENOENT
	}
	f.entryLocked(n.entries[name], out)
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (f *FS) Forget(ino, times uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[ino]
	if n == nil || ino == fuse.FUSE_ROOT_ID {
		return
	}
	n.known -= min(n.known, times)
	if n.known == 0 && len(n.names) == 0 {
		delete(f.nodes, ino)
		f.used -= n.usage()
	}
}

// GetAttr implements fuse.RawFileSystem.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	f.attrLocked(n, &out.Attr)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode&^uint32(syscall.S_IFMT)
	}
	if at, ok := in.GetMTime(); ok {
		n.mtime = at
	}
	if size, ok := in.GetSize(); ok && int(size) != len(n.data) {
		if s := f.failLocked(Write, n.path()); s != fuse.OK {
			return s
		}
		if s := f.takeLocked(blocks(int(size)) - blocks(len(n.data))); s != fuse.OK {
			return s
		}
		n.truncate(int(size))
	}
	f.attrLocked(n, &out.Attr)
	return fuse.OK
}

// makeLocked adds a new node to a directory.
func (f *FS) makeLocked(dir uint64, name string, mode uint32) (*node, fuse.Status) {
	parent := f.nodes[dir]
	if parent == nil {
		return nil, fuse.ENOENT
	}
	if parent.entries[name] != nil {
		return nil, fuse.Status(syscall.EEXIST)
	}
	if s := f.failLocked(Create, parent.path()+"/"+name); s != fuse.OK {
		return nil, s
	}
	f.last++
	n := newNode(f.last, mode)
	if s := f.takeLocked(n.usage()); s != fuse.OK {
		return nil, s
	}
	parent.add(name, n)
	return n, fuse.OK
}

// Mkdir implements fuse.RawFileSystem.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, s := f.makeLocked(in.NodeId, name, syscall.S_IFDIR|in.Mode&0o7777)
	if s == fuse.OK {
		f.entryLocked(n, out)
	}
	return s
}

// Create implements fuse.RawFileSystem.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, s := f.makeLocked(in.NodeId, name, syscall.S_IFREG|in.Mode&0o7777)
	if s == fuse.OK {
		f.entryLocked(n, &out.EntryOut)
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	}
	return s
}

// Unlink implements fuse.RawFileSystem.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h.NodeId, name, false)
}

// Rmdir implements fuse.RawFileSystem.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.remove(h.NodeId, name, true)
}

func (f *FS) remove(dir uint64, name string, isDir bool) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	parent := f.nodes[dir]
	if parent == nil || parent.entries[name] == nil {
		return fuse.ENOENT
	}
	n := parent.entries[name]
	switch {
	case isDir && !n.isDir():
		return fuse.ENOTDIR
	case !isDir && n.isDir():
		return fuse.Status(syscall.EISDIR)
	case len(n.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if s := f.failLocked(Remove, n.path()); s != fuse.OK {
		return s
	}
	f.unnameLocked(parent, name)
	return fuse.OK
}

// unnameLocked takes a node's name away. Its space is free when nobody has it open.
func (f *FS) unnameLocked(parent *node, name string) {
	n := parent.entries[name]
	parent.remove(name)
	if n.known == 0 && len(n.names) == 0 {
		delete(f.nodes, n.ino)
		f.used -= n.usage()
	}
}

// Link implements fuse.RawFileSystem.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, n := f.nodes[in.NodeId], f.nodes[in.Oldnodeid]
	if dir == nil || n == nil {
		return fuse.ENOENT
	}
	if dir.entries[name] != nil {
		return fuse.Status(syscall.EEXIST)
	}
	if s := f.failLocked(Create, dir.path()+"/"+name); s != fuse.OK {
		return s
	}
	dir.add(name, n)
	f.entryLocked(n, out)
	return fuse.OK
}

// Rename implements fuse.RawFileSystem.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, b := f.nodes[in.NodeId], f.nodes[in.Newdir]
	if a == nil || b == nil || a.entries[from] == nil {
		return fuse.ENOENT
	}
	if in.Flags != 0 {
		return fuse.EINVAL // no exchange, no "only if there is none"
	}
	n, old := a.entries[from], b.entries[to]
	if n == old {
		return fuse.OK
	}
	if old != nil && len(old.entries) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if s := f.failLocked(Rename, n.path()); s != fuse.OK {
		return s
	}
	if old != nil {
		f.unnameLocked(b, to)
	}
	a.remove(from)
	b.add(to, n)
	return fuse.OK
}

// Open implements fuse.RawFileSystem.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[in.NodeId] == nil {
		return fuse.ENOENT
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return nil, fuse.ENOENT
	}
	if s := f.failLocked(Read, n.path()); s != fuse.OK {
		return nil, s
	}
	off := min(int(in.Offset), len(n.data))
	return fuse.ReadResultData(buf[:copy(buf, n.data[off:])]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return 0, fuse.ENOENT
	}
	if s := f.failLocked(Write, n.path()); s != fuse.OK {
		return 0, s
	}
	// As much as fits is written, as a real disk does it.
	off, have := int(in.Offset), len(n.data)
	if grow := blocks(off+len(data)) - blocks(have); grow > 0 && f.used+grow > f.size {
		room := int(blocks(have) + max(0, f.size-f.used)/block*block)
		if room <= off {
			return 0, fuse.Status(syscall.ENOSPC)
		}
		data = data[:min(len(data), room-off)]
	}
	f.used += max(0, blocks(off+len(data))-blocks(have))
	n.write(data, off)
	if in.Flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0 {
		if s := f.syncLocked(n); s != fuse.OK {
			return 0, s
		}
	}
	return uint32(len(data)), fuse.OK
}

// Flush implements fuse.RawFileSystem. The kernel asks once and never again:
// otherwise a process that ends with files open waits for its own answer.
func (f *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Release implements fuse.RawFileSystem.
func (f *FS) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// Fsync implements fuse.RawFileSystem.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	return f.syncLocked(n)
}

// FsyncDir implements fuse.RawFileSystem.
func (f *FS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.Fsync(cancel, in)
}

// OpenDir implements fuse.RawFileSystem.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[in.NodeId] == nil {
		return fuse.ENOENT
	}
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (f *FS) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists by inode, so that what goes on meanwhile moves nothing: the
// offset is the inode of the last entry that was given. (Two names of one file in
// one directory would be listed as one.)
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := f.nodes[in.NodeId]
	if dir == nil {
		return fuse.ENOENT
	}
	names := slices.SortedFunc(maps.Keys(dir.entries), func(a, b string) int { return cmp.Compare(dir.entries[a].ino, dir.entries[b].ino) })
	for _, name := range names {
		n := dir.entries[name]
		if n.ino > in.Offset && !out.AddDirEntry(fuse.DirEntry{Name: name, Mode: n.mode, Ino: n.ino, Off: n.ino}) {
			break
		}
	}
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	free := uint64(max(0, f.size-f.used) / block)
	*out = fuse.StatfsOut{
		Blocks: uint64(f.size / block), Bfree: free, Bavail: free, Bsize: block, Frsize: block,
		Files: 1 << 20, Ffree: 1 << 19, NameLen: 255,
	}
	return fuse.OK
}
