// Package lossyfs is a file system for tests that fails on request. It lives in
// memory behind a FUSE mount, so that any program can be put on it, and it can
// run full, return errors, and lose what was not synced:
//
//	disk, err := lossyfs.Mount(dir, lossyfs.Options{Size: 64 << 20})
//	disk.Fail(lossyfs.Sync, ".blk", syscall.EIO) // every fsync of a block fails …
//	disk.Heal()                                  // … until now
//	disk.Resize(16 << 20)                        // less than is in use: the disk is full
//	disk.PowerLoss()                             // after the program is dead or has closed its files
//	err = disk.Unmount()
//
// It needs root and /dev/fuse. Nothing is cached by the kernel, so every read
// and write arrives here; mmap of a file does not work.
//
// # What a power loss takes
//
// The contents of a file go back to what they were when it was last synced
// (fsync, fdatasync, or a write to a file opened with O_SYNC). Names go back,
// too: with Options.Strict, as POSIX allows, to when their directory was last
// synced; without it, as on ext4, XFS and btrfs, to when anything on the disk was
// last synced, since those commit the changes of all directories in one journal.
//
// A sync that fails takes the data with it, as on Linux: the pages count as
// clean, a later sync does not write them again, and a power loss leaves zeros
// where nothing has been written since.
package lossyfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Options of a file system.
type Options struct {
	Size   int64 // bytes; 0 is 1 GiB
	Strict bool  // names are durable only when their directory was synced
}

// Op is what can be made to fail.
type Op int

// Operations that can be made to fail.
// and Sync only.
const (
	Write  Op = iota // of a file's contents
	Sync             // of a file or a directory
	Create           // of a file or a directory
	Rename
	Remove // of a file or a directory
	Read   // of a file's contents
)

// FS is a mounted file system. Its methods are safe for concurrent use.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not implemented here

	dir    string
	server *fuse.Server
	strict bool

	mu    sync.Mutex
	size  int64
	used  int64
	last  uint64           // inode
	nodes map[uint64]*node // that the kernel knows, by inode
	fails []failure
}

type failure struct {
	op    Op
	match string
	err   syscall.Errno
}

// block is what space is counted in.
const block = 4096

const maxWrite = 128 << 10

// Mount mounts an empty file system on dir. The caller unmounts it.
func Mount(dir string, o Options) (*FS, error) {
	if o.Size == 0 {
		o.Size = 1 << 30
	}
	f := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), dir: dir, strict: o.Strict, size: o.Size,
		last: fuse.FUSE_ROOT_ID, nodes: make(map[uint64]*node),
	}
	f.nodes[fuse.FUSE_ROOT_ID] = newNode(fuse.FUSE_ROOT_ID, syscall.S_IFDIR|0o755)
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{
		FsName: "lossyfs", Name: "lossyfs", DirectMountStrict: true, MaxWrite: maxWrite,
		DisableXAttrs: true, DisableReadDirPlus: true, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return nil, fmt.Errorf("mount lossyfs on %s (it needs root and /dev/fuse): %w", dir, err)
	}
	f.server = server
	go server.Serve() // ends with Unmount, which waits
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount lossyfs on %s: %w", dir, err), f.Unmount())
	}
	return f, nil
}

// Unmount ends the file system. Files that are still open are cut off.
func (f *FS) Unmount() error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err = f.server.Unmount(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	if detached := syscall.Unmount(f.dir, syscall.MNT_DETACH); detached != nil {
		return fmt.Errorf("unmount lossyfs from %s: %w", f.dir, errors.Join(err, detached))
	}
	return fmt.Errorf("unmount lossyfs from %s: something still uses it: %w", f.dir, err)
}

// Fail makes an operation fail with err on every file or directory whose path
// below the mount point contains match, until Heal. The first failure that fits
// counts.
func (f *FS) Fail(op Op, match string, err syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = append(f.fails, failure{op, match, err})
}

// Heal ends every failure.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = nil
}

// Resize changes how many bytes the disk has. Below what is in use, it is full.
func (f *FS) Resize(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = size
}

// Used is how many bytes are in use.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// PowerLoss takes everything back that was not synced. No program may have a
// file open.
func (f *FS) PowerLoss() {
	f.mu.Lock()
	defer f.mu.Unlock()
	root := f.nodes[fuse.FUSE_ROOT_ID]
	f.nodes = map[uint64]*node{fuse.FUSE_ROOT_ID: root}
	root.each(func(n *node) { n.names = nil }) // of what is going as well
	root.powerLoss()
	root.each(func(n *node) { n.names = nil })
	f.used = 0
	root.each(func(dir *node) {
		for base, n := range dir.entries {
			if len(n.names) == 0 {
				f.used += n.usage()
			}
			n.names = append(n.names, name{dir, base})
			f.nodes[n.ino] = n // the kernel may still know it
		}
	})
}

func (f *FS) failLocked(op Op, path string) fuse.Status {
	for _, x := range f.fails {
		if x.op == op && strings.Contains(path, x.match) {
			return fuse.Status(x.err)
		}
	}
	return fuse.OK
}

// takeLocked reserves space, or says that there is none.
func (f *FS) takeLocked(bytes int64) fuse.Status {
	if bytes > 0 && f.used+bytes > f.size {
		return fuse.Status(syscall.ENOSPC)
	}
	f.used += bytes
	return fuse.OK
}

// syncLocked makes n durable, and names as far as the options say.
func (f *FS) syncLocked(n *node) fuse.Status {
	if s := f.failLocked(Sync, n.path()); s != fuse.OK {
		n.lose()
		return s
	}
	n.sync()
	if !f.strict {
		f.nodes[fuse.FUSE_ROOT_ID].each((*node).syncNames)
	}
	return fuse.OK
}
