package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sound is a valid configuration that the cases below add to or change.
const sound = `[topics.a]
subjects = ["a.>"]
[topics.b]
subjects = ["b.>"]
[plugins.g]
builtin = "pass"
[pipelines.p]
from = "a"
stages = ["g"]
to = "b"
subject = "b.{subject.2}"
`

// TestFindings lists everything that can be found, each in a text that is
// otherwise sound.
func TestFindings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"nothing wrong", sound, nil},

		// Syntax.
		{"a syntax error", edit(`from = "a"`, `from = "a`), []string{`8:10: syntax: strings cannot contain newlines`}},
		{"several syntax errors, and what else is local", edit(`from = "a"`, "from = = 1", `to = "b"`, "to = ", `stages = ["g"]`, "stages = 1"), []string{
			`8:8: syntax: expected value but found '=' instead`,
			`9:10: wrong-type: pipelines.p.stages is an integer; want a list of strings`,
			`10:6: syntax: expected value but found '\n' instead`,
		}},
		{"a key twice", edit("to = \"b\"\n", "to = \"b\"\nto = \"c\"\n"), []string{`11:1: syntax: Key 'pipelines.p.to' has already been defined.`}},
		{"a broken table header", edit("[plugins.g]", "[plugins.g", `subjects = ["a.>"]`, "subjects = 1"), []string{
			`2:12: wrong-type: topics.a.subjects is an integer; want a list of strings`,
			`5:11: syntax: expected '.' or ']' to end table name, but got '\n' instead`,
		}},

		// Keys and types.
		{"an unknown table", sound + "[topcs.x]", []string{`12:2: unknown-key: there is no key "topcs" at the top (did you mean "topics"?)`}},
		{"an unknown key", sound + "[server]\nstoredir = 'x'", []string{`13:1: unknown-key: there is no key "storedir" in server (did you mean "store_dir"?)`}},
		{"an unknown key that is like nothing", sound + "[server]\nx = 1", []string{`13:1: unknown-key: there is no key "x" in server`}},
		{"a key one table too high", edit("[plugins.g]", "[plugins.g]\ndeadline = '1s'"), []string{
			`6:1: unknown-key: there is no key "deadline" in plugins.g (did you mean "limits.deadline"?)`,
		}},
		{"an unknown key in an inline table", edit(`from = "a"`, "from = \"a\"\nbatch = { max_event = 1 }"), []string{
			`9:11: unknown-key: there is no key "max_event" in pipelines.p.batch (did you mean "max_events"?)`,
		}},
		{"wrong types", edit(`subjects = ["a.>"]`, `subjects = "a.>"`, `stages = ["g"]`, `stages = [1, "g"]`) + "[server]\nlisten = 1\ntls = 5\nmax_store = true\n[admin]\ntoken = 1", []string{
			`2:12: wrong-type: topics.a.subjects is a string; want a list of strings: ["a.>"]`,
			`9:11: wrong-type: pipelines.p.stages[0] is an integer; want a string`,
			`13:10: wrong-type: server.listen is an integer; want a string`,
			`14:7: wrong-type: server.tls is an integer; want a table`,
			`15:13: wrong-type: server.max_store is a boolean; want a size such as "64MiB"`,
			`17:9: wrong-type: admin.token is an integer; want "env:NAME" or "file:PATH"`,
		}},
		{"a list of tables", sound + "[[plugins.x]]\nbuiltin = 'pass'", []string{`12:11: wrong-type: plugins.x is a list of tables; want a table`}},

		// Values.
		{"sizes, durations and rates", sound + "[plugins.g.limits]\nmemory = '64MB'\ndeadline = '5'\nrate = '100'\nmax_output_bytes = -1\nmax_in_flight = 0", []string{
			`13:10: bad-value: plugins.g.limits.memory: "64MB": write a size as "64MiB" (B, KiB, MiB, GiB, TiB) (did you mean "64MiB"?)`,
			`14:12: bad-value: plugins.g.limits.deadline: "5": write a duration as "100ms" (ns, us, ms, s, m, h, d)`,
			`15:8: bad-value: plugins.g.limits.rate: "100": write a rate as "20000/s" (did you mean "100/s"?)`,
			`16:20: bad-value: plugins.g.limits.max_output_bytes: -1: it must not be negative`,
			`17:17: out-of-range: plugins.g.limits.max_in_flight is 0; the least is 1`,
		}},
		{"tracing", sound + "[tracing]\nendpoint = 'collector:4318'\nsample_ratio = 1.5\ntimeout = '1ms'\nheaders = { Authorization = 'Bearer x', 'a b' = 'env:X' }", []string{
			`13:12: bad-value: tracing.endpoint: write the URL of a receiver, as in "http://127.0.0.1:4318"`,
			`14:16: bad-value: tracing.sample_ratio: "1.5": write a share from 0 to 1, as in 0.01`,
			`15:11: out-of-range: tracing.timeout is 1ms; the least is 100ms`,
			`16:29: bad-value: tracing.headers.Authorization: a secret is written "env:NAME" or "file:PATH", never as its value`,
			`16:41: bad-name: "a b" cannot be the name of a header`,
		}},
		{"tracing with a password in the URL", sound + "[tracing]\nendpoint = 'http://me:secret@collector:4318'\nsample_ratio = '1 %'", []string{
			`13:12: bad-value: tracing.endpoint holds a user name or password; use tracing.headers: { Authorization = "env:NAME" }`,
			`14:16: wrong-type: tracing.sample_ratio is a string; want a number from 0 to 1`,
		}},
		{"tracing to nowhere", sound + "[tracing]\nsample_ratio = 1", []string{
			`13:1: missing: tracing.endpoint is missing, so nothing is traced: endpoint = "http://127.0.0.1:4318"`,
		}},
		{"tracing as it should be", sound + "[tracing]\nendpoint = 'https://collector/otlp/v1/traces'\nsample_ratio = 0\nheaders = { Authorization = 'env:OTLP_AUTHORIZATION' }", nil},
		{"limits out of range", sound + "[plugins.g.limits]\nmemory = '1KiB'\ndeadline = '1h'\n[topics.dead-letters]\nmax_age = '1ms'\nreplicas = 9", []string{
			`13:10: out-of-range: plugins.g.limits.memory is 1KiB; the least is 1MiB`,
			`14:12: out-of-range: plugins.g.limits.deadline is 1h; the most is 10m`,
			`16:11: out-of-range: topics.dead-letters.max_age is 1ms; the least is 1s`,
			`17:12: out-of-range: topics.dead-letters.replicas is 9; the most is 5`,
		}},
		{"a batch larger than what may be in flight", edit(`from = "a"`, "from = \"a\"\nbatch = { max_events = 200, max_bytes = '1MiB' }") + "[plugins.g.limits]\nmax_in_flight = 100\nmax_in_flight_bytes = '64KiB'", []string{
			`9:24: conflict: batches of 200 events cannot be filled: the plugin "g" has max_in_flight 100`,
			`9:41: conflict: batches of 1MiB cannot be filled: the plugin "g" has max_in_flight_bytes 64KiB`,
		}},
		{"choices", edit(`from = "a"`, "from = \"a\"\non_failure = 'deadletter'\nstart = 'soon'") + "[server]\ndurability = 'disk'", []string{
			`9:14: bad-value: pipelines.p.on_failure is "deadletter"; it can be "dead-letter", "drop" or "halt" (did you mean "dead-letter"?)`,
			`10:9: bad-value: pipelines.p.start: "soon": write "all", "new" or an RFC 3339 time such as "2026-01-31T12:00:00Z"`,
			`15:14: bad-value: server.durability is "disk"; it can be "os", "fsync" or "async"`,
		}},
		{"a start without a zone", edit(`from = "a"`, "from = \"a\"\nstart = 2026-01-31T12:00:00"), []string{
			`9:9: bad-value: pipelines.p.start: the time has no zone; end it with Z or an offset such as +01:00`,
		}},
		{"exactly once with a server that cannot", edit(`from = "a"`, "from = \"a\"\ndelivery = 'exactly-once'") + "[server]\ndurability = 'async'", []string{
			`9:12: conflict: exactly-once is not possible with server.durability = "async": the server stores no atomic batches then; use "os" or "fsync"`,
		}},
		{"tokens of the admin endpoint", sound + "[admin]\ntoken = 'env:T'\n[admin.tokens.Grafana]\ntoken = 'env:G'\nrole = 'read'\n[admin.tokens.token]\ntoken = 'hunter2'\n[admin.tokens.ci]", []string{
			`14:15: bad-name: "Grafana" cannot be the name of a token: use a-z, 0-9 and -, not - first (did you mean "grafana"?)`,
			`16:8: bad-value: admin.tokens.Grafana.role is "read"; it can be "view", "operate" or "admin"`,
			`17:15: conflict: "token" is the name of admin.token; give this token another`,
			`17:15: missing: the token "token" has no role: role = "view", "operate" or "admin"`,
			`18:9: bad-value: admin.tokens.token.token: a secret is written "env:NAME" or "file:PATH", never as its value`,
			`19:15: missing: the token "ci" has no role: role = "view", "operate" or "admin"`,
			`19:15: missing: the token "ci" has no value: token = "env:NAME" or "file:PATH"`,
		}},
		{"users of the listener", sound + "[server]\nlisten = '0.0.0.0:4222'\ntls_cert = 'x'\n[server.users.a]\npublish = ['a.>', 'wasmill.x', '$JS.API.>', '>']\nsubscribe = ['a..b']\nconsume = ['A', 'a']\n[server.users.b]\npassword = 'hunter2'\nnkey = 'SUAM'\n[server.users.c]\npassword = 'env:C'\nnkey = 'UAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'", []string{
			"12:2: conflict: tls_cert and tls_key belong together",
			"14:12: file: there is no file DIR/x",
			`15:15: missing: the user "a" has neither password nor nkey: password = "env:NAME" or "file:PATH"`,
			`16:19: reserved: nobody may publish to "wasmill.x": subjects under "wasmill." are reserved`,
			`16:32: reserved: subject "$JS.API.>": subjects that begin with "$" are reserved`,
			`16:45: reserved: ">" takes in the requests under "$" by which every topic can be read; begin it with a word`,
			`17:14: bad-subject: subject "a..b": a token is empty`,
			`18:12: dangling: there is no topic "A" (did you mean "a"?)`,
			`20:12: bad-value: server.users.b.password: a secret is written "env:NAME" or "file:PATH", never as its value`,
			`21:8: bad-value: server.users.b.nkey is something else; want the public nkey of a user, which begins with U`,
			`24:1: conflict: the user "c" has both a password and an nkey; give one`,
		}},
		{"users of a listener that others reach", sound + "[server]\nlisten = '0.0.0.0:4222'\n[server.users.a]\npassword = 'env:A'", []string{
			`13:10: warning: exposed: passwords of users travel through the network as they are; set server.tls_cert and server.tls_key`,
		}},
		{"names and sessions of the admin endpoint", sound + "[admin]\nhosts = ['a.example', 'b.example:80', '']\nsession = '1s'", []string{
			`13:23: bad-value: admin.hosts[1] is "b.example:80"; want a host name without a port`,
			`13:39: bad-value: admin.hosts[2] is ""; want a host name without a port`,
			`14:11: out-of-range: admin.session is 1s; the least is 1m`,
		}},
		{"a configuration that JSON cannot hold", sound + "[plugins.g.config]\na = [1, nan]", []string{
			`13:9: bad-value: plugins.g.config.a[1] is NaN, which JSON cannot hold`,
		}},
		{"keys", edit(`from = "a"`, "from = \"a\"\nkey = 'id'"), []string{
			`9:7: bad-value: key "id": write "json:/pointer", "subject:N" or "header:NAME"`,
		}},
		{"partitions without a key", edit(`from = "a"`, "from = \"a\"\npartitions = 4"), []string{
			`9:14: conflict: 4 partitions need a key that divides the events: key = "json:/id"`,
		}},
		{"a retry that begins longer than it may be", edit(`from = "a"`, "from = \"a\"\nretry = { backoff = '1m' }"), []string{
			`9:21: conflict: the first wait 1m is longer than max_backoff 10s`,
		}},

		// Names.
		{"names", sound + "[topics.My_Topic]\nsubjects = ['x.>']\n[topics.-x]\nsubjects = ['y.>']\n[topics.'" + strings.Repeat("x", 65) + "']\nsubjects = ['z.>']", []string{
			`12:9: bad-name: "My_Topic" cannot be the name of a topic: use a-z, 0-9 and -, not - first (did you mean "my-topic"?)`,
			`14:9: bad-name: "-x" cannot be the name of a topic: use a-z, 0-9 and -, not - first (did you mean "x"?)`,
			`16:9: bad-name: the name of a topic is longer than 64 characters`,
		}},

		// References.
		{"dangling references", edit(`from = "a"`, `from = "A"`, `stages = ["g"]`, `stages = ["gg", "zzz"]`, `to = "b"`, `to = "dead-leters"`), []string{
			`8:8: dangling: there is no topic "A" (did you mean "a"?)`,
			`9:11: dangling: there is no plugin "gg"`,
			`9:17: dangling: there is no plugin "zzz"`,
			`10:6: dangling: there is no topic "dead-leters" (did you mean "dead-letters"?)`,
		}},
		{"an unknown built-in plugin", edit(`builtin = "pass"`, `builtin = "pas"`), []string{
			`6:11: dangling: there is no built-in plugin "pas"; there are "map", "pass" or "threshold" (did you mean "pass"?)`,
		}},
		{"what is required", sound + "[topics.c]\n[topics.d]\nsubjects = []\n[plugins.h]\n[pipelines.q]\n[pipelines.r]\nfrom = \"a\"\nstages = []\nto = \"b\"\nsubject = \"b.x\"", []string{
			`12:9: missing: the topic "c" has no subjects: subjects = ["c.>"]`,
			`14:12: bad-value: topics.d.subjects needs at least one subject`,
			`15:10: missing: the plugin "h" has neither path nor builtin: path = "plugins/h.wasm"`,
			`15:10: warning: unused: no pipeline uses the plugin "h"`,
			`16:12: missing: the pipeline "q" has no output: to = "TOPIC"`,
			`16:12: missing: the pipeline "q" has no source: from = "TOPIC"`,
			`16:12: missing: the pipeline "q" has no stages: stages = ["PLUGIN"]`,
			`19:10: bad-value: pipelines.r.stages needs at least one plugin; a plugin with builtin = "pass" copies events`,
		}},
		{"outputs", edit(`subject = "b.{subject.2}"`, "subject = \"b.{subject.2}\"\noutputs = { x = 'c', Y = { topic = 'b' }, z = {}, default = 'b', w = { topic = 'b', subject = 'a.x' } }"), []string{
			`12:17: dangling: there is no topic "c"`,
			`12:22: bad-name: "Y" cannot be the name of an output: use a-z, 0-9 and -, not - first (did you mean "y"?)`,
			`12:47: missing: the output "z" names no topic`,
			`12:51: reserved: the output "default" is the one that to = "TOPIC" names`,
			`12:95: outside-topic: subject "a.x" is outside the topic "b", which stores "b.>"`,
		}},
		{"a subject without an output", edit("to = \"b\"\n", "outputs = { x = 'b' }\n"), []string{
			`11:1: conflict: pipelines.p.subject is of the default output, which needs to = "TOPIC"`,
		}},

		// Subjects.
		{"subjects of topics", sound + "[topics.c]\nsubjects = ['c..d', 'wasmill.c', '$JS.c', '>', '*.c', 'c.>', 'c.d']", []string{
			`13:13: bad-subject: subject "c..d": a token is empty`,
			`13:21: reserved: subject "wasmill.c": subjects under "wasmill." are reserved`,
			`13:34: reserved: subject "$JS.c": subjects that begin with "$" are reserved`,
			`13:43: reserved: subject ">" takes in the reserved subjects under "$" and "wasmill."; begin it with a word`,
			`13:48: reserved: subject "*.c" takes in the reserved subjects under "$" and "wasmill."; begin it with a word`,
			`13:62: overlap: subject "c.d" overlaps "c.>" of the same topic`,
		}},
		{"topics that overlap", sound + "[topics.0]\nsubjects = ['a.*.x']", []string{
			`13:13: overlap: subject "a.*.x" of topic "0" overlaps "a.>" of topic "a"; a message can be in one topic only`,
		}},
		{"the subjects of the dead letters", sound + "[topics.dead-letters]\nmax_age = '30d'\nsubjects = ['x']", []string{
			`14:1: reserved: the subjects of the topic dead-letters are fixed; its limits can be set`,
		}},
		{"filters", edit(`from = "a"`, "from = \"a\"\nfilter = ['a.b', 'a.*', 'b.x', 'a b']"), []string{
			`9:18: overlap: filter "a.*" overlaps "a.b"; keep the wider one`,
			`9:25: outside-topic: filter "b.x" selects nothing: the topic "a" stores "a.>"`,
			`9:32: bad-subject: subject "a b": it has a space or control character`,
		}},
		{"a subject outside its topic", edit(`subject = "b.{subject.2}"`, `subject = "c.{subject.2}"`), []string{
			`11:11: outside-topic: subject "c.{subject.2}" is outside the topic "b", which stores "b.>"`,
		}},
		{"a subject that may be outside its topic", edit(`subjects = ["b.>"]`, `subjects = ["b.x"]`), []string{
			`11:11: warning: outside-topic: some events may get a subject that the topic "b", which stores "b.x", refuses`,
		}},
		{"a subject that is none", edit(`subject = "b.{subject.2}"`, `subject = "b.{token.2}"`), []string{
			`11:11: bad-subject: subject "b.{token.2}": {token.2} is none of {subject.N}, {header.NAME}, {key}`,
		}},
		{"no subject where the source's cannot stay", edit("subject = \"b.{subject.2}\"\n", ""), []string{
			`10:1: outside-topic: events would keep their subject, which the topic "b" does not store: add subject = "b.{subject.2}"`,
		}},
		{"no subject where the plugin map gives one", edit("subject = \"b.{subject.2}\"\n", "", `builtin = "pass"`, "builtin = \"map\"\nconfig = { subject = '\"b.x\"' }"), nil},
		{"an output into the dead letters", edit(`to = "b"`, `to = "dead-letters"`), []string{
			`10:6: reserved: only the runtime writes to the topic dead-letters; a plugin sends an event there by its outcome`,
		}},

		// Loops.
		{"a loop of one", edit(`to = "b"`, `to = "a"`, `subject = "b.{subject.2}"`, `subject = "a.x"`), []string{
			`7:12: loop: the outputs of the pipeline "p" reach its own input; if that is meant, say loop = true`,
		}},
		{"a loop of one without a subject", edit(`to = "b"`, `to = "a"`, "subject = \"b.{subject.2}\"\n", ""), []string{
			`7:12: loop: the outputs of the pipeline "p" reach its own input; if that is meant, say loop = true`,
		}},
		{"no loop when the filter leaves the outputs out", edit(`from = "a"`, "from = \"a\"\nfilter = ['a.raw.>']", `to = "b"`, `to = "a"`, `subject = "b.{subject.2}"`, `subject = "a.clean.{subject.3}"`), nil},
		{"no loop when it is meant", edit(`from = "a"`, "from = \"a\"\nloop = true", `to = "b"`, `to = "a"`, `subject = "b.{subject.2}"`, `subject = "a.x"`), nil},
		{"a loop over two", sound + "[pipelines.back]\nfrom = 'b'\nstages = ['g']\nto = 'a'\nsubject = 'a.x'", []string{
			`7:12: loop: events go round: p → back → p; if that is meant, say loop = true in one of them`,
		}},
		{"no loop over two when one means it", sound + "[pipelines.back]\nloop = true\nfrom = 'b'\nstages = ['g']\nto = 'a'\nsubject = 'a.x'", nil},
		{"a loop over a named output", sound + "[pipelines.back]\nfrom = 'b'\nstages = ['g']\noutputs = { x = { topic = 'a', subject = 'a.x' } }", []string{
			`7:12: loop: events go round: p → back → p; if that is meant, say loop = true in one of them`,
		}},
		{"a loop over the dead letters", sound + "[pipelines.again]\nfrom = 'dead-letters'\nstages = ['g']\nto = 'a'\nsubject = 'a.again'", []string{
			`7:12: loop: events go round: p → again → p; if that is meant, say loop = true in one of them`,
			`12:12: loop: the outputs of the pipeline "again" reach its own input; if that is meant, say loop = true`,
		}},

		// Plugins.
		{"two sources", edit(`builtin = "pass"`, "builtin = \"pass\"\npath = 'plugins/strong.wasm'"), []string{
			`6:1: conflict: the plugin "g" has both path and builtin; give one`,
		}},
		{"a missing module", edit(`builtin = "pass"`, `path = "plugins/strnog.wasm"`), []string{
			`6:8: file: there is no file DIR/plugins/strnog.wasm; build the plugin first, or correct the path (did you mean "plugins/strong.wasm"?)`,
		}},
		{"a module that is a directory", edit(`builtin = "pass"`, `path = "plugins"`), []string{`6:8: file: DIR/plugins is a directory`}},
		{"a pin", edit(`builtin = "pass"`, "builtin = \"pass\"\nsha256 = 'xyz'"), []string{
			`7:10: bad-value: plugins.g.sha256 is "xyz"; want 64 hexadecimal digits`,
		}},
		{"grants and secrets", edit(`builtin = "pass"`, "builtin = \"pass\"\ngrants = ['clock', 'clok', 'clock', 'state']\nsecrets = { a = 'env:A', b = 'hunter2' }"), []string{
			`7:20: bad-value: plugins.g.grants[1] is "clok"; it can be "clock", "random" or "secret" (did you mean "clock"?)`,
			`7:28: bad-value: the grant "clock" stands twice`,
			`7:37: not-available: "state" is not available yet in this version; use "clock", "random" or "secret"`,
			`8:1: conflict: the plugin "g" has secrets but not the grant: grants = ["secret"]`,
			`8:30: bad-value: plugins.g.secrets.b: a secret is written "env:NAME" or "file:PATH", never as its value`,
		}},
		{"a plugin that nothing uses", sound + "[plugins.h]\nbuiltin = 'pass'", []string{`12:10: warning: unused: no pipeline uses the plugin "h"`}},

		// Server and admin.
		{"addresses", sound + "[server]\nlisten = '4222'\n[admin]\nlisten = 'localhost:99999'", []string{
			`13:10: bad-value: server.listen is "4222"; write host:port, as in "127.0.0.1:4222"`,
			`15:10: bad-value: admin.listen is "localhost:99999"; write host:port, as in "127.0.0.1:4222"`,
		}},
		{"one address for both", sound + "[server]\nlisten = '[::1]:9'\n[admin]\nlisten = '[::1]:9'", []string{
			`15:10: conflict: admin.listen and server.listen are both "[::1]:9"`,
		}},
		{"open to the network", sound + "[server]\nlisten = ':4222'\n[admin]\nlisten = '0.0.0.0:7422'", []string{
			`13:10: warning: exposed: the server takes clients from the network without authentication`,
			`15:10: conflict: admin.listen "0.0.0.0:7422" is open to the network, so admin.token is required: token = "env:WASMILL_ADMIN_TOKEN"`,
		}},
		{"open to the network with a token", sound + "[admin]\nlisten = '0.0.0.0:7422'\ntoken = 'env:T'", []string{
			`13:10: warning: exposed: tokens travel through the network as they are; set admin.tls_cert and admin.tls_key`,
		}},
		{"open to the network by TLS", sound + "[admin]\nlisten = '0.0.0.0:7422'\ntoken = 'env:T'\ntls_cert = 'c'\ntls_key = 'k'", []string{
			"15:12: file: there is no file DIR/c", "16:11: file: there is no file DIR/k",
		}},
		{"a server of both kinds", sound + "[server]\nurl = 'nats://h:4222'\nstore_dir = 'data'\nmax_store = '1GiB'", []string{
			`14:1: conflict: server.store_dir is for the embedded server, which server.url replaces`,
			`15:1: conflict: server.max_store is for the embedded server, which server.url replaces`,
		}},
		{"keys that need a URL", edit("[topics.b]", "[topics.b]\nreplicas = 3") + "[server]\nuser = 'x'\npassword = 'env:P'\n[server.tls]\nca = 'plugins/strong.wasm'\n", []string{
			`4:12: conflict: the embedded server is one machine, so replicas can only be 1; use server.url for a cluster`,
			`14:1: conflict: server.user needs server.url; the embedded server has none`,
			`15:1: conflict: server.password needs server.url; the embedded server has none`,
			`16:9: conflict: server.tls needs server.url; the embedded server has none`,
		}},
		{"bad URLs", sound + "[server]\nurl = 'nats://u:p@h:1, http://h:1, h'", []string{
			`13:7: bad-value: server.url holds a user name or password; use server.user and server.password, or server.token`,
		}},
		{"a URL of another scheme", sound + "[server]\nurl = 'nats://a:1,http://h:1'", []string{
			`13:7: bad-value: server.url has the scheme "http"; it can be nats, tls, ws or wss`,
		}},
		{"ways to log in", sound + "[server]\nurl = 'nats://a:1'\nuser = 'x'\ntoken = 'env:T'\ntls = { cert = 'plugins/strong.wasm' }\ncredentials = 'x.creds'", []string{
			`13:1: conflict: give one of user with password, token, credentials`,
			`16:1: conflict: cert and key belong together`,
			`17:15: file: there is no file DIR/x.creds`,
		}},
		{"a good cluster", edit("[topics.b]", "[topics.b]\nreplicas = 3") + "[server]\nurl = 'nats://a:4222, tls://b:4222'\ncredentials = 'plugins/strong.wasm'\n", nil},
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "plugins"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plugins", "strong.wasm"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := tt.text
			_, findings := Parse(filepath.Join(dir, "f.toml"), []byte(text), "threshold", "map", "pass")
			var got []string
			for _, f := range findings {
				line := strings.ReplaceAll(f.String(), dir, "DIR")
				got = append(got, strings.TrimPrefix(line, "DIR/f.toml:"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s\nin\n%s", diff, text)
			}
		})
	}
}

// edit returns sound with the old text of each pair replaced by the new.
func edit(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(sound) }

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		written string
		names   []string
		want    string
	}{
		{"quaks", []string{"quakes", "alerts"}, "quakes"},
		{"qaukes", []string{"quakes"}, "quakes"},
		{"QUAKES", []string{"quakes"}, "quakes"},
		{"x", []string{"y", "z"}, ""},
		{"quakes", []string{"alerts"}, ""},
		{"", nil, ""},
		{strings.Repeat("a", 200), []string{strings.Repeat("a", 199)}, ""},
	} {
		if got := nearest(tt.written, tt.names); got != tt.want {
			t.Errorf("nearest(%q, %v) = %q, want %q", tt.written, tt.names, got, tt.want)
		}
	}
}
