package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wasmill/wasmill/runtime/broker"
	"github.com/wasmill/wasmill/runtime/event"
	"github.com/wasmill/wasmill/runtime/plan"
	"github.com/wasmill/wasmill/runtime/status"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

//go:embed quickstart
var quickstartFiles embed.FS

const (
	quickstartTOML   = "wasmill.toml"
	quickstartEvents = "earthquakes.ndjson"
	quickstartIn     = "quakes"
	quickstartOut    = "alerts"
)

// quickstartSummary is what "quickstart -o json" prints.
type quickstartSummary struct {
	In      uint64  `json:"events_in"`
	Out     uint64  `json:"events_out"`
	Dropped uint64  `json:"events_dropped"`
	P50     float64 `json:"latency_p50_ms"` // from stored in the input topic to stored in the output topic
	P99     float64 `json:"latency_p99_ms"`
	Ready   float64 `json:"ready_ms"`
	Took    float64 `json:"took_ms"`
}

func (a *app) quickstartCmd() *cobra.Command {
	var keep string
	var stay bool
	c := &cobra.Command{
		Use:   "quickstart",
		Short: "Run a week of real earthquakes through a plugin; needs nothing but this binary",
		Long: "Run a week of real earthquakes through an embedded plugin, in a temporary\n" +
			"directory and on free ports, and show what comes out.",
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			dir, cleanup, err := quickstartDir(keep)
			if err != nil {
				return err
			}
			defer cleanup()
			return a.quickstart(c.Context(), dir, keep, stay)
		},
	}
	c.Flags().StringVar(&keep, "keep", "", "write everything to this new `directory` and keep it")
	c.Flags().BoolVar(&stay, "stay", false, "go on running until Ctrl-C")
	return c
}

// quickstartDir makes the directory to work in: keep, which must be new or
// empty, or a temporary one that cleanup removes.
func quickstartDir(keep string) (dir string, cleanup func(), err error) {
	if keep == "" {
		dir, err = os.MkdirTemp("", "wasmill-quickstart-")
		if err != nil {
			return "", nil, environment("quickstart: make a temporary directory: %w", err)
		}
		return dir, func() { os.RemoveAll(dir) }, nil
	}
	if err := os.MkdirAll(keep, 0o755); err != nil { //nolint:gosec // a project directory like any other
		return "", nil, environment("quickstart: make %s: %w", keep, err)
	}
	entries, err := os.ReadDir(keep)
	if err != nil {
		return "", nil, environment("quickstart: read %s: %w", keep, err)
	}
	if len(entries) > 0 {
		return "", nil, invalid("quickstart: --keep %s: the directory is not empty: name a new one", keep)
	}
	return keep, func() {}, nil
}

func (a *app) quickstart(ctx context.Context, dir, keep string, stay bool) (err error) {
	begin := time.Now()
	events, err := writeQuickstart(dir)
	if err != nil {
		return err
	}
	p, err := a.load(filepath.Join(dir, quickstartTOML))
	if err != nil {
		return err
	}
	// Free ports: it runs beside whatever else does. The file keeps the usual ones.
	p.Server.Listen, p.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	log, err := newLogger(a.stderr, "text", "warn")
	if err != nil {
		return err
	}
	in, err := a.openPatiently(ctx, p, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	st, ready := in.waitReady(ctx, 30*time.Second)
	if !ready {
		return fmt.Errorf("quickstart: not ready: %s", strings.Join(st.Problems, "; "))
	}
	sum := quickstartSummary{Ready: ms(time.Since(begin))}
	a.note("%s, an embedded NATS server and the plugin are up after %d ms.", a.paint(a.stderr, cyan, "wasmill"), time.Since(begin).Milliseconds())
	a.note("%s earthquakes: topic %s → plugin strong (magnitude ≥ 5) → topic %s\n", count(len(events)), quickstartIn, quickstartOut)

	if err := a.quickstartRun(ctx, in, events, &sum); err != nil {
		return fmt.Errorf("quickstart: %w", err)
	}
	sum.Took = ms(time.Since(begin))
	if a.json() {
		if err := a.printJSON(sum); err != nil {
			return err
		}
	}
	a.note("\n%s in, %s out, %s dropped by the plugin; stored in → stored out: p50 %.2f ms, p99 %.2f ms.",
		count(sum.In), count(sum.Out), count(sum.Dropped), sum.P50, sum.P99)
	a.quickstartNext(in, keep, stay)
	if stay {
		<-ctx.Done()
		a.note("draining; a second signal exits at once")
	}
	return nil
}

// openPatiently says so when the first run takes a moment.
func (a *app) openPatiently(ctx context.Context, p *plan.Plan, log *slog.Logger) (*instance, error) {
	slow := time.AfterFunc(400*time.Millisecond, func() {
		a.note("compiling the plugin to machine code; the result is kept for the next start …")
	})
	defer slow.Stop()
	return a.open(ctx, p, opening{log: log})
}

// writeQuickstart puts the configuration and the events into dir and returns
// the events, one JSON object each.
func writeQuickstart(dir string) ([][]byte, error) {
	toml, err := quickstartFiles.ReadFile("quickstart/" + quickstartTOML)
	if err != nil {
		return nil, fmt.Errorf("quickstart: %w", err)
	}
	packed, err := quickstartFiles.ReadFile("quickstart/" + quickstartEvents + ".gz")
	if err != nil {
		return nil, fmt.Errorf("quickstart: %w", err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("quickstart: unpack the events: %w", err)
	}
	ndjson, err := io.ReadAll(zr)
	if err != nil {
		return nil, fmt.Errorf("quickstart: unpack the events: %w", err)
	}
	for name, content := range map[string][]byte{quickstartTOML: toml, quickstartEvents: ndjson} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // public data
			return nil, environment("quickstart: write %s: %w", filepath.Join(dir, name), err)
		}
	}
	var events [][]byte
	for lines := bufio.NewScanner(bytes.NewReader(ndjson)); lines.Scan(); {
		events = append(events, slices.Clone(lines.Bytes()))
	}
	return events, nil
}

// quickstartRun publishes the events one by one, as they would come in, and
// prints what the pipeline lets through meanwhile.
func (a *app) quickstartRun(ctx context.Context, in *instance, events [][]byte, sum *quickstartSummary) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		begin := time.Now()
		for i, e := range events {
			if err := sleepUntil(ctx, begin.Add(time.Duration(i)*quickstartPace)); err != nil {
				return err
			}
			network, _ := jsonptr.Find(e, "/properties/net")
			m := event.Output{Subject: "quakes.raw." + network.String(), Payload: e}
			if _, err := in.broker.Publish(ctx, quickstartIn, m); err != nil {
				return err
			}
		}
		return nil
	})
	var latencies []time.Duration
	g.Go(func() error {
		if !a.json() {
			a.printf("%-20s  %-9s  %-10s  %s\n", "TIME (UTC)", "MAGNITUDE", "SUBJECT", "PLACE")
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for next := uint64(1); ; {
			p, err := in.engine.Pipeline(quickstartOut)
			if err != nil {
				return err
			}
			// Read before the messages: what it counts as finished is stored by now.
			finished := p.AckedSeq >= uint64(len(events)) && p.InFlight == 0
			for {
				m, err := in.broker.Next(ctx, quickstartOut, next, "")
				if errors.Is(err, broker.ErrNotFound) {
					break
				}
				if err != nil {
					return err
				}
				next = m.Seq + 1
				d, err := quickstartLatency(ctx, in.broker, m)
				if err != nil {
					return err
				}
				latencies = append(latencies, d)
				a.printQuake(m)
			}
			if finished {
				sum.In, sum.Out, sum.Dropped = p.In, p.Out, p.Dropped
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		sum.P50, sum.P99 = ms(latencies[n/2]), ms(latencies[n*99/100])
	}
	return nil
}

// quickstartLatency is the time from the event being stored in its topic to the
// output being stored in its own; the header of the output names the event.
func quickstartLatency(ctx context.Context, b *broker.Broker, out status.Message) (time.Duration, error) {
	source := ""
	if h := out.Headers["Wasmill-Source"]; len(h) > 0 {
		source = h[0]
	}
	parts := strings.Split(source, "/")
	if len(parts) < 2 {
		return 0, fmt.Errorf("output %d does not name its event", out.Seq)
	}
	seq, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("output %d does not name its event: %w", out.Seq, err)
	}
	src, err := b.Get(ctx, parts[0], seq)
	if err != nil {
		return 0, err
	}
	return out.Time.Sub(src.Time), nil
}

func (a *app) printQuake(m status.Message) {
	if a.json() {
		return // the summary is the document
	}
	var q struct {
		Properties struct {
			Mag   float64 `json:"mag"`
			Place string  `json:"place"`
			Time  int64   `json:"time"`
		} `json:"properties"`
	}
	if err := json.Unmarshal([]byte(m.Payload), &q); err != nil {
		a.printf("%s\n", clean(m.Payload))
		return
	}
	mag := fmt.Sprintf("%-9.1f", q.Properties.Mag)
	if q.Properties.Mag >= 6 {
		mag = a.paint(a.stdout, red, mag)
	}
	a.printf("%-20s  %s  %-10s  %s\n", time.UnixMilli(q.Properties.Time).UTC().Format(time.DateTime), mag, clean(m.Subject), clean(q.Properties.Place))
}

func (a *app) quickstartNext(in *instance, keep string, stay bool) {
	a.note("\nTry next:")
	if stay {
		url := in.admin.URL()
		a.note("  wasmill --admin %s status", url)
		a.note("  wasmill --admin %s topics tail alerts --from all", url)
		a.note("  nats --server %s sub 'alerts.>'", in.broker.ClientURL())
		a.note("\nRunning; Ctrl-C ends it.")
		return
	}
	if keep != "" {
		a.note("  cd %s && wasmill run                 # the same, to stay; edit wasmill.toml while it runs", keep)
		a.note("  wasmill status                       # in a second terminal, same directory")
		a.note("  wasmill topics tail alerts --from all")
		a.note("  wasmill topics publish quakes -s 'quakes.raw.{json:/properties/net}' -f %s", quickstartEvents)
		return
	}
	a.note("  wasmill quickstart --keep demo       # keep the files, then: cd demo && wasmill run")
	a.note("  wasmill quickstart --stay            # look around while it runs")
	a.note("  wasmill new plugin my-plugin         # write your own, in Go: cd my-plugin && wasmill build && wasmill run")
}

// quickstartPace spreads the week over a second, so that one can see it flow.
const quickstartPace = 600 * time.Microsecond

func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
