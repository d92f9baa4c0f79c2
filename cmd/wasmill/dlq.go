package main

import (
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
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) dlqCmd() *cobra.Command {
	return a.group("dlq", "List, show, redrive and purge dead letters",
		a.dlqListCmd(), a.dlqShowCmd(), a.dlqRedriveCmd(), a.dlqPurgeCmd())
}

func (a *app) dlqListCmd() *cobra.Command {
	var fl letterFlags
	var limit int
	var before uint64
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List dead letters, newest first", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if err := fl.resolve("dlq list"); err != nil {
				return err
			}
			f := fl.sel.Filter()
			f.Before, f.Limit = before, limit
			list, err := cl.DeadLetters(c.Context(), f)
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
	fl.add(c)
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
