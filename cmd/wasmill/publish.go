package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
)

var errBrokenPipe error = syscall.EPIPE

// One request of a publish carries at most so much: small enough that the
// progress is what is confirmed, large enough that requests cost little.
const (
	lotBytes = 512 << 10
	lotLines = 4096
	maxLine  = 32 << 20
)

type publishFlags struct {
	subject string
	headers []string
	file    string
	rate    string
	whole   bool
}

func (a *app) topicsPublishCmd() *cobra.Command {
	var fl publishFlags
	c := &cobra.Command{
		Use:   "publish NAME [PAYLOAD…]",
		Short: "Publish messages: arguments, the lines of a file, or standard input",
		Long: "Publish messages: each argument, each line of --file, or each line of standard\n" +
			"input is one. It ends when all are confirmed by the topic.",
		Example: "  wasmill topics publish quakes --subject quakes.raw.us '{\"mag\":5.1}'\n" +
			"  wasmill topics publish quakes --subject 'quakes.raw.{json:/properties/net}' --file quakes.ndjson",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return invalid("topics publish: NAME is missing: usage: %s", c.UseLine())
			}
			return a.publish(c.Context(), args[0], args[1:], fl)
		},
	}
	f := c.Flags()
	f.StringVarP(&fl.subject, "subject", "s", "", "`subject`; {json:/pointer} is filled from each line (default: the topic's, when it has only one)")
	f.StringArrayVarP(&fl.headers, "header", "H", nil, "`header` \"Name: value\" of every message; may be repeated")
	f.StringVarP(&fl.file, "file", "f", "", "`file` of which each line is a message; - is standard input")
	f.StringVar(&fl.rate, "rate", "", "at most so many messages per second, such as 1000/s")
	f.BoolVar(&fl.whole, "whole", false, "the input is one message, line breaks and all")
	return c
}

func (a *app) publish(ctx context.Context, topic string, payloads []string, fl publishFlags) error {
	rate, err := parseRate("topics publish", fl.rate)
	if err != nil {
		return err
	}
	in, total, closeInput, err := a.publishInput(payloads, fl.file)
	if err != nil {
		return err
	}
	defer closeInput()
	cl, err := a.client()
	if err != nil {
		return err
	}
	p := &publishing{
		ctx:  ctx,
		rate: rate,
		send: func(body []byte) (admin.Published, error) {
			return cl.Publish(ctx, admin.PublishRequest{
				Topic: topic, Subject: fl.subject, Headers: fl.headers, Body: body, Whole: fl.whole,
			})
		},
		begin: time.Now(),
	}
	live := isTerminal(a.stderr)
	p.progress = func() {
		if live {
			fmt.Fprintf(a.stderr, "\r\x1b[K%s", p.line(topic, total))
		}
	}
	if fl.whole {
		err = p.whole(in)
	} else {
		err = p.lines(in)
	}
	if live {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	if a.json() && err == nil {
		return a.printJSON(admin.Published{Published: p.done, Bytes: p.bytes})
	}
	if err == nil || p.done > 0 {
		a.note("%s", p.line(topic, 0))
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return &exitError{exitFailure, errors.New("topics publish: interrupted before the end of the input")}
	case err != nil:
		return hinted(ctx, cl, topicNames, topic, fmt.Errorf("topics publish: %w", err))
	}
	return nil
}

// publishInput opens what is to be published; total is its size, 0 if unknown.
func (a *app) publishInput(payloads []string, file string) (in io.Reader, total int64, closeInput func(), err error) {
	nothing := func() {}
	switch {
	case len(payloads) > 0 && file != "":
		return nil, 0, nil, invalid("topics publish: give either payloads or --file, not both")
	case len(payloads) > 0:
		text := strings.Join(payloads, "\n")
		return strings.NewReader(text), 0, nothing, nil
	case file == "" && isTerminal(a.stdin):
		return nil, 0, nil, invalid("topics publish: nothing to publish: give payloads, --file, or lines on standard input")
	case file == "" || file == "-":
		return a.stdin, 0, nothing, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, nil, fileError("topics publish: read", file, err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		total = info.Size()
	}
	return f, total, func() { f.Close() }, nil
}

func parseRate(verb, s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(n > 0) || n > 1e9 {
		return 0, invalid("%s: --rate %q is not a number per second, such as 1000/s", verb, s)
	}
	return n, nil
}

// publishing sends messages in lots and counts what is confirmed.
type publishing struct {
	ctx      context.Context //nolint:containedctx // one call of publish, which waits for it
	rate     float64         // messages per second, 0 = as fast as they are confirmed
	send     func(body []byte) (admin.Published, error)
	progress func()

	begin time.Time
	done  int // confirmed messages
	bytes int // of their payloads
	read  int64
	line0 int // lines of the input before the lot at hand
}

// line says how far it is.
func (p *publishing) line(topic string, total int64) string {
	d := time.Since(p.begin)
	s := fmt.Sprintf("%s, %s to topic %s in %s", counted(p.done, "message"), size(p.bytes), topic, d.Round(time.Millisecond))
	if d > 100*time.Millisecond {
		s += fmt.Sprintf(", %s/s", count(int(float64(p.done)/d.Seconds())))
	}
	if total > 0 {
		s += fmt.Sprintf(", %d %%", p.read*100/total)
	}
	return s
}

func (p *publishing) whole(in io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(in, maxLine+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the input: %w", err)
	case len(body) > maxLine:
		return invalid("the input is larger than %s", size(maxLine))
	case len(body) == 0:
		return invalid("the input is empty")
	}
	return p.post(body, 1)
}

type inputLine struct {
	text []byte
	err  error // io.EOF with the last one
}

// lines sends what is at hand as soon as it is there: a slow input is confirmed
// line by line, a fast one in full lots.
func (p *publishing) lines(in io.Reader) error {
	ch := make(chan inputLine, lotLines)
	// Reading standard input cannot be interrupted: the goroutine ends with the
	// input, or with the process.
	go readLines(p.ctx, in, ch)
	var body bytes.Buffer
	for ended := false; !ended; {
		body.Reset()
		n := 0
		limit := p.allowance()
		for n < limit && body.Len() < lotBytes && !ended {
			l, ok, err := p.next(ch, n == 0)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			body.Write(l.text)
			n++
			if errors.Is(l.err, io.EOF) {
				ended = true
			} else if l.err != nil {
				return fmt.Errorf("read line %d: %w", p.line0+n, l.err)
			}
		}
		if err := p.post(body.Bytes(), n); err != nil {
			return err
		}
		if err := p.pause(); err != nil && !ended {
			return err
		}
	}
	return nil
}

// next takes a line; wait says whether to wait for one.
func (p *publishing) next(ch <-chan inputLine, wait bool) (inputLine, bool, error) {
	if !wait {
		select {
		case l := <-ch:
			return l, true, nil
		default:
			return inputLine{}, false, nil
		}
	}
	select {
	case l := <-ch:
		return l, true, nil
	case <-p.ctx.Done():
		return inputLine{}, false, p.ctx.Err()
	}
}

func readLines(ctx context.Context, in io.Reader, ch chan<- inputLine) {
	br := bufio.NewReaderSize(in, 64<<10)
	for {
		text, err := br.ReadBytes('\n')
		if len(text) > maxLine {
			err = fmt.Errorf("it is longer than %s", size(maxLine))
		}
		select {
		case ch <- inputLine{text, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// allowance is how many messages the next lot may have: what the rate makes due
// within the next tenth of a second.
func (p *publishing) allowance() int {
	if p.rate == 0 {
		return lotLines
	}
	due := int(time.Since(p.begin).Seconds()*p.rate+p.rate/10) - p.done
	return max(1, min(due, lotLines))
}

// pause waits until the next message is due.
func (p *publishing) pause() error {
	if p.rate == 0 {
		return p.ctx.Err()
	}
	return sleepUntil(p.ctx, p.begin.Add(time.Duration(float64(p.done)/p.rate*float64(time.Second))))
}

// post sends one lot of n lines and counts what the topic confirmed.
func (p *publishing) post(body []byte, n int) error {
	if len(bytes.TrimSpace(body)) > 0 {
		res, err := p.send(body)
		p.done += res.Published
		p.bytes += res.Bytes
		if err != nil {
			return err
		}
		if res.Error != "" {
			return invalid("line %d: %s", p.line0+res.Line, res.Error)
		}
	}
	p.read += int64(len(body))
	p.line0 += n
	p.progress()
	return nil
}
