package guesttest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/jsonptr"
)

// documents are texts in which pointers look for values: what is easily read
// wrongly, well-formed and not.
var documents = []string{
	``, ` `, `null`, ` true `, `false`, `tru`, `truex`, `nul`, `"`, `"a`, `"a"`, `"a" x`, `"\`, `"\x"`, "\"a\nb\"", `"\u12"`, `"\u12G4"`,
	`"\u00e9\ud83d\ude00\ud83dx\ude00\ud83d\ud83d\ude00\u0000\b\f\n\r\t\/\\\""`, `"ééééééééééé"`, `"12345678"`, `"1234567\"8"`,
	`0`, `-0`, `-`, `01`, `1.`, `.5`, `1.5`, `1e`, `1e+`, `1e5`, `1E-5`, `-1.25e+2`, `+1`, `1x`, `1 2`,
	`9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`, `99999999999999999999`, `1.0`, `1e2`,
	`{}`, `{ }`, `[]`, `[ ]`, `{,}`, `[,]`, `[1,]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `[1 2]`, `[1}`, `{"a":1]`, `[[]`, `{"a":{}`,
	`{"a":{"b":[10,{"c":"d"},null]},"a":2,"":3,"~":4,"/":5,"m~n/o":6,"\u0061b":7,"é":8,"x":{"y":"z"}}`,
	` { "a" : { "b" : [ 10 , { "c" : "d" } , null ] } , "" : 3 } `,
	`[0,1,2,3,4,5,6,7,8,9,10,11]`, `{"0":"zero","01":"one"}`, `{"a":[1,2,{"b":tru}]}`, `{"b":1,"a":[1,2,`, `{"ab":1,"a":2}`,
}

var pointers = []string{"", "/", "//", "/a", "/a/b", "/a/b/0", "/a/b/1/c", "/a/b/2", "/a/b/3", "/a/b/-", "/a/b/01", "/a/b/00000000000", "/~0", "/~1", "/m~0n~1o", "/~", "/~2", "/ab", "/é", "/x/y", "/x/y/z", "a", "/0", "/01", "/10", "/11", "/12", "/a/2/b"}

// numbers are those that are easily rounded wrongly.
var numbers = []string{
	"0", "-0", "0.0", "0e99999", "1", "-1", "0.1", "0.3", "5.3", "1.27", "123456789012345", "1234567890123456", "12345678901234567", "123456789012345678901234567890",
	"9007199254740993", "9007199254740992.5", "9007199254740993.0000000000000000000000001", "0.000001", "0.0000001", "1e22", "1e23", "1e21", "1e-22", "8.5e22", "123456.789e-20",
	"1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e309", "-1e309", "1e999999999999", "2.2250738585072014e-308", "2.2250738585072011e-308",
	"4.9406564584124654e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-400", "5e-324", "3e-324", "6.631236846766476e-316", "3.518437208883201171875e13", "62.5364939768271845828", "8.10109172351e-10",
	"0." + strings.Repeat("0", 400) + "1", strings.Repeat("9", 400), "1" + strings.Repeat("0", 308), "0." + strings.Repeat("3", 1000),
	"2.225073858507201136057409796709131975934819546351645648023426109724822222021076945516529523908135087914149158913039621106870086438694594645527657207407820621743379988141063267329253552286881372149012981122451451889849057222307285255133155755015914397476397983411801999323962548289017107081850690630666655994938275772572015763062690663332647565300009245888316433037779791869612049497390377829704905051080609940730262937128958950003583799967207254304360284078895771796150945516748243471030702609144621572289880258182545180325707018860872113128079512233426288368622321503775666622503982534335974568884423900265498198385487948292206894721689831099698365846814022854243330660339850886445804001034933970427567186443383770486037861622771738545623065874679014086723327636718751234567890123456789012345678901e-308",
	"1.00000000000000011102230246251565404236316680908203125", "1.00000000000000011102230246251565404236316680908203124", "1.00000000000000011102230246251565404236316680908203126",
}

// Finds compares what a guest finds with what package jsonptr does. ask hands it
// one event and returns the payload of its one output.
func Finds(t *testing.T, ask func(t *testing.T, payload string) string) {
	t.Helper()
	compare := func(pointer, doc string) {
		t.Helper()
		v, _ := jsonptr.Find([]byte(doc), pointer)
		got, want := ask(t, "find "+pointer+"\n"+doc), describe(v)
		if !same(got, want) {
			t.Errorf("%.60q in %.200q: got %.200q, want %.200q", pointer, doc, got, want)
		}
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, doc := range append(documents, deep(jsonptr.MaxDepth), deep(jsonptr.MaxDepth+1), strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)) {
		for _, pointer := range pointers {
			compare(pointer, doc)
		}
	}
	for _, n := range numbers {
		compare("", n)
		compare("/a", `{"a":-`+strings.TrimPrefix(n, "-")+`}`)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		compare("", strconv.FormatFloat(f, "eg"[r.IntN(2)], r.IntN(25)-1, 64))
	}
	// Documents with a byte changed, and cut off.
	for range 3000 {
		doc := []byte(documents[r.IntN(len(documents))])
		if len(doc) == 0 {
			continue
		}
		doc[r.IntN(len(doc))] = "{}[],:\"\\u0129e-. \x00\xff"[r.IntN(19)]
		compare(pointers[r.IntN(len(pointers))], string(doc[:len(doc)-r.IntN(2)*r.IntN(len(doc))]))
	}
}

// describe is the answer that a guest gives: kind|text|float|int|bool|elements.
func describe(v jsonptr.Value) string {
	var float, integer, boolean string
	if f, ok := v.Float(); ok {
		float = strconv.FormatFloat(f, 'g', -1, 64)
	}
	if n, ok := v.Int(); ok {
		integer = strconv.FormatInt(n, 10)
	}
	if b, ok := v.Bool(); ok {
		boolean = strconv.FormatBool(b)
	}
	var elements strings.Builder
	for e := range v.Elements() {
		fmt.Fprintf(&elements, "=%s;", e.Raw())
	}
	for name, e := range v.Members() {
		fmt.Fprintf(&elements, "%s=%s;", name.String(), e.Raw())
	}
	return strings.Join([]string{v.Kind().String(), v.String(), float, integer, boolean, elements.String()}, "|")
}

// same compares two answers. A number need only be the same when it is read again.
func same(got, want string) bool {
	if got == want {
		return true
	}
	g, w := strings.Split(got, "|"), strings.Split(want, "|")
	if len(g) != len(w) || len(g) != 6 {
		return false
	}
	x, errX := strconv.ParseFloat(g[2], 64)
	y, errY := strconv.ParseFloat(w[2], 64)
	if errX != nil || errY != nil || math.Float64bits(x) != math.Float64bits(y) {
		return false
	}
	g[2] = w[2]
	return strings.Join(g, "|") == strings.Join(w, "|")
}
