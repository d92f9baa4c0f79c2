package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/engine"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) auditCmd() *cobra.Command {
	c := a.group("audit", "Show who has changed what: the audit log", a.auditListCmd(), a.auditTailCmd())
	c.Long = "Show who has changed what. Every action that changes the state of an instance is a\n" +
		"record in the topic wasmill-audit: who, when, what, from where, and what came of it.\n" +
		"What Wasmill does by itself to plugins and configuration is there as well.\n\n" +
		"An action never waits for its record: when the topic takes none (the disk is full),\n" +
		"the verb says so, and the record is stored later."
	return c
}

// auditFlags adds the flags that choose records.
func auditFlags(c *cobra.Command, f *status.AuditFilter) {
	c.Flags().StringVar(&f.Action, "action", "", "only this `verb`, such as pipelines.pause, or its first word")
	c.Flags().StringVar(&f.Actor, "actor", "", "only what this `one` has done")
	c.Flags().StringVar(&f.Target, "target", "", "only what was done to this pipeline, plugin or `topic`")
	c.Flags().StringVar(&f.Outcome, "outcome", "", "only this `outcome`: ok, failed or begun")
}

func (a *app) auditListCmd() *cobra.Command {
	f := status.AuditFilter{}
	var since string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List what was done, newest first", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.Limit < 1 {
				return invalid("audit list: -n %d is not a number above 0", f.Limit)
			}
			var err error
			if f.Since, err = parseSince("audit list: --since", since, time.Now()); err != nil {
				return err
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.Audit(c.Context(), f)
			if err != nil {
				return fmt.Errorf("audit list: %w", err)
			}
			if a.json() {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				a.note("nothing was done")
				return nil
			}
			rows := make([][]string, len(list))
			for i := range list {
				r := &list[i]
				seq := fmt.Sprint(r.Seq)
				if r.Seq == 0 {
					seq = "not stored"
				}
				rows[i] = []string{
					seq, r.Time.Local().Format(time.DateTime), actorOf(r), r.Action, clean(r.Target), r.Outcome, clip(auditDetails(r), 120),
				}
			}
			return a.table([]string{"SEQ", "TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DETAILS"}, rows)
		},
	}
	auditFlags(c, &f)
	c.Flags().StringVar(&since, "since", "", "only since this RFC 3339 time, or for so `long`, such as 24h or 7d")
	c.Flags().IntVarP(&f.Limit, "limit", "n", 50, "at most so many")
	c.Flags().Uint64Var(&f.Before, "before", 0, "only records before this `seq`, to page on")
	return c
}

func (a *app) auditTailCmd() *cobra.Command {
	f := status.AuditFilter{}
	var from string
	c := &cobra.Command{
		Use: "tail", Short: "Show what is done as it is done", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("limit") && f.Limit < 1 {
				return invalid("audit tail: -n %d is not a number above 0", f.Limit)
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			show := func(r status.AuditRecord) error {
				_, err := fmt.Fprintf(a.stdout, "%s %s %s %s %s %s\n", r.Time.Local().Format(time.DateTime), actorOf(&r),
					a.paint(a.stdout, cyan, clean(r.Action)), clean(r.Target), r.Outcome, auditDetails(&r))
				return err
			}
			if a.json() {
				enc := json.NewEncoder(a.stdout)
				enc.SetEscapeHTML(false)
				show = func(r status.AuditRecord) error { return enc.Encode(r) }
			}
			n := 0
			err = cl.TailAudit(c.Context(), f, from, func(r status.AuditRecord) error {
				if err := show(r); err != nil {
					return err
				}
				if n++; n == f.Limit {
					return errInterrupted
				}
				return nil
			})
			if err != nil && (c.Context().Err() != nil || isBrokenPipe(err)) {
				return errInterrupted
			}
			if err != nil && !errors.Is(err, errInterrupted) {
				return fmt.Errorf("audit tail: %w", err)
			}
			return err
		},
	}
	auditFlags(c, &f)
	c.Flags().StringVar(&from, "from", "new", "`where` to begin: new, all, a seq, -N for the last N, or an RFC 3339 time")
	c.Flags().IntVarP(&f.Limit, "limit", "n", 0, "end after so many records")
	return c
}

// actorOf says who did it, and from where.
func actorOf(r *status.AuditRecord) string {
	who := clean(r.Actor)
	if r.Role != "" {
		who += " (" + clean(r.Role) + ")"
	}
	if r.Remote != "" {
		who += " " + clean(r.Remote)
	}
	return who
}

func auditDetails(r *status.AuditRecord) string {
	var parts []string
	for _, k := range sortedKeys(r.Details) {
		parts = append(parts, k+"="+r.Details[k])
	}
	if r.Requests > 1 {
		parts = append(parts, fmt.Sprintf("in %d requests", r.Requests))
	}
	if r.Error != "" {
		parts = append(parts, r.Error)
	}
	return clean(strings.Join(parts, ", "))
}

// parseSince reads an RFC 3339 time, or how long before now; "" is no time.
func parseSince(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := config.ParseDuration(s)
	if err != nil || d < 0 {
		return time.Time{}, invalid("%s %q is neither an RFC 3339 time nor a duration such as 24h or 7d", flag, s)
	}
	return now.Add(-time.Duration(d)), nil
}

// reloadsTo has what happens to plugins and configuration by itself recorded:
// files that have changed, plugins that are rolled back while on trial.
func reloadsTo(note func(status.AuditRecord)) event.Listener {
	return event.Listener{Reload: func(what, name, digest, result string, err error) {
		if err != nil && err.Error() == engine.ReasonOperator {
			return // it is in the log as theirs
		}
		rec := status.AuditRecord{Actor: itself, Action: "config.reload"}
		switch {
		case what == "config":
			name = filepath.Base(name)
		case result == "rolled_back":
			rec.Action = "plugins.rollback"
		default:
			rec.Action = "plugins.reload"
		}
		rec.Target = name
		if digest != "" {
			rec.Details = map[string]string{"digest": digest}
		}
		rec = auditOf(rec, err)
		if result == "rolled_back" { // err says why
			rec.Outcome = status.AuditOK
		}
		note(rec)
	}}
}

// auditOf gives a record its outcome.
func auditOf(rec status.AuditRecord, err error) status.AuditRecord {
	rec.Outcome = status.AuditOK
	if err != nil {
		rec.Outcome, rec.Error = status.AuditFailed, err.Error()
	}
	return rec
}

// Actors that have no token.
const (
	itself   = "wasmill" // the process: files have changed, or a plugin failed its trial
	signaled = "signal"
)
