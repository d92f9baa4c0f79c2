package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/plugins/cases"
	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) dlqCmd() *cobra.Command {
	return a.group("dlq", "List, show, redrive and purge dead letters",
		a.dlqListCmd(), a.dlqShowCmd(), a.dlqRedriveCmd(), a.dlqPurgeCmd())
}

// filterFlags adds the flags that choose dead letters.
func filterFlags(c *cobra.Command, sel *admin.Selection) {
	c.Flags().StringVar(&sel.Pipeline, "pipeline", "", "only those of this `pipeline`")
	c.Flags().StringVar(&sel.Stage, "stage", "", "only those of this `stage`")
	c.Flags().StringVar(&sel.Plugin, "plugin", "", "only those of this `plugin`")
	c.Flags().StringVar(&sel.Fault, "fault", "", "only those with this `fault`, such as trap or deadline")
}

func (a *app) dlqListCmd() *cobra.Command {
	var sel admin.Selection
	var limit int
	var before uint64
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List dead letters, newest first", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.DeadLetters(c.Context(), status.DeadLetterFilter{
				Pipeline: sel.Pipeline, Stage: sel.Stage, Plugin: sel.Plugin, Fault: sel.Fault, Before: before, Limit: limit,
			})
			if err != nil {
				return fmt.Errorf("dlq list: %w", err)
			}
			if a.json() {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				a.note("no dead letters")
				return nil
			}
			rows := make([][]string, len(list))
			for i, d := range list {
				rows[i] = []string{
					fmt.Sprint(d.ID), age(d.Time, time.Now()), d.Pipeline + "/" + d.Stage, d.Fault,
					fmt.Sprintf("%s/%d", d.SourceTopic, d.SourceSeq), clip(clean(d.Cause), 80),
				}
			}
			return a.table([]string{"ID", "AGE", "PIPELINE/STAGE", "FAULT", "SOURCE", "CAUSE"}, rows)
		},
	}
	filterFlags(c, &sel)
	c.Flags().IntVarP(&limit, "limit", "n", 50, "at most so many")
	c.Flags().Uint64Var(&before, "before", 0, "only `ids` below this one, to page on")
	return c
}

func (a *app) dlqShowCmd() *cobra.Command {
	asTest := false
	c := &cobra.Command{
		Use: "show ID", Short: "Show one dead letter: cause, plugin, source and the original event", Args: exactly("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return invalid("dlq show: %q is not an id: take a number from \"wasmill dlq list\"", args[0])
			}
			cl, err := a.client()
			if err != nil {
				return err
			}
			d, err := cl.DeadLetter(c.Context(), id)
			if err != nil {
				return fmt.Errorf("dlq show: %w", err)
			}
			switch {
			case asTest:
				return a.deadLetterCase(d)
			case a.json():
				return a.printJSON(d)
			}
			return a.printDeadLetter(d)
		},
	}
	c.Flags().BoolVar(&asTest, "as-test", false, "write it as a case for \"wasmill test\", in cases beside the TOML file")
	return c
}

// deadLetterCase writes a case whose run shows the failure again, and says where.
func (a *app) deadLetterCase(d status.DeadLetter) error {
	file := a.file(nil)
	p, err := a.load(file)
	if err != nil {
		return err
	}
	content, err := cases.FromDeadLetter(p, d)
	if err != nil {
		return invalid("dlq show: %w", err)
	}
	name := filepath.Join(filepath.Dir(file), cases.Dir, fmt.Sprintf("dead-letter-%d%s", d.ID, cases.Ext))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fileError("dlq show: make", filepath.Dir(name), err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return invalid("dlq show: %s is there already", name)
	case err != nil:
		return fileError("dlq show: write", name, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fileError("dlq show: write", name, err)
	}
	if a.json() {
		return a.printJSON(map[string]string{"case": name})
	}
	a.printf("%s\n", name)
	a.note("it fails as it did: wasmill test %s", name)
	return nil
}

func (a *app) printDeadLetter(d status.DeadLetter) error {
	detail := strings.ReplaceAll(d.Detail, " | ", "\n")
	if err := a.fields(
		"id", fmt.Sprint(d.ID),
		"time", d.Time.Local().Format(time.RFC3339Nano),
		"pipeline", d.Pipeline,
		"stage", d.Stage,
		"plugin", d.Plugin,
		"digest", d.Digest,
		"fault", d.Fault,
		"cause", clean(d.Cause),
		"attempts", fmt.Sprint(d.Attempts),
		"source", fmt.Sprintf("%s sequence %d", d.SourceTopic, d.SourceSeq),
		"subject", clean(d.SourceSubject),
	); err != nil {
		return err
	}
	if d.Quarantine != "" {
		a.printf("after this event the pipeline was set aside: %s\n", clean(d.Quarantine))
	}
	for line := range strings.Lines(detail) {
		a.printf("    %s\n", clean(strings.TrimRight(line, "\n")))
	}
	if len(d.Headers) > 0 {
		a.printf("\nheaders\n")
		for _, k := range sortedKeys(d.Headers) {
			for _, v := range d.Headers[k] {
				a.printf("    %s: %s\n", clean(k), clean(v))
			}
		}
	}
	a.printf("\npayload\n")
	a.printf("%s\n", payloadText(d.Payload, d.Base64))
	return nil
}

// payloadText is a payload as it can be shown: text as it is, anything else as
// a note and Base64 in JSON output.
func payloadText(text string, binary []byte) string {
	if len(binary) > 0 {
		return fmt.Sprintf("(%s that are not text; -o json has them in Base64)", size(len(binary)))
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func (a *app) dlqRedriveCmd() *cobra.Command {
	var sel admin.Selection
	c := &cobra.Command{
		Use:   "redrive [ID…]",
		Short: "Publish the originals to their source topics again and remove the records",
		RunE: func(c *cobra.Command, args []string) error {
			return a.dlqChange(c, "redrive", "redriven", args, &sel, nil, (*admin.Client).Redrive)
		},
	}
	filterFlags(c, &sel)
	c.Flags().BoolVar(&sel.All, "all", false, "all dead letters")
	return c
}

func (a *app) dlqPurgeCmd() *cobra.Command {
	var sel admin.Selection
	var yes bool
	c := &cobra.Command{
		Use:   "purge [ID…]",
		Short: "Remove dead letters for good",
		RunE: func(c *cobra.Command, args []string) error {
			return a.dlqChange(c, "purge", "purged", args, &sel, &yes, (*admin.Client).Purge)
		},
	}
	filterFlags(c, &sel)
	c.Flags().BoolVar(&sel.All, "all", false, "all dead letters")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

type changeDeadLetters func(*admin.Client, context.Context, admin.Selection) (int, error)

// dlqChange redrives or purges what ids or flags choose; yes is nil when there
// is nothing to confirm.
func (a *app) dlqChange(c *cobra.Command, verb, done string, args []string, sel *admin.Selection, yes *bool, call changeDeadLetters) error {
	for _, arg := range args {
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return invalid("dlq %s: %q is not an id: take numbers from \"wasmill dlq list\"", verb, arg)
		}
		sel.IDs = append(sel.IDs, id)
	}
	filtered := sel.Pipeline != "" || sel.Stage != "" || sel.Plugin != "" || sel.Fault != ""
	switch {
	case len(sel.IDs) == 0 && !filtered && !sel.All:
		return invalid("dlq %s: say which: ids, --pipeline, --stage, --plugin, --fault, or --all", verb)
	case len(sel.IDs) > 0 && (filtered || sel.All), filtered && sel.All:
		return invalid("dlq %s: say either ids, or a filter, or --all", verb)
	}
	cl, err := a.client()
	if err != nil {
		return err
	}
	if yes != nil {
		if err := a.confirm(*yes, "dlq "+verb); err != nil {
			return err
		}
	}
	n, err := call(cl, c.Context(), *sel)
	if err != nil {
		return fmt.Errorf("dlq %s: %w", verb, err)
	}
	if a.json() {
		return a.printJSON(admin.Count{Count: n})
	}
	a.note("%s %s", plural(n, "dead letter"), done)
	return nil
}
