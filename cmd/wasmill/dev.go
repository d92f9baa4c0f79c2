package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/host"
	"github.com/wasmill/wasmill/plugins/build"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

// lookEvery is how often the events that have passed are fetched.
const lookEvery = 50 * time.Millisecond

func (a *app) devCmd() *cobra.Command {
	var events, subject string
	c := &cobra.Command{
		Use:   "dev [FILE]",
		Short: "Run a project, rebuild what is saved, and show what each event becomes",
		Long: "Run what a TOML file (default wasmill.toml) says, as run does, and rebuild a\n" +
			"plugin whenever its source is saved. A version that loads takes over at once;\n" +
			"one that does not compile leaves the one before running.\n\n" +
			"Each event is shown with what came of it and what has changed. After every change\n" +
			"of a plugin or of the TOML file, sample events are run through the pipelines in\n" +
			"memory, without storing anything, and those of which something else comes are\n" +
			"shown: the lines of --events, else the last events of the topic, else the lines\n" +
			"of events.ndjson beside the TOML file. Looking needs no consumer and takes part\n" +
			"in no delivery. Ctrl-C finishes what is in flight and ends.",
		Example: "  wasmill dev\n  wasmill dev --events samples.ndjson --subject quakes.raw.us",
		Args:    exactly("[FILE]"),
		RunE: func(c *cobra.Command, args []string) error {
			if subject != "" {
				if err := event.CheckSubject(subject); err != nil {
					return invalid("dev: --subject: %w", err)
				}
			}
			if events != "" {
				if _, err := os.Stat(events); err != nil {
					return fileError("dev: read", events, err)
				}
			}
			return a.dev(c.Context(), a.file(args), events, subject)
		},
	}
	c.Flags().StringVar(&events, "events", "", "`file` of sample events, each line a payload")
	c.Flags().StringVar(&subject, "subject", "", "`subject` of the sample events of a file (default: one that the pipeline reads)")
	return c
}

// dev is one run of "wasmill dev".
type dev struct {
	a               *app
	file            string // absolute
	events, subject string
	screen          *screen
	builder         *build.Builder
	sources         *build.Sources
	in              *instance
	swapped         chan struct{}        // holds a token when something else runs than before
	saved           atomic.Int64         // when the source was saved that is being built, ns; 0 = none is
	refused         atomic.Bool          // the TOML file as it is now was refused
	passed          chan chan<- struct{} // asks watch to take in what has passed; it closes what it gets
}

func (a *app) dev(ctx context.Context, file, events, subject string) (err error) {
	if _, err := os.Stat(file); err != nil {
		return readError(file, err)
	}
	d := &dev{a: a, events: events, subject: subject, screen: newScreen(a), swapped: make(chan struct{}, 1), passed: make(chan chan<- struct{})}
	defer d.screen.close()
	if d.file, err = filepath.Abs(file); err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if d.builder, err = a.builder(); err != nil {
		return err
	}
	d.builder.Out, d.builder.Keep = d.screen, true
	defer func() { err = errors.Join(err, d.builder.Close()) }()
	if d.sources, err = build.WatchSources(filepath.Dir(d.file), nil, []string{d.file}); err != nil {
		return environment("dev: %w", err)
	}
	defer func() { err = errors.Join(err, d.sources.Close()) }()
	if err := d.start(ctx); err != nil || d.in == nil {
		return err
	}
	defer func() { err = errors.Join(err, d.in.close()) }()

	work, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	var failed error
	wait.Go(func() {
		if failed = d.follow(work); failed != nil {
			stop()
		}
	})
	d.watch(work)
	stop()
	wait.Wait()
	if ctx.Err() != nil {
		d.screen.say(plain, "draining; a second signal exits at once")
	}
	return failed
}

// start builds and opens the project; as long as that does not succeed because
// of what is in its files, it waits for them to change. d.in stays nil when ctx ends.
func (d *dev) start(ctx context.Context) error {
	for {
		err := d.build(ctx, nil)
		if err == nil {
			err = d.open(ctx)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is why
		}
		if err == nil || exitCode(err) != exitInvalid {
			return err
		}
		d.complain(err)
		d.screen.say(plain, "nothing runs yet; it is tried again when a file is saved")
		files, err := d.sources.Next(ctx)
		if err != nil || files == nil {
			return err
		}
	}
}

func (d *dev) complain(err error) {
	for _, line := range d.findings(err) {
		d.screen.say(red, "%s", line)
	}
}

// findings are the lines of an error, as every verb prints them.
func (d *dev) findings(err error) []string {
	all := lines(err)
	for i, line := range all {
		all[i] = clean(strings.ReplaceAll(line, d.file, relative(d.file)))
	}
	return all
}

// open starts the instance and says what runs.
func (d *dev) open(ctx context.Context) error {
	begin := time.Now()
	p, err := d.a.load(d.file)
	if err != nil {
		return err
	}
	if p.Server.StoreDir != "" {
		d.sources.Skip(p.Server.StoreDir)
	}
	listener := d.listener()
	in, err := d.a.open(ctx, p, opening{log: slog.New(screenLog{s: d.screen}), listener: &listener})
	if err != nil {
		return err
	}
	if err := in.watchFiles(ctx); err != nil {
		return errors.Join(err, in.close())
	}
	d.in = in
	st, ready := in.waitReady(ctx, 10*time.Second)
	took := time.Since(begin)
	d.screen.lines <- func() { d.a.banner(in, st, ready, took) }
	return nil
}

// listener shows what happens, but for the events themselves.
func (d *dev) listener() event.Listener {
	quiet := &limiter{}
	return event.Listener{
		Log: func(_, plugin string, _, level int, line string) {
			c := plain
			switch slog.Level(level) {
			case slog.LevelWarn:
				c = yellow
			case slog.LevelError:
				c = red
			}
			d.screen.from(plugin, c, line)
		},
		Fault: func(pipeline, stage, plugin, kind string, err error) {
			ok, _ := quiet.allow([3]string{pipeline, stage, kind}, time.Now())
			if !ok {
				return
			}
			text := err.Error()
			if f := new(host.Fault); errors.As(err, &f) && f.Detail != "" {
				text += "\n" + f.Detail
			}
			d.screen.from(plugin, red, text)
		},
		PipelineState: func(pipeline, state string, err error) {
			if err != nil && slices.Contains([]string{status.StateHalted, status.StateQuarantined, status.StateBackoff}, state) {
				d.screen.from(pipeline, red, state+": "+err.Error())
			}
		},
		Reload: func(what, name, _, result string, err error) {
			if errors.Is(err, context.Canceled) {
				return // at the end
			}
			switch {
			case what == "config" && err != nil:
				d.refused.Store(true)
				for _, line := range d.findings(err) {
					d.screen.tell(red, line)
				}
				d.screen.tell(yellow, "what ran before goes on")
				return
			case what == "config" && d.refused.Swap(false):
				d.screen.tell(green, relative(name)+" is valid again")
			}
			if err != nil {
				d.screen.from(name, red, strings.ReplaceAll(result, "_", " ")+": "+err.Error())
				if result == "failed" {
					d.screen.from(name, red, "what ran before goes on")
					return
				}
			}
			select {
			case d.swapped <- struct{}{}:
			default:
			}
		},
	}
}

// watch shows events until ctx ends.
func (d *dev) watch(ctx context.Context) {
	p := player{d: d, before: map[string]map[string]row{}}
	passed := false // events have, of which the player does not know what came
	k := looker{d: d, watches: map[string]*event.Watch{}}
	defer k.close()
	k.look()
	p.play(ctx)
	d.screen.say(plain, "save a file to see what it changes; Ctrl-C ends it")
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if k.look() {
				passed = true
			} else if passed && d.saved.Load() == 0 && len(d.swapped) == 0 {
				p.remember(ctx)
				passed = false
			}
		case done := <-d.passed:
			if k.look() || passed {
				p.remember(ctx)
				passed = false
			}
			close(done)
		case <-d.swapped:
			k.look()
			p.play(ctx)
		case <-ctx.Done():
			k.look()
			return
		}
	}
}

// follow builds what is saved until ctx ends.
func (d *dev) follow(ctx context.Context) error {
	d.warmUp(ctx)
	for {
		files, err := d.sources.Next(ctx)
		if err != nil {
			return fmt.Errorf("dev: %w", err)
		}
		if files == nil {
			return nil
		}
		files = slices.DeleteFunc(files, func(f string) bool { return f == d.file }) // the instance watches it itself
		if len(files) == 0 {
			continue
		}
		done := make(chan struct{})
		select {
		case d.passed <- done: // what has passed until now is what the change is compared with
			<-done
		case <-ctx.Done():
			return nil
		}
		if err := d.build(ctx, files); err != nil && ctx.Err() == nil {
			d.complain(err)
			d.screen.say(yellow, "what ran before goes on")
			continue
		}
		if ctx.Err() == nil {
			// What is refused is told to the listener.
			if _, err := d.in.reload(ctx); err != nil {
				d.saved.Store(0)
			}
		}
	}
}

// build makes the modules that files are part of; without files, those that are
// out of date.
func (d *dev) build(ctx context.Context, files []string) error {
	dir := filepath.Dir(d.file)
	var plugins []build.Plugin
	var err error
	if files == nil {
		plugins, err = build.Stale(dir)
	} else if plugins, err = build.Plugins(dir); err == nil {
		plugins = build.Made(plugins, files)
		d.saved.Store(newest(files))
		for i, f := range files {
			files[i] = relative(f)
		}
	}
	if err != nil {
		return &exitError{exitInvalid, err}
	}
	changed := false
	for _, p := range plugins {
		if files == nil {
			d.screen.say(cyan, "building %s", p.Name())
		} else {
			d.screen.say(cyan, "%s saved, building %s", strings.Join(files, ", "), p.Name())
		}
		begin, before := time.Now(), digestOfFile(p.Module)
		if err := d.builder.BuildTo(ctx, p.Source, p.Module); err != nil {
			d.saved.Store(0)
			return err
		}
		same := digestOfFile(p.Module) == before
		d.screen.say(green, "built %s in %.1f s%s", p.Name(), time.Since(begin).Seconds(), map[bool]string{true: ": the same module as before"}[same])
		changed = changed || !same
	}
	if !changed {
		d.saved.Store(0) // nothing comes of it
	}
	return nil
}

// digestOfFile tells the contents of a file from others.
func digestOfFile(name string) [sha256.Size]byte {
	b, err := os.ReadFile(name)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(b)
}

// warmUp readies compilers for the first save. A plugin for which that fails will
// say so when it is built.
func (d *dev) warmUp(ctx context.Context) {
	plugins, err := build.Plugins(filepath.Dir(d.file))
	if err != nil {
		return
	}
	done := map[string]bool{}
	for _, p := range plugins {
		if l, err := build.Of(p.Source); err == nil && !done[l.Name] {
			done[l.Name] = true
			_ = d.builder.WarmUp(ctx, p.Source)
		}
	}
}

// newest is when the last of files was saved, ns.
func newest(files []string) int64 {
	at := int64(0)
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			at = max(at, info.ModTime().UnixNano())
		}
	}
	if at == 0 { // they are gone
		return time.Now().UnixNano()
	}
	return at
}
