package event

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckSubject(t *testing.T) {
	t.Parallel()
	accepted := []string{
		"a", "quakes.raw.us", "wasmill.dead.p.s", "a-b_c.D1:/@#", "größe.日本", "a.$b", strings.Repeat("a", MaxSubject),
	}
	for _, s := range accepted {
		if err := CheckSubject(s); err != nil {
			t.Errorf("CheckSubject(%q) = %v, want it accepted", s, err)
		}
	}
	refused := map[string]string{
		"":                                faultEmpty,
		strings.Repeat("a", MaxSubject+1): faultLong,
		".":                               faultToken,
		".a":                              faultToken,
		"a.":                              faultToken,
		"a..b":                            faultToken,
		"a b":                             faultByte,
		"a\tb":                            faultByte,
		"a\x00":                           faultByte,
		"a\x7f":                           faultByte,
		"a\u0085":                         faultByte, // a control character in two bytes
		"a\u2003b":                        faultByte, // a space in three
		"a\xff":                           faultUTF8,
		"a.*":                             faultWildcard,
		"a.>":                             faultWildcard,
		"a*b":                             faultWildcard,
		"$JS.API.STREAM.DELETE.x":         faultReserved,
		"$":                               faultReserved,
	}
	for s, reason := range refused {
		var fault *SubjectError
		if err := CheckSubject(s); !errors.As(err, &fault) || fault.Reason != reason {
			t.Errorf("CheckSubject(%q) = %v, want %q", s, err, reason)
		}
	}
	t.Run("an error quotes no more than 64 bytes", func(t *testing.T) {
		if msg := CheckSubject(strings.Repeat("x", 5000)).Error(); len(msg) > 150 {
			t.Errorf("the message has %d bytes: %s", len(msg), msg)
		}
	})
}

func TestCheckFilter(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "*", ">", "a.*", "a.>", "*.b.>", "a.*.c"} {
		if err := CheckFilter(s); err != nil {
			t.Errorf("CheckFilter(%q) = %v, want it accepted", s, err)
		}
	}
	for s, reason := range map[string]string{
		"a.>.b": faultTail, "a*": faultWildToken, "*a": faultWildToken, "a.>b": faultWildToken,
		"**": faultWildToken, "a..>": faultToken, "$JS.>": faultReserved, "a. ": faultByte,
	} {
		var fault *SubjectError
		if err := CheckFilter(s); !errors.As(err, &fault) || fault.Reason != reason {
			t.Errorf("CheckFilter(%q) = %v, want %q", s, err, reason)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, subject string
		want             bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a", true},
		{"*.*.c", "a.b.c", true},
		{"a.*", "a.>", true}, // a stored subject is literal, whatever it looks like
		{">", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.subject); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.subject, got)
		}
	}
}

func TestContains(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, sub string
		want         bool
	}{
		{"a.>", "a.b", true},
		{"a.>", "a.*", true},
		{"a.>", "a.>", true},
		{"a.>", "a.*.>", true},
		{"a.*", "a.>", false},
		{"a.*", "a.*", true},
		{"a.b", "a.*", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.>", "a.>", false},
		{">", "a.>", true},
		{"*.>", ">", false},
		{"a.>", ">", false},
		{"a.>", "", false},
	}
	for _, tt := range tests {
		if got := Contains(tt.pattern, tt.sub); got != tt.want {
			t.Errorf("Contains(%q, %q) = %v", tt.pattern, tt.sub, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a.*", "*.b", true},
		{"a.*", "b.*", false},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{"a.*", "a.b.c", false},
		{">", "x.y", true},
		{"a.b.>", "a.*", false},
		{"a.*.c", "a.b.>", true},
		{"", "a", false},
	}
	for _, tt := range tests {
		if got := Overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("Overlap(%q, %q) = %v", tt.a, tt.b, got)
		}
		if got := Overlap(tt.b, tt.a); got != tt.want {
			t.Errorf("Overlap(%q, %q) = %v", tt.b, tt.a, got)
		}
	}
}

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "a.*", "a.>", "*.b.>", "$a", "a..b", "a\xff", "é.ü"} {
		f.Add(s, "a.b.c")
		f.Add("a.*.>", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckSubject(a) == nil {
			if CheckFilter(a) != nil {
				t.Fatalf("%q is a subject but not a filter", a)
			}
			if !utf8.ValidString(a) || len(a) > MaxSubject || strings.ContainsAny(a, " *>\x00\r\n\t") {
				t.Fatalf("%q was accepted", a)
			}
			if !Match(a, a) || !Match(">", a) {
				t.Fatalf("%q does not match itself", a)
			}
			for i, tok := range strings.Split(a, ".") {
				if got := string(token([]byte(a), i+1)); got != tok || tok == "" {
					t.Fatalf("token %d of %q = %q, want %q", i+1, a, got, tok)
				}
			}
		}
		if CheckFilter(a) != nil || CheckFilter(b) != nil {
			return
		}
		if Overlap(a, b) != Overlap(b, a) {
			t.Fatalf("Overlap(%q, %q) depends on the order", a, b)
		}
		if !Contains(a, a) {
			t.Fatalf("%q does not contain itself", a)
		}
		if Contains(a, b) && !Overlap(a, b) {
			t.Fatalf("%q contains %q but they do not overlap", a, b)
		}
		if CheckSubject(b) == nil {
			if m := Match(a, b); m != Contains(a, b) || m != Overlap(a, b) {
				t.Fatalf("Match, Contains and Overlap disagree on pattern %q and subject %q", a, b)
			}
		}
	})
}

func TestSubjectFunctionsDoNotAllocate(t *testing.T) {
	const s = "quakes.raw.us.größe"
	if n := testing.AllocsPerRun(100, func() {
		if CheckSubject(s) != nil || !Match("quakes.*.us.>", s) || !Overlap("quakes.>", s) {
			t.Fatal("the subject was refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckSubject(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = CheckSubject("quakes.raw.us.strong")
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Match("quakes.*.us.>", "quakes.raw.us.strong")
	}
}
