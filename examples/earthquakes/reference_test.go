package earthquakes_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/wasmill/wasmill/examples/internal/exampletest"
)

// The example computed a second time, without Wasmill and without anything its
// plugins use: encoding/json over the file, line by line.

type message = exampletest.Message

// deadLetter is one record of the dead-letter topic, as far as the example fixes it.
type deadLetter struct{ Stage, Cause, Subject, Payload string }

// expected is what the topics hold once every line went through.
type expected struct {
	parsed, alerts, tsunami, california []message
	dead                                []deadLetter
	dropped                             int // by the pipeline parse
}

func compute(t *testing.T, lines [][]byte) expected {
	t.Helper()
	var want expected
	for _, line := range lines {
		q, reason := parse(line)
		switch {
		case reason == "not an earthquake":
			want.dropped++
			continue
		case reason != "":
			want.dead = append(want.dead, deadLetter{"parse", reason, "quakes.raw", string(line)})
			continue
		}
		payload := q.payload(t)
		want.parsed = append(want.parsed, message{Subject: "parsed." + q.Net, Payload: payload})
		if q.mag >= 2.5 {
			level := "light"
			if q.mag >= 6.0 {
				level = "severe"
			} else if q.mag >= 4.5 {
				level = "strong"
			}
			want.alerts = append(want.alerts, message{Subject: "alerts." + q.Net + "." + level, Payload: payload})
			if q.Tsunami != "0" {
				want.tsunami = append(want.tsunami, message{Subject: "tsunami." + q.Net, Payload: payload})
			}
		}
		if q.mag >= 1 && q.lon >= -124.5 && q.lon <= -114.1 && q.lat >= 32.5 && q.lat <= 42 {
			want.california = append(want.california, message{Subject: "california." + q.Net, Payload: payload})
		}
	}
	return want
}

// quake is what parse makes of a line. The numbers keep their text.
type quake struct {
	ID      string      `json:"id"`
	Net     string      `json:"net"`
	Mag     json.Number `json:"mag"`
	Place   string      `json:"place"`
	Time    json.Number `json:"time"`
	Lat     json.Number `json:"lat"`
	Lon     json.Number `json:"lon"`
	Depth   json.Number `json:"depth"`
	Tsunami json.Number `json:"tsunami"`

	mag, lat, lon float64
}

func (q quake) payload(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(q); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// parse returns the event in line, or why it is none.
func parse(line []byte) (quake, string) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var feature map[string]any
	if !json.Valid(line) || dec.Decode(&feature) != nil || feature == nil {
		return quake{}, "payload is not a JSON object"
	}
	properties, _ := feature["properties"].(map[string]any)
	if kind, ok := properties["type"]; ok && kind != "earthquake" {
		return quake{}, "not an earthquake"
	}
	geometry, _ := feature["geometry"].(map[string]any)
	at, _ := geometry["coordinates"].([]any)
	at = append(at, nil, nil, nil)

	var q quake
	q.ID, _ = feature["id"].(string)
	q.Net, _ = properties["net"].(string)
	q.Place, _ = properties["place"].(string)
	q.Tsunami, _ = properties["tsunami"].(json.Number)
	if q.Tsunami == "" {
		q.Tsunami = "0"
	}
	var errs [5]error
	q.Mag, q.mag, errs[0] = number(properties["mag"])
	q.Lon, q.lon, errs[1] = number(at[0])
	q.Lat, q.lat, errs[2] = number(at[1])
	q.Depth, _, errs[3] = number(at[2])
	q.Time, _, errs[4] = number(properties["time"])
	if _, err := q.Time.Int64(); err != nil {
		errs[4] = err
	}
	switch {
	case q.ID == "":
		return q, "no id"
	case q.Net == "":
		return q, "no network"
	case errs[0] != nil:
		return q, "no magnitude"
	case errs[4] != nil:
		return q, "no time"
	case errs[1] != nil || errs[2] != nil || errs[3] != nil:
		return q, "no coordinates"
	case q.lon < -180 || q.lon > 180 || q.lat < -90 || q.lat > 90:
		return q, "coordinates are off the map"
	}
	return q, ""
}

func number(v any) (json.Number, float64, error) {
	n, _ := v.(json.Number)
	f, err := n.Float64()
	return n, f, err
}

// feed is the file, with lines that the plugins must refuse, or take in spite
// of their looks, between the real ones.
func feed(t *testing.T) [][]byte {
	t.Helper()
	file, err := os.Open("earthquakes.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines [][]byte
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if n := len(lines); n%100 == 50 && n/100 < len(odd) {
			lines = append(lines, []byte(odd[n/100]))
		}
		lines = append(lines, bytes.Clone(scan.Bytes()))
	}
	if len(lines) != 1707+len(odd) {
		t.Fatalf("the feed has %d lines, want %d", len(lines), 1707+len(odd))
	}
	return lines
}

var odd = []string{
	`M 5.1 somewhere`, // not JSON
	``,
	`[1,2,3]`,
	`{"type":"Feature","properties":{"mag":0.31,"net":"uw"`, // cut off
	`{"id":"a1","properties":{"mag":4,"net":"ci","time":1517363399650},"geometry":{"coordinates":[1,2,3]}} x`,
	`{"properties":{"mag":4.0,"net":"ci","time":1517363399650,"type":"earthquake"},"geometry":{"coordinates":[1,2,3]}}`,
	`{"id":"a2","properties":{"mag":4.0,"time":1517363399650},"geometry":{"coordinates":[1,2,3]}}`,
	`{"id":"a3","properties":{"mag":null,"net":"ci","time":1517363399650},"geometry":{"coordinates":[1,2,3]}}`,
	`{"id":"a4","properties":{"mag":"4.0","net":"ci","time":1517363399650},"geometry":{"coordinates":[1,2,3]}}`,
	`{"id":"a5","properties":{"mag":4.0,"net":"ci","time":"now"},"geometry":{"coordinates":[1,2,3]}}`,
	`{"id":"a6","properties":{"mag":4.0,"net":"ci","time":1517363399650},"geometry":{"coordinates":[1,2]}}`,
	`{"id":"a7","properties":{"mag":4.0,"net":"ci","time":1517363399650},"geometry":null}`,
	`{"id":"a8","properties":{"mag":4.0,"net":"ci","time":1517363399650},"geometry":{"coordinates":[1,-91,3]}}`,
	`{"id":"a9","properties":{"mag":4.0,"net":"ci","time":1517363399650,"type":"ice quake"},"geometry":{"coordinates":[1,2,3]}}`,
	` { "id" : "b1" , "properties" : { "net" : "ci" , "mag" : 4.25E0 , "time" : 1517363399650 , "place" : "a place" , "tsunami" : 1 } , "geometry" : { "coordinates" : [ -120 , 40.0 , 7 ] } } `,
	`{"id":"b2","properties":{"net":"new","mag":6.5,"time":1517363399650,"place":null},"geometry":{"coordinates":[1,2,3]}}`,
}
