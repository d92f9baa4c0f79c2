package builtin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/plugins/builtin/explode"
	"github.com/wasmill/wasmill/plugins/builtin/filter"
	mapping "github.com/wasmill/wasmill/plugins/builtin/map"
	"github.com/wasmill/wasmill/plugins/builtin/redact"
	"github.com/wasmill/wasmill/plugins/builtin/route"
	"github.com/wasmill/wasmill/plugins/builtin/sample"
	"github.com/wasmill/wasmill/plugins/builtin/validate"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

// A configuration that makes no sense is refused, with the key that is wrong
// and, of an expression, the line and column.
func TestRefusals(t *testing.T) {
	opens := map[string]sdk.Opener{
		"filter": filter.Open, "map": mapping.Open, "route": route.Open, "explode": explode.Open,
		"redact": redact.Open, "sample": sample.Open, "validate": validate.Open,
	}
	for _, c := range []struct{ name, config, want string }{
		{"filter", `{}`, "config: where is missing"},
		{"filter", `{"wher":"true"}`, `config: unknown key "wher"; there is where, else`},
		{"filter", `{"where":"paylod.mag > 1"}`, "config.where:1:1: unknown name paylod"},
		{"filter", `{"where":"true and\nsubject > 5"}`, "config.where:2:9: > does not work on text and a number"},
		{"filter", `{"where":"true","else":"nowhere"}`, `config.else: the pipeline has no output "nowhere"`},
		{"filter", `{"where":"true","else":"nowhere"}`, `"nowhere"; it has default, other`},
		{"sample", `{"rate":1,"else":"nowhere"}`, `config.else: the pipeline has no output "nowhere"; it has default, other`},
		{"validate", `{"schema":{},"invalid":"nowhere"}`, `config.invalid: the pipeline has no output "nowhere"; it has default, other`},
		{"route", `{"rules":[{"when":"true"}]}`, `config.rules[0].to: the name of an output is missing; there is default, other`},
		{"map", `{}`, "config: nothing to do"},
		{"map", `{"payload":"1","set":{"a":"1"}}`, "config.set: payload builds the whole"},
		{"map", `{"payload":{"a":{"b":"payload.x +"}}}`, "config.payload.a.b:1:"},
		{"map", `{"set":{"a":["x"]}}`, "config.set.a: want an expression"},
		{"map", `{"headers":{"X-A":")"}}`, "config.headers.X-A:1:1: unexpected token"},
		{"map", `{"subject":"1 > 2"}`, "config.subject:1:1: the expression gives a boolean, not text"},
		{"route", `{}`, "config: rules is missing"},
		{"route", `{"rules":[{"when":"true","to":"a"}]}`, `config.rules[0].to: the pipeline has no output "a"; it has default, other`},
		{"route", `{"rules":[{"when":"true","to":"other"},{"when":"tru","to":"other"}]}`, "config.rules[1].when:1:1: unknown name tru"},
		{"route", `{"rules":[{"when":"true","to":"other"}],"match":"some"}`, `config.match: want "first" or "all"`},
		{"explode", `{}`, "config: array is missing"},
		{"explode", `{"array":"items"}`, `config.array: JSON pointer "items" must be empty or begin with /`},
		{"explode", `{"array":"","empty":"keep"}`, `config.empty: want "drop", "pass" or "dead-letter", got "keep"`},
		{"explode", `{"array":"","parent":{"a":"b"}}`, `config.parent.a: JSON pointer "b"`},
		{"redact", `{}`, "config: nothing to redact"},
		{"redact", `{"mask":["/a","b"]}`, `config.mask[1]: JSON pointer "b"`},
		{"redact", `{"text":["("]}`, "config.text[0]: error parsing regexp"},
		{"redact", `{"text":["a*"]}`, "config.text[0]: a* matches the empty text"},
		{"sample", `{}`, "config: rate is missing"},
		{"sample", `{"rate":1.5}`, "config.rate: want a number from 0 to 1, got 1.5"},
		{"sample", `{"rate":1,"by":"subject:0"}`, `config.by: subject:N needs the number of a token, from 1; got "0"`},
		{"sample", `{"rate":1,"by":"user"}`, `config.by: there are "key", "seq"`},
		{"validate", `{}`, "config: schema is missing"},
		{"validate", `{"schema":{"type":"objekt"}}`, "config.schema.type: none of the alternatives fits: got string, want array, or value must be one of"},
		{"validate", `{"schema":{"properties":{"a":{"minimum":"1"}}}}`, "config.schema.properties.a.minimum: got string, want number"},
		{"validate", `{"schema":"{\n\"type\": }"}`, "config.schema:2:9: the text is not JSON"},
		{"validate", `{"schema":"{\"type\":\"objekt\"}"}`, `config.schema: at "/type": none of the alternatives fits`},
		{"validate", `{"schema":{"$ref":"http://localhost/other.json"}}`, "config.schema: failing loading \"http://localhost/other.json\": the schema refers to http://localhost/other.json; a plugin can read nothing but its configuration"},
		{"validate", `{"schema":{"pattern":"("}}`, "config.schema.pattern:"},
	} {
		err := sdktest.Refused(t, sdktest.Options{Plugin: opens[c.name], Config: json.RawMessage(c.config), Outputs: []string{"other"}})
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s\ngot  %v\nwant %s", c.name, c.config, err, c.want)
		}
	}
}

// A module of several plugins says so when it is used by its path.
func TestASharedModuleIsNotUsedByItsPath(t *testing.T) {
	h := openHost(t)
	for _, name := range []string{"filter", "redact"} {
		p, err := tryOpenAs(t, h, name, "", `{}`)
		if err == nil || !strings.Contains(err.Error(), `it is used by builtin = `) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// A sample has the size that was asked for, whatever decides.
func TestSampleIsAsLargeAsAsked(t *testing.T) {
	for _, c := range []struct {
		config string
		least  int
		most   int
	}{
		{`{"rate":0}`, 0, 0},
		{`{"rate":1}`, 10000, 10000},
		{`{"rate":0.1}`, 900, 1100},
		{`{"rate":0.01,"salt":"x"}`, 60, 140},
		{`{"rate":0.5,"by":"subject:2"}`, 4700, 5300},
		{`{"rate":0.5,"by":"json:/n"}`, 4700, 5300},
		{`{"rate":0.5,"by":"header:None"}`, 0, 10000},
	} {
		p := sdktest.Open(t, sdktest.Options{Plugin: sample.Open, Config: json.RawMessage(c.config)})
		events := make([]sdktest.Event, 10000)
		for i := range events {
			n := strings.Repeat("i", i%7) + string(rune('a'+i%26)) + strings.Repeat("z", i/26%400)
			events[i] = sdktest.Event{Subject: "s." + n + "." + n, Payload: `{"n":"` + n + `"}`}
		}
		if kept := len(p.Process(events...).Outputs); kept < c.least || kept > c.most {
			t.Errorf("%s keeps %d of %d", c.config, kept, len(events))
		}
	}
}
