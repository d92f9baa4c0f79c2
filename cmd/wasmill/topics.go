package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
	"github.com/wasmill/wasmill/runtime/status"
)

func (a *app) topicsCmd() *cobra.Command {
	return a.group("topics", "List and show topics, publish to and read from them",
		a.topicsListCmd(), a.named(topicNames, a.topicsShowCmd()), a.named(topicNames, a.topicsPublishCmd()), a.named(topicNames, a.topicsTailCmd()))
}

func (a *app) topicsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the topics", Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			list, err := cl.Topics(c.Context())
			if err != nil {
				return fmt.Errorf("topics list: %w", err)
			}
			if a.json() {
				return a.printJSON(list)
			}
			return a.printTopics(list)
		},
	}
}

func (a *app) topicsShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show everything about one topic", Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			t, err := cl.Topic(c.Context(), args[0])
			if err != nil {
				return hinted(c.Context(), cl, topicNames, args[0], fmt.Errorf("topics show: %w", err))
			}
			if a.json() {
				return a.printJSON(t)
			}
			maxBytes := ""
			if t.MaxBytes > 0 {
				maxBytes = size(t.MaxBytes)
			}
			last := "-"
			if !t.LastTime.IsZero() {
				last = t.LastTime.Local().Format(time.RFC3339) + ", " + age(t.LastTime, time.Now())
			}
			err = a.fields(
				"topic", t.Name,
				"subjects", strings.Join(t.Subjects, " "),
				"messages", count(t.Messages),
				"bytes", size(t.Bytes),
				"sequences", fmt.Sprintf("%d–%d", t.FirstSeq, t.LastSeq),
				"last message", last,
				"max age", days(t.MaxAge),
				"max bytes", maxBytes,
				"replicas", fmt.Sprint(t.Replicas),
				"consumers", fmt.Sprint(t.Consumers),
			)
			a.printLost(&t)
			return err
		},
	}
}

func (a *app) topicsTailCmd() *cobra.Command {
	req := admin.TailRequest{}
	var noFollow, payloadOnly bool
	c := &cobra.Command{
		Use:   "tail NAME",
		Short: "Show the messages of a topic as they come",
		Long: "Show the messages of a topic as they come. It reads without a consumer: looking\n" +
			"never takes part in delivery. With -o json each message is one line of JSON.",
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.client()
			if err != nil {
				return err
			}
			if c.Flags().Changed("limit") && req.Limit < 1 {
				return invalid("topics tail: -n %d is not a number above 0", req.Limit)
			}
			req.Topic, req.Follow = args[0], !noFollow
			show := a.showMessage
			switch {
			case a.json():
				enc := json.NewEncoder(a.stdout)
				enc.SetEscapeHTML(false)
				show = func(m status.Message) error { return enc.Encode(m) }
			case payloadOnly:
				show = func(m status.Message) error {
					if len(m.Base64) > 0 {
						a.printf("%s\n", m.Base64)
					} else {
						a.printf("%s\n", m.Payload)
					}
					return nil
				}
			}
			err = cl.Tail(c.Context(), req, show)
			if err != nil && (c.Context().Err() != nil || isBrokenPipe(err)) {
				return errInterrupted
			}
			if err != nil {
				return hinted(c.Context(), cl, topicNames, args[0], fmt.Errorf("topics tail: %w", err))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&req.From, "from", "new", "`where` to begin: new, all, a sequence, -N for the last N, or an RFC 3339 time")
	f.StringVar(&req.Subject, "subject", "", "only subjects that match this `filter`")
	f.IntVarP(&req.Limit, "limit", "n", 0, "end after so many messages")
	f.BoolVar(&noFollow, "no-follow", false, "end when everything at hand is shown")
	f.BoolVar(&payloadOnly, "payload", false, "print payloads only, one a line")
	return c
}

// days writes a duration of whole days as the TOML file does.
func days(s string) string {
	const day = 24 * time.Hour
	if d, err := time.ParseDuration(s); err == nil && d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return s
}

func (a *app) showMessage(m status.Message) error {
	_, err := fmt.Fprintf(a.stdout, "%s %s %s %s\n",
		a.paint(a.stdout, plain, fmt.Sprintf("%8d", m.Seq)),
		m.Time.Local().Format("15:04:05.000"),
		a.paint(a.stdout, cyan, clean(m.Subject)),
		strings.ReplaceAll(payloadText(m.Payload, m.Base64), "\n", " "))
	return err
}

func isBrokenPipe(err error) bool { return errors.Is(err, errBrokenPipe) }
