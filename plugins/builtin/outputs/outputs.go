// Package outputs checks the names of outputs in the configurations of
// ready-made plugins.
package outputs

import (
	"errors"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/sdk"
)

// Check returns why an instance cannot publish to the output that key of its
// configuration, such as "else", names; nil when it can.
func Check(in *sdk.Instance, key, name string) error {
	switch {
	case name == "":
		return errors.New("config." + key + ": the name of an output is missing; there is " + strings.Join(in.Outputs, ", "))
	case in.HasOutput(name):
		return nil
	case len(in.Outputs) > 1: // so this is the last stage
		return errors.New("config." + key + ": the pipeline has no output " + strconv.Quote(name) + "; it has " + strings.Join(in.Outputs, ", "))
	}
	pipeline := in.Pipeline
	if pipeline == "" {
		pipeline = "NAME"
	}
	return errors.New("config." + key + ": this stage has no output " + strconv.Quote(name) + ": name it, with its topic, in [pipelines." + pipeline +
		".outputs], and make this plugin the last stage, since all others hand their events to the next one")
}
