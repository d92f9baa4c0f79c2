package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/wasmill/wasmill/host/rewrite"
)

// store keeps compiled modules in a directory, which processes may share.
//
//	DIR/wazero-VERSION-ARCH-OS/KEY   what wazero reads; KEY is its own digest
//	DIR/index-PROBE/DIGEST           for the module DIGEST: its KEY and the entry's own sha256
//	DIR/index-PROBE/KEY.stub         the module's outline and stub
//	DIR/work-*                       where workers write
//
// wazero reads, validates and hashes a module also when it has its machine code.
// That takes longer than everything else, so wazero gets the module's stub
// (rewrite.Stub), and KEY is that of the stub, with the machine code of the module
// itself. The outline is what inspection has to tell of it. So a module that is
// in the store is only hashed: inspecting and rewriting are a matter of DIGEST and
// of the version of those who do it, which PROBE has in it.
//
// wazero protects an entry by a CRC32 of its code alone, so the index has a
// sha256 of the whole, which is checked before wazero reads it. That finds
// damage; it is no signature. Against others the directory is protected by its
// mode alone: what lies in it is executed (invariant A4).
//
// An entry is never removed while a generation runs its code: generations hold a
// shared lock on the file, and eviction needs an exclusive one.
type store struct {
	dir     string
	entries string // wazero's directory in dir
	index   string
	most    int64 // bytes of all entries
}

// entry is what the index says of a compiled module.
type entry struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`

	Outline int    `json:"outline"` // bytes of it; the stub is behind it
	Stub    string `json:"stub"`    // sha256 of both
}

// kept is a compiled module of the store.
type kept struct {
	held          *os.File // its entry; nobody removes it until this is closed
	outline, stub []byte
}

const stubSuffix = ".stub"

const (
	storeWork  = "work-"
	storeIndex = "index-"
	staleWork  = time.Hour // what is left of a process that was killed
)

// openStore makes the directory ours alone and finds out how wazero names its
// entries on this machine.
func openStore(dir string, most int64) (*store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	if err := checkPrivate(dir, info); err != nil {
		return nil, err
	}
	s := &store{dir: dir, most: most}
	s.sweep()
	if err := s.probe(); err != nil {
		return nil, err
	}
	return s, nil
}

// probe compiles the linker, which every runtime needs, and keeps it. wazero
// derives the key of an entry from the module, its own format and the features
// of the processor: so the linker has another key where entries of the index
// would not be found, and wazero would compile in this process.
func (s *store) probe() error {
	work, err := s.work()
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := compileInto(context.Background(), work, rewrite.Linker()); err != nil {
		return err
	}
	made, err := produced(work)
	if err != nil {
		return err
	}
	version, err := rewrite.Version()
	if err != nil {
		return err
	}
	s.entries = filepath.Join(s.dir, filepath.Base(filepath.Dir(made)))
	s.index = filepath.Join(s.dir, storeIndex+filepath.Base(made)[:16]+"-"+version[:16])
	return errors.Join(
		os.MkdirAll(s.entries, 0o700), os.MkdirAll(s.index, 0o700),
		os.Rename(made, filepath.Join(s.entries, filepath.Base(made))))
}

// What a worker leaves: caches with one entry each.
const (
	workCode = "code" // the module's machine code
	workStub = "stub" // only for its name: the key under which wazero looks for the stub
)

// compileBoth leaves what add takes in a directory.
func compileBoth(ctx context.Context, dir string, binary []byte) error {
	if err := compileInto(ctx, filepath.Join(dir, workCode), binary); err != nil {
		return err
	}
	return compileInto(ctx, filepath.Join(dir, workStub), rewrite.Stub(binary))
}

// compileInto compiles a module and leaves the entry in a cache at dir.
func compileInto(ctx context.Context, dir string, binary []byte) (err error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig().WithCompilationCache(cache))
	defer func() {
		if r := recover(); r != nil { // of the compiler
			err = fmt.Errorf("cannot be compiled: %v", r)
		}
		err = errors.Join(err, rt.Close(ctx), cache.Close(ctx))
	}()
	code, err := rt.CompileModule(ctx, binary)
	if err != nil {
		return err
	}
	return code.Close(ctx)
}

// produced returns the one entry in a directory that compileInto wrote to.
func produced(dir string) (string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil {
		return "", err
	}
	if len(list) != 1 || len(filepath.Base(list[0])) != 2*sha256.Size {
		return "", fmt.Errorf("%d files lie where the compiled module should: %w", len(list), fs.ErrNotExist)
	}
	return list[0], nil
}

// work makes a directory for a worker's result, beside where it will lie.
func (s *store) work() (string, error) { return os.MkdirTemp(s.dir, storeWork) }

func (s *store) sweep() {
	list, _ := filepath.Glob(filepath.Join(s.dir, storeWork+"*")) // the pattern is well formed
	for _, dir := range list {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > staleWork {
			os.RemoveAll(dir)
		}
	}
}

// acquire looks the compiled module of a digest up, checks that it is whole, and
// holds it. nil without an error means that it must be compiled.
func (s *store) acquire(digest string) (*kept, error) {
	path := filepath.Join(s.index, digest)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var e entry
	var k *kept
	if json.Unmarshal(b, &e) == nil && len(e.Key) == 2*sha256.Size && filepath.Base(e.Key) == e.Key {
		k, err = s.get(e)
	}
	if k == nil { // damaged, or removed
		return nil, errors.Join(ignoreGone(err), ignoreGone(os.Remove(path)))
	}
	now := time.Now()
	_ = os.Chtimes(k.held.Name(), now, now) // it was used last; no harm if that cannot be written down
	return k, nil
}

// get reads what there is of a module; nil without an error when it is not whole.
func (s *store) get(e entry) (*kept, error) {
	both, err := os.ReadFile(s.stubPath(e.Key))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(both); hex.EncodeToString(sum[:]) != e.Stub || e.Outline < 0 || e.Outline > len(both) {
		return nil, nil
	}
	f, err := s.hold(e)
	if f == nil {
		return nil, err
	}
	return &kept{held: f, outline: both[:e.Outline], stub: both[e.Outline:]}, nil
}

func (s *store) stubPath(key string) string { return filepath.Join(s.index, key+stubSuffix) }

func (s *store) hold(e entry) (*os.File, error) {
	path := filepath.Join(s.entries, e.Key)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := lockShared(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	found, err := digestOf(f)
	if err == nil && found.Size == e.Size && found.SHA256 == e.SHA256 && samePath(f, path) {
		return f, nil
	}
	f.Close()
	if err == nil {
		err = os.Remove(path)
	}
	return nil, err
}

// describe returns what the index has to say of an entry.
func describe(path string) (entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return entry{}, err
	}
	defer f.Close()
	return digestOf(f)
}

func digestOf(f *os.File) (entry, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return entry{Key: filepath.Base(f.Name()), Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// samePath says whether the file is still what lies at path: it may have been
// removed between opening and locking.
func samePath(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// add takes over what a worker has left in its directory: the module's machine
// code, and the key of its stub.
func (s *store) add(digest, work string, outline, stub []byte) error {
	made, err := produced(filepath.Join(work, workCode))
	if err != nil {
		return err
	}
	named, err := produced(filepath.Join(work, workStub))
	if err != nil {
		return err
	}
	e, err := describe(made)
	if err != nil {
		return err
	}
	both := slices.Concat(outline, stub)
	sum := sha256.Sum256(both)
	e.Key, e.Outline, e.Stub = filepath.Base(named), len(outline), hex.EncodeToString(sum[:])
	if err := os.Rename(made, filepath.Join(s.entries, e.Key)); err != nil {
		return err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := putFile(work, s.stubPath(e.Key), both); err != nil {
		return err
	}
	if err := putFile(work, filepath.Join(s.index, digest), line); err != nil {
		return err
	}
	return s.trim(e.Key)
}

// putFile writes a file that is whole or not there.
func putFile(work, path string, b []byte) error {
	tmp := filepath.Join(work, filepath.Base(path))
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// trim removes what was not used for longest until the rest is within the
// bound: not what a generation of any process holds, and not keep.
func (s *store) trim(keep string) error {
	type file struct {
		path string
		size int64
		used time.Time
	}
	list, err := filepath.Glob(filepath.Join(s.dir, "wazero-*", "*"))
	if err != nil {
		return err
	}
	var files []file
	total := int64(0)
	for _, path := range list {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			files = append(files, file{path, info.Size(), info.ModTime()})
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	var errs []error
	for _, f := range files {
		if total <= s.most {
			break
		}
		if filepath.Base(f.path) == keep {
			continue
		}
		removed, err := removeUnused(f.path)
		errs = append(errs, err)
		if removed {
			total -= f.size
		}
	}
	return errors.Join(errs...)
}

// removeUnused removes an entry that nobody holds.
func removeUnused(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer f.Close()
	if !tryLockExclusive(f) {
		return false, nil
	}
	err = os.Remove(path)
	// The index names it no more when it is looked up; the stub is large.
	stubs, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(path)), storeIndex+"*", filepath.Base(path)+stubSuffix)) // the pattern is well formed
	for _, stub := range stubs {
		err = errors.Join(err, ignoreGone(os.Remove(stub)))
	}
	return err == nil, ignoreGone(err)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isCacheError says whether compiling failed over the cache, not over the module.
func isCacheError(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link) || strings.Contains(err.Error(), "compilationcache:")
}
