package flights_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/examples/internal/exampletest"
	"github.com/wasmill/wasmill/runtime/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flight is a line of the file.
type flight struct {
	Date            string
	Delay, Distance int
	Origin          string
	Destination     string
}

// delay is what the example makes of one that is late; its fields are in the
// order of their names.
type delay struct {
	At      time.Time `json:"at"`
	Class   string    `json:"class"`
	From    string    `json:"from"`
	Km      int       `json:"km"`
	Minutes int       `json:"minutes"`
	To      string    `json:"to"`
}

var cities = map[string]string{"ATL": "atlanta", "ORD": "chicago", "MDW": "chicago", "DFW": "dallas", "DAL": "dallas"}

// Every message of every topic is what a second computation, in plain Go, says.
func TestEveryOutput(t *testing.T) {
	lines := exampletest.Lines(t, "flights.ndjson")
	delays, hubs := map[string][]string{}, map[string][]string{}
	late := 0
	for _, line := range lines {
		var f flight
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		if f.Delay < 15 {
			continue
		}
		late++
		at, err := time.Parse("2006/01/02 15:04", f.Date)
		if err != nil {
			t.Fatal(err)
		}
		d := delay{At: at, From: f.Origin, To: f.Destination, Minutes: f.Delay, Km: int(math.Round(float64(f.Distance) * 1.609344)), Class: "late"}
		if f.Delay >= 180 {
			d.Class = "lost"
		} else if f.Delay >= 60 {
			d.Class = "very late"
		}
		payload, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		delays["delays."+f.Origin] = append(delays["delays."+f.Origin], string(payload))
		if city := cities[f.Origin]; city != "" {
			hubs[f.Origin] = append(hubs[f.Origin], string(payload))
		}
	}
	if late < 500 || len(hubs) < 4 {
		t.Fatalf("the file has %d late flights, of %d hubs", late, len(hubs))
	}

	e := exampletest.Start(t)
	odd := [][]byte{[]byte(`{"date":"yesterday","delay":"20","distance":1,"origin":"ATL","destination":"SEA"}`), []byte("no flight")}
	e.Publish(t, "flights", "flights.raw", slices.Concat(lines[:100], odd))
	e.Publish(t, "flights", "flights.raw", lines[100:])
	e.Await(t, map[string]int{"delays": len(lines) + len(odd), "hubs": late})

	t.Run("its cases pass", e.Cases)

	t.Run("delays, by airport, in order", func(t *testing.T) {
		got := map[string][]string{}
		for _, m := range e.Messages(t, "delays") {
			got[m.Subject] = append(got[m.Subject], m.Payload)
		}
		if diff := cmp.Diff(delays, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("hubs, by city", func(t *testing.T) {
		got := map[string][]string{}
		for _, m := range e.Messages(t, "hubs") {
			var d delay
			if err := json.Unmarshal([]byte(m.Payload), &d); err != nil {
				t.Fatal(err)
			}
			if m.Subject != "hubs."+cities[d.From] {
				t.Errorf("%s has %s", m.Subject, m.Payload)
			}
			got[d.From] = append(got[d.From], m.Payload)
		}
		if diff := cmp.Diff(hubs, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("what is no flight is a dead letter with the reasons", func(t *testing.T) {
		var causes []string
		for _, m := range e.Read(t, plan.DeadLetters) {
			causes = append(causes, strings.Join(m.Headers["Wasmill-Cause"], "|"))
		}
		want := []string{
			`/date: 'yesterday' does not match pattern '^[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}$'; /delay: got string, want integer`,
			"the payload is not JSON",
		}
		if diff := cmp.Diff(want, causes, cmpSorted()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// cmpSorted compares lists whatever their order: the two are in different
// partitions.
func cmpSorted() cmp.Option {
	return cmp.Transformer("sorted", func(s []string) map[string]int {
		counts := map[string]int{}
		for _, x := range s {
			counts[x]++
		}
		return counts
	})
}
