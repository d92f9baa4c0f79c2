package metrics

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Alerts are rules for Prometheus that say when a Wasmill wants somebody's
// attention, as the YAML file that Prometheus loads.
//
//go:embed alerts.yaml
var Alerts []byte

// Dashboard returns a Grafana dashboard of everything above, as the JSON that
// Grafana imports. It asks for a Prometheus data source and has variables for
// the job, the instances and the pipelines.
func Dashboard() ([]byte, error) {
	d := board{
		Title: "Wasmill", UID: "wasmill", Tags: []string{"wasmill"}, SchemaVersion: 39, Editable: true, Refresh: "10s",
		Time:       span{"now-30m", "now"},
		Templating: templating{List: variables()},
		Panels:     layout(rows()),
	}
	out, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the dashboard: %w", err)
	}
	return append(out, '\n'), nil
}

// The parts of Grafana's dashboard model that are used here.
type (
	board struct {
		Title         string     `json:"title"`
		UID           string     `json:"uid"`
		Tags          []string   `json:"tags"`
		SchemaVersion int        `json:"schemaVersion"`
		Editable      bool       `json:"editable"`
		Refresh       string     `json:"refresh"`
		Time          span       `json:"time"`
		Templating    templating `json:"templating"`
		Panels        []panel    `json:"panels"`
	}
	span struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	templating struct {
		List []variable `json:"list"`
	}
	variable struct {
		Name       string      `json:"name"`
		Label      string      `json:"label"`
		Type       string      `json:"type"`
		Query      string      `json:"query"`
		Datasource *datasource `json:"datasource,omitempty"`
		Refresh    int         `json:"refresh,omitempty"` // 2: when the time range changes
		Multi      bool        `json:"multi,omitempty"`
		IncludeAll bool        `json:"includeAll,omitempty"`
		AllValue   string      `json:"allValue,omitempty"`
		Current    *current    `json:"current,omitempty"`
	}
	current struct {
		Text  string `json:"text"`
		Value string `json:"value"`
	}
	datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	panel struct {
		ID          int         `json:"id"`
		Title       string      `json:"title"`
		Description string      `json:"description,omitempty"`
		Type        string      `json:"type"` // row, stat, timeseries or table
		GridPos     gridPos     `json:"gridPos"`
		Datasource  *datasource `json:"datasource,omitempty"`
		Targets     []target    `json:"targets,omitempty"`
		FieldConfig *fields     `json:"fieldConfig,omitempty"`
	}
	gridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	}
	target struct {
		RefID        string `json:"refId"`
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat,omitempty"`
		Instant      bool   `json:"instant,omitempty"`
		Format       string `json:"format,omitempty"`
		Exemplar     bool   `json:"exemplar,omitempty"`
	}
	fields struct {
		Defaults fieldDefaults `json:"defaults"`
	}
	fieldDefaults struct {
		Unit string   `json:"unit,omitempty"`
		Min  *float64 `json:"min,omitempty"`
	}
)

func prometheusSource() *datasource { return &datasource{"prometheus", "${datasource}"} }

func variables() []variable {
	from := func(name, label, query string) variable {
		return variable{
			Name: name, Label: label, Type: "query", Query: query, Datasource: prometheusSource(), Refresh: 2,
			Multi: true, IncludeAll: true, AllValue: ".*", Current: &current{"All", "$__all"},
		}
	}
	return []variable{
		{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"},
		from("job", "Job", "label_values(wasmill_ready, job)"),
		from("instance", "Instance", `label_values(wasmill_ready{job=~"$job"}, instance)`),
		from("pipeline", "Pipeline", `label_values(wasmill_pipeline_running{job=~"$job",instance=~"$instance"}, pipeline)`),
	}
}

// row is a heading and the panels below it.
type row struct {
	title  string
	panels []panel
}

// layout gives the panels their places, 24 columns wide, and their numbers.
func layout(rows []row) []panel {
	var out []panel
	y := 0
	for _, r := range rows {
		out = append(out, panel{ID: len(out) + 1, Type: "row", Title: r.title, GridPos: gridPos{0, y, 24, 1}})
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			if x+p.GridPos.W > 24 {
				x, y, height = 0, y+height, 0
			}
			p.ID, p.GridPos.X, p.GridPos.Y = len(out)+1, x, y
			x += p.GridPos.W
			height = max(height, p.GridPos.H)
			out = append(out, p)
		}
		y += height
	}
	return out
}

// query is one line of a graph: an expression and the legend.
type query struct{ expr, legend string }

func newPanel(kind, title, unit string, width, height int, queries []query) panel {
	zero := 0.0
	p := panel{
		Type: kind, Title: title, GridPos: gridPos{W: width, H: height}, Datasource: prometheusSource(),
		FieldConfig: &fields{fieldDefaults{Unit: unit, Min: &zero}},
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, target{RefID: string(rune('A' + i)), Expr: q.expr, LegendFormat: q.legend})
	}
	return p
}

// stat is a single number of the moment.
func stat(title, unit, expr string) panel {
	p := newPanel("stat", title, unit, 4, 4, []query{{expr, ""}})
	p.Targets[0].Instant = true
	return p
}

// graph is a chart over time, a third of the width.
func graph(title, unit string, queries ...query) panel {
	return newPanel("timeseries", title, unit, 8, 8, queries)
}

// latency is a graph of two quantiles of a histogram, with exemplars.
func latency(title, histogram, by string) panel {
	quantile := func(q string) string {
		return fmt.Sprintf("histogram_quantile(%s, sum by (le, %s) (rate(%s_bucket{%s}[$__rate_interval])))", q, by, histogram, ofPipeline)
	}
	p := graph(title, "s", query{quantile("0.5"), "{{" + by + "}} p50"}, query{quantile("0.99"), "{{" + by + "}} p99"})
	for i := range p.Targets {
		p.Targets[i].Exemplar = true
	}
	return p
}

const (
	ofInstance = `job=~"$job",instance=~"$instance"`
	ofPipeline = ofInstance + `,pipeline=~"$pipeline"`
)

func rate(metric, by string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s{%s}[$__rate_interval]))", by, metric, ofPipeline)
}

func gauge(metric, by string) string {
	return fmt.Sprintf("sum by (%s) (%s{%s})", by, metric, ofPipeline)
}

func instance(expr string) string { return fmt.Sprintf(expr, ofInstance) }

func rows() []row {
	generations := newPanel("table", "Generations in use", "", 24, 6, []query{
		{instance("wasmill_generation_number{%[1]s} * on (instance, plugin) group_left (digest) wasmill_generation_info{%[1]s}"), ""},
	})
	generations.Targets[0].Instant, generations.Targets[0].Format = true, "table"
	return []row{
		{"Now", []panel{
			stat("Instances that are ready", "", instance("sum(wasmill_ready{%s})")),
			stat("Pipelines that do not run", "", "sum(1 - wasmill_pipeline_running{"+ofPipeline+"})"),
			stat("Lag", "short", "sum(wasmill_lag_events{"+ofPipeline+"})"),
			stat("Dead letters, last hour", "short", "sum(increase(wasmill_events_dead_lettered_total{"+ofPipeline+"}[1h]))"),
			stat("Events lost", "short", "sum(wasmill_events_lost_total{"+ofPipeline+"})"),
			stat("Store used", "bytes", instance("sum(wasmill_store_bytes{%s})")),
		}},
		{"Events", []panel{
			graph("Read from topics", "ops", query{rate("wasmill_events_fetched_total", "pipeline"), "{{pipeline}}"}),
			graph("Published to topics", "ops", query{rate("wasmill_events_published_total", "pipeline, topic"), "{{pipeline}} → {{topic}}"}),
			graph("Lag", "short", query{gauge("wasmill_lag_events", "pipeline"), "{{pipeline}}"}),
			latency("From topic to confirmed outputs", "wasmill_end_to_end_seconds", "pipeline"),
			graph("In flight", "short", query{gauge("wasmill_in_flight_events", "pipeline"), "{{pipeline}}"}),
			graph("Waiting, by reason", "percentunit", query{rate("wasmill_backpressure_seconds_total", "pipeline, reason"), "{{pipeline}}: {{reason}}"}),
		}},
		{"Plugins", []panel{
			latency("Time of a call", "wasmill_call_seconds", "stage"),
			graph("Events in a call", "short", query{
				fmt.Sprintf("sum by (stage) (rate(wasmill_batch_events_sum{%[1]s}[$__rate_interval])) / sum by (stage) (rate(wasmill_batch_events_count{%[1]s}[$__rate_interval]))", ofPipeline),
				"{{stage}}",
			}),
			graph("Faults", "ops", query{rate("wasmill_faults_total", "stage, fault"), "{{stage}}: {{fault}}"}),
			graph("What became of events", "ops",
				query{rate("wasmill_events_out_total", "stage"), "{{stage}} emitted"},
				query{rate("wasmill_events_dropped_total", "stage"), "{{stage}} dropped"},
				query{rate("wasmill_events_retried_total", "stage"), "{{stage}} retried"},
				query{rate("wasmill_events_dead_lettered_total", "stage"), "{{stage}} dead-lettered"}),
			graph("Memory of instances", "bytes", query{instance("sum by (plugin) (wasmill_instance_memory_bytes{%s})"), "{{plugin}}"}),
			graph("Log lines", "ops", query{instance("sum by (plugin) (rate(wasmill_log_lines_total{%s}[$__rate_interval]))"), "{{plugin}}"}),
			generations,
		}},
		{"Topics and store", []panel{
			graph("Messages", "short", query{instance("sum by (topic) (wasmill_topic_messages{%s})"), "{{topic}}"}),
			graph("Bytes", "bytes", query{instance("sum by (topic) (wasmill_topic_bytes{%s})"), "{{topic}}"}),
			graph("Disk", "bytes",
				query{instance("wasmill_store_bytes{%s}"), "{{instance}} used"},
				query{instance("wasmill_store_free_bytes{%s}"), "{{instance}} free"}),
		}},
		{"Process", []panel{
			graph("Resident memory", "bytes", query{instance("process_resident_memory_bytes{%s}"), "{{instance}}"}),
			graph("Processors in use", "short", query{instance("rate(process_cpu_seconds_total{%s}[$__rate_interval])"), "{{instance}}"}),
			graph("Goroutines", "short", query{instance("go_goroutines{%s}"), "{{instance}}"}),
		}},
	}
}
