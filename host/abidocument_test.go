package host

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// TestABIDocument: ABI.md has the exports, imports and limits of this host.
func TestABIDocument(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:`([^`]+)`|memory) \\|(.*)$")
	documented := map[string][2]string{} // type and the rest of the row
	for _, m := range row.FindAllStringSubmatch(abi.Document, -1) {
		documented[m[1]] = [2]string{m[2], m[3]}
	}
	known := map[string]bool{abi.ExportMemory: true}
	for _, e := range abiExports() {
		known[e.name] = true
		d := documented[e.name]
		if d[0] != e.sig.String() {
			t.Errorf("%s is %q in the document, %s here", e.name, d[0], e.sig)
		}
		if strings.Contains(d[1], "required") != e.required || strings.Contains(d[1], "optional") == e.required {
			t.Errorf("%s: required is %v, the document says %q", e.name, e.required, d[1])
		}
	}
	for name, f := range hostFunctions() {
		known[name] = true
		d := documented[name]
		if d[0] != f.sig.String() {
			t.Errorf("%s is %q in the document, %s here", name, d[0], f.sig)
		}
		grant := " "
		if f.grant != "" {
			grant = " `" + f.grant + "` "
		}
		if !strings.HasPrefix(d[1], grant+"|") {
			t.Errorf("%s has the grant %q, the document says %q", name, f.grant, d[1])
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("the document has %s, which is not here", name)
		}
	}
	limits := Limits{}.withDefaults()
	for _, s := range []string{
		fmt.Sprintf("%d MiB (`max_output_bytes`)", limits.MaxOutputBytes>>20),
		thousands(leastRecords) + " records, or one for each " + fmt.Sprint(bytesPerRecord) + " bytes",
		fmt.Sprint(maxHeaders), thousands(maxHeaderBytes) + " bytes of headers", "Of a reason " + thousands(maxReason) + " bytes", "at most 1 MiB",
		"`" + wasiModule + "`",
	} {
		if !strings.Contains(strings.ReplaceAll(abi.Document, "\n", " "), s) {
			t.Errorf("the document does not say %q", s)
		}
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
