package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/backup"
	"github.com/wasmill/wasmill/runtime/plan"
)

func (a *app) backupCmd() *cobra.Command {
	var verify bool
	c := &cobra.Command{
		Use:   "backup FILE|DIR",
		Short: "Write topics, positions, configuration and modules to one file",
		Long: "Have the running instance write its topics, the positions and checkpoints of its\n" +
			"pipelines, the TOML file and the modules to one file, while everything runs. Into a\n" +
			"directory it goes under a name with the time. Secrets are not in it: the TOML file\n" +
			"only refers to them. The file appears when it is whole and has been checked.",
		Args: exactly("FILE|DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			path := args[0]
			if verify {
				m, err := backup.Verify(path)
				if err != nil {
					return archiveError("backup", path, err)
				}
				return a.printManifest(path, m)
			}
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				path = filepath.Join(path, "wasmill-"+time.Now().UTC().Format("20060102T150405Z")+".tar.zst")
			} else if err == nil {
				return invalid("backup: %s is there already: name another file, or a directory", path)
			}
			m, err := a.fetchBackup(c.Context(), path)
			if err != nil {
				return err
			}
			return a.printManifest(path, m)
		},
	}
	c.Flags().BoolVar(&verify, "verify", false, "check a backup instead of making one")
	return c
}

// fetchBackup downloads a backup beside path and gives it that name when it is
// whole.
func (a *app) fetchBackup(ctx context.Context, path string) (_ *backup.Manifest, err error) {
	cl, err := a.client()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if errors.Is(err, os.ErrNotExist) {
		return nil, invalid("write %s: there is no directory %s", path, filepath.Dir(path))
	}
	if err != nil {
		return nil, fileError("write", path, err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	w := &progress{app: a, w: f, shown: time.Now()}
	if err := cl.Backup(ctx, w); err != nil {
		if w.err != nil {
			return nil, fileError("write", path, w.err)
		}
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, fileError("write", path, err)
	}
	m, err := backup.Verify(f.Name())
	if err != nil {
		return nil, archiveError("backup", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, fileError("write", path, err)
	}
	return m, nil
}

// progress counts on stderr what it writes, every few seconds.
type progress struct {
	app   *app
	w     io.Writer
	n     int64
	shown time.Time
	err   error
}

func (p *progress) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if p.n += int64(n); time.Since(p.shown) > 5*time.Second {
		p.shown = time.Now()
		p.app.note("backup: %s so far", size(p.n))
	}
	p.err = err
	return n, err
}

func (a *app) printManifest(path string, m *backup.Manifest) error {
	if a.json() {
		return a.printJSON(m)
	}
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Size
	}
	onDisk := int64(0)
	if info, err := os.Stat(path); err == nil {
		onDisk = info.Size()
	}
	topics := make([]string, 0, len(m.Topics))
	for _, t := range m.Topics {
		topics = append(topics, fmt.Sprintf("%s (%s)", t.Name, sequencesOf(t)))
	}
	return a.fields(
		"backup", path,
		"of", m.Created.Local().Format(time.RFC3339)+" by wasmill "+m.Wasmill,
		"holds", fmt.Sprintf("%d files, %s; %s on disk; every digest is right", len(m.Files), size(bytes), size(onDisk)),
		"topics", strings.Join(topics, ", "),
	)
}

func sequencesOf(t backup.Topic) string {
	if t.First > t.Last {
		return "empty"
	}
	return fmt.Sprintf("%d–%d", t.First, t.Last)
}

func (a *app) restoreCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE [DIR]",
		Short: "Make a configuration and its store again from a backup",
		Long: "Write the TOML file, the modules and the store of a backup to a directory (default:\n" +
			"this one). The backup is checked as a whole first. A store that holds anything and\n" +
			"files that are there and differ are left alone: restore into another directory\n" +
			"then. What an absolute store_dir names is restored there. Pipelines go on where\n" +
			"they were when the backup began: events since then are processed again.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return invalid("restore: give the file of a backup and, if it is not this one, a directory")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 1 {
				dir = args[1]
			}
			r, err := backup.Restore(args[0], dir)
			if err != nil {
				return archiveError("restore", args[0], err)
			}
			for _, l := range r.Losses {
				a.note("%s topic %q has lost %s, %v: %s", a.paint(a.stderr, yellow, "note:"), l.Stream, counted(l.Count, "message"), l.Ranges, l.Cause)
			}
			if a.json() {
				return a.printJSON(r)
			}
			return a.fields("restored", args[0], "config", r.Config, "store", r.Store, "next", "wasmill run "+r.Config)
		},
	}
}

// archiveError says why an archive cannot be used, with the code for it.
func archiveError(verb, path string, err error) error {
	var bad *backup.Error
	var pe *os.PathError
	switch {
	case errors.As(err, &bad):
		return invalid("%s: %s: %w", verb, path, err)
	case errors.Is(err, backup.ErrNotEmpty):
		return &exitError{exitInvalid, fmt.Errorf("%s: %w", verb, err)}
	case errors.As(err, &pe):
		return fileError(verb, pe.Path, err)
	}
	return environment("%s: %s: %w", verb, path, err)
}

// backup writes an archive of all that this instance needs to be made again.
func (in *instance) backup(ctx context.Context, w io.Writer, version string) error {
	p := in.engine.Plan()
	if p == nil {
		p = in.plan
	}
	store, err := filepath.Rel(p.Dir, p.Server.StoreDir)
	if err != nil || !filepath.IsLocal(store) {
		store = p.Server.StoreDir
	}
	a, err := backup.NewWriter(w, version, filepath.Base(p.File), store)
	if err != nil {
		return err
	}
	return in.fillBackup(ctx, a, p)
}

// fillBackup begins with the store: when there is none, nothing has been written.
func (in *instance) fillBackup(ctx context.Context, a *backup.Writer, p *plan.Plan) error {
	book, err := in.broker.Backup(ctx, downstream(p), a.AddStore)
	if err != nil {
		return err
	}
	paths := []string{p.File}
	for i := range p.Plugins {
		if path := p.Plugins[i].Path; path != "" {
			paths = append(paths, path)
		}
	}
	added := map[string]bool{}
	for _, path := range paths {
		name, err := filepath.Rel(p.Dir, path)
		if err != nil || !filepath.IsLocal(name) {
			in.log.Warn("a module is not in the backup: it is not below the directory of the configuration", "path", path)
			continue
		}
		if added[name] {
			continue
		}
		added[name] = true
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := a.AddConfig(name, data); err != nil {
			return err
		}
	}
	var topics []backup.Topic
	for i := range p.Topics {
		if s := book.Streams[p.Topics[i].Name]; s != nil {
			topics = append(topics, backup.Topic{Name: p.Topics[i].Name, First: s.First, Last: s.Last})
		}
	}
	return a.Close(book, topics)
}

// downstream orders topics so that, loops apart, one that a pipeline writes
// comes before the one it reads: a checkpoint that lies beside the outputs then
// names no event that the input does not have yet.
func downstream(p *plan.Plan) []string {
	var order []string
	seen := map[string]bool{}
	var visit func(topic string)
	visit = func(topic string) {
		if topic == "" || seen[topic] {
			return
		}
		seen[topic] = true
		for i := range p.Pipelines {
			if p.Pipelines[i].From == topic {
				for _, o := range p.Pipelines[i].Outputs {
					visit(o.Topic)
				}
			}
		}
		order = append(order, topic)
	}
	for i := range p.Topics {
		visit(p.Topics[i].Name)
	}
	return order
}
