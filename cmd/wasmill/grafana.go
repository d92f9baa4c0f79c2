package main

import (
	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/metrics"
)

func (a *app) grafanaCmd() *cobra.Command {
	var alerts bool
	c := &cobra.Command{
		Use:   "grafana",
		Short: "Print a dashboard for Grafana, or alert rules for Prometheus",
		Long: "Print a dashboard of the metrics under /metrics, as the JSON that Grafana imports:\n" +
			"wasmill grafana > dashboard.json. With --alerts print rules for Prometheus's\n" +
			"rule_files instead. Both need a Prometheus that scrapes the admin endpoint.",
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			out := metrics.Alerts
			if !alerts {
				var err error
				if out, err = metrics.Dashboard(); err != nil {
					return err
				}
			}
			a.printf("%s", out)
			return nil
		},
	}
	c.Flags().BoolVar(&alerts, "alerts", false, "print alert rules for Prometheus")
	return c
}
