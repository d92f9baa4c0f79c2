package event

import (
	"errors"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/sdk/abi"
)

// quake is an event with everything that a key or a template may name.
func quake() *abi.Event {
	headers := abi.AppendHeader(nil, "Net", "us")
	headers = abi.AppendHeader(headers, "Bad", "a.b")
	headers = abi.AppendHeader(headers, "Empty", "")
	return &abi.Event{
		Subject:     []byte("quakes.raw.us"),
		Key:         []byte("nc75"),
		HeaderCount: 3,
		Headers:     headers,
		Payload:     []byte(`{"id":"us7000","n":12.5,"flag":true,"none":null,"empty":"","properties":{"net":"ak"}}`),
	}
}

func TestKeyOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		key  string
		want string
		nil  bool
	}{
		{key: "", nil: true},
		{key: "json:/id", want: "us7000"},
		{key: "json:/properties/net", want: "ak"},
		{key: "json:/n", want: "12.5"},
		{key: "json:/flag", want: "true"},
		{key: "json:/none", nil: true},
		{key: "json:/absent", nil: true},
		{key: "subject:1", want: "quakes"},
		{key: "subject:3", want: "us"},
		{key: "subject:4", nil: true},
		{key: "header:Net", want: "us"},
		{key: "header:net", nil: true}, // NATS headers keep their case
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			t.Parallel()
			k, err := ParseKey(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			if k.String() != tt.key || k.None() != (tt.key == "") {
				t.Errorf("String %q, None %v", k, k.None())
			}
			got := k.Of(quake())
			if string(got) != tt.want || (got == nil) != tt.nil {
				t.Errorf("Of = %q (nil %v), want %q (nil %v)", got, got == nil, tt.want, tt.nil)
			}
		})
	}
	t.Run("a payload that is not JSON has no key", func(t *testing.T) {
		t.Parallel()
		k, err := ParseKey("json:/id")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"", "x", "{", `["id"]`, `{"id":`} {
			if got := k.Of(&abi.Event{Payload: []byte(p)}); got != nil {
				t.Errorf("Of(%q) = %q", p, got)
			}
		}
	})
}

func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"id", "json", "json:", "json:id", "json:/a~2", "json:/a~", "subject", "subject:0", "subject:-1",
		"subject:+1", "subject:x", "subject:999", "header:", "header:a b", "header:a:b", "payload:x", ":",
	} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("ParseKey(%q) = %+v, want it refused", s, k)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	tests := []struct{ template, want, pattern string }{
		{"", "quakes.raw.us", ""},
		{"alerts", "alerts", "alerts"},
		{"alerts.{subject.3}", "alerts.us", "alerts.*"},
		{"alerts.{subject.1}.{header.Net}.{key}", "alerts.quakes.us.nc75", "alerts.*.*.*"},
		{"alerts.net-{header.Net}_{key}.end", "alerts.net-us_nc75.end", "alerts.*.end"},
		{"{subject.3}", "us", "*"},
	}
	for _, tt := range tests {
		t.Run(tt.template, func(t *testing.T) {
			t.Parallel()
			tm, err := ParseTemplate(tt.template)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tm.Append([]byte("> "), quake())
			if err != nil || string(got) != "> "+tt.want {
				t.Errorf("Append = %q, %v, want %q", got, err, tt.want)
			}
			if tm.Pattern() != tt.pattern || tm.String() != tt.template || tm.None() != (tt.template == "") {
				t.Errorf("Pattern %q, want %q; String %q; None %v", tm.Pattern(), tt.pattern, tm, tm.None())
			}
			if tt.pattern != "" && !Match(tt.pattern, tt.want) {
				t.Errorf("%q does not match its own pattern %q", tt.want, tt.pattern)
			}
		})
	}
}

func TestTemplateRefusesEventsThatGiveNoSubject(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, template string
		event          *abi.Event
	}{
		{"a token that the subject does not have", "a.{subject.4}", quake()},
		{"a header that is absent", "a.{header.Absent}", quake()},
		{"a header that is empty", "a.{header.Empty}", quake()},
		{"a header with a dot", "a.{header.Bad}", quake()},
		{"no key", "a.{key}", &abi.Event{}},
		{"a key with a wildcard", "a.{key}", &abi.Event{Key: []byte("x*")}},
		{"a key with a space", "a.{key}", &abi.Event{Key: []byte("x y")}},
		{"a key with a wide space", "a.{key}", &abi.Event{Key: []byte("x\u2003y")}},
		{"a key with a NUL", "a.{key}", &abi.Event{Key: []byte("x\x00")}},
		{"a key that is not UTF-8", "a.{key}", &abi.Event{Key: []byte("x\xff")}},
		{"a key that is too long", "a.{key}", &abi.Event{Key: []byte(strings.Repeat("x", 300))}},
		{"a key that makes a reserved subject", "{key}.a", &abi.Event{Key: []byte("$JS")}},
		{"its own subject with a wildcard", "", &abi.Event{Subject: []byte("a.*")}},
		{"no subject of its own", "", &abi.Event{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tm, err := ParseTemplate(tt.template)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tm.Append([]byte("kept"), tt.event)
			if !errors.Is(err, ErrField) || string(got) != "kept" {
				t.Errorf("Append = %q, %v", got, err)
			}
		})
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"a.{", "a.}", "a.{key", "a.key}", "a.{}", "a.{nokey}", "a.{key.x}", "a.{subject}", "a.{subject.0}",
		"a.{subject.x}", "a.{header}", "a.{header.}", "a.{header.a b}", "a.{{key}}", "a..{key}", ".{key}",
		"a.{key}.", "a b.{key}", "a.*", "a.>", "$x.{key}", "a.\x00", strings.Repeat("a", 257),
	} {
		if tm, err := ParseTemplate(s); err == nil {
			t.Errorf("ParseTemplate(%q) = %+v, want it refused", s, tm)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("alerts.{subject.3}", "quakes.raw.us", "key")
	f.Add("a.{key}-{header.Net}", "a.b", "k.k")
	f.Add("", "a.*", "")
	f.Fuzz(func(t *testing.T, template, subject, key string) {
		tm, err := ParseTemplate(template)
		if err != nil {
			return
		}
		e := quake()
		e.Subject, e.Key = []byte(subject), []byte(key)
		got, err := tm.Append(nil, e)
		if err != nil {
			if len(got) != 0 {
				t.Fatalf("an error and %q", got)
			}
			return
		}
		if err := CheckSubject(string(got)); err != nil {
			t.Fatalf("%q made %q: %v", template, got, err)
		}
		if !tm.None() && !Match(tm.Pattern(), string(got)) {
			t.Fatalf("%q made %q, which its pattern %q does not match", template, got, tm.Pattern())
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"json:/id", "json:/a~1b", "subject:2", "header:Net"} {
		f.Add(s, "a.b", `{"id":"x"}`)
	}
	f.Fuzz(func(t *testing.T, key, subject, payload string) {
		k, err := ParseKey(key)
		if err != nil {
			return
		}
		if again, err := ParseKey(k.String()); err != nil || again != k {
			t.Fatalf("%q does not read back: %+v, %v", key, again, err)
		}
		e := quake()
		e.Subject, e.Payload = []byte(subject), []byte(payload)
		k.Of(e)
	})
}

func TestKeyAndTemplateDoNotAllocate(t *testing.T) {
	e := quake()
	buf := make([]byte, 0, MaxSubject)
	for _, s := range []string{"json:/properties/net", "subject:3", "header:Net"} {
		k, err := ParseKey(s)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { k.Of(e) }); n != 0 {
			t.Errorf("Key %q: %v allocations", s, n)
		}
	}
	for _, s := range []string{"", "alerts.{subject.3}.{header.Net}.{key}", "alerts.{header.Absent}"} {
		tm, err := ParseTemplate(s)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = tm.Append(buf[:0], e) }); n != 0 {
			t.Errorf("Template %q: %v allocations", s, n)
		}
	}
}

func BenchmarkKeyOf(b *testing.B) {
	e := quake()
	for _, s := range []string{"json:/properties/net", "subject:3", "header:Net"} {
		b.Run(s, func(b *testing.B) {
			k, err := ParseKey(s)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				k.Of(e)
			}
		})
	}
}

func BenchmarkTemplateAppend(b *testing.B) {
	e, buf := quake(), make([]byte, 0, MaxSubject)
	tm, err := ParseTemplate("alerts.{subject.3}.{header.Net}.{key}")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tm.Append(buf[:0], e)
	}
}
