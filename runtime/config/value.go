package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. TOML writes it as an integer or with an IEC unit:
// "64MiB", "1.5GiB". The units are B, KiB, MiB, GiB and TiB.
type Size int64

type unit struct {
	name string
	size int64
}

// sizeUnits returns the units, the largest first.
func sizeUnits() [5]unit {
	return [...]unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

const sizeForm = `write a size as "64MiB" (B, KiB, MiB, GiB, TiB)`

// ParseSize reads a Size.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "KMGTkmgtiIbB")
	name := s[len(digits):]
	digits = strings.TrimSuffix(digits, " ")
	factor := int64(0)
	for _, u := range sizeUnits() {
		if name == u.name {
			factor = u.size
		}
	}
	if name == "" {
		factor = 1
	}
	if factor == 0 {
		if len(name) <= 3 && strings.ContainsAny(name[:1], "KMGTkmgt") {
			return 0, &hint{fmt.Errorf("%q: %s", s, sizeForm), digits + strings.ToUpper(name[:1]) + "iB"}
		}
		return 0, fmt.Errorf("%q: %s", s, sizeForm)
	}
	if !plainNumber(digits) {
		return 0, fmt.Errorf("%q: %s", s, sizeForm)
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64/factor {
			return 0, fmt.Errorf("%q is too large", s)
		}
		return Size(n * factor), nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	f *= float64(factor)
	switch {
	case err != nil || f >= math.MaxInt64:
		return 0, fmt.Errorf("%q is too large", s)
	case f != math.Trunc(f):
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	}
	return Size(f), nil
}

// plainNumber: digits, with at most one point between them.
func plainNumber(s string) bool {
	before, after, dotted := strings.Cut(s, ".")
	return digitsOnly(before) && (!dotted || digitsOnly(after))
}

func digitsOnly(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String writes the size with the largest unit that gives a whole number.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSize.
func (s *Size) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSize(string(b))
	return err
}

func (s *Size) setTOML(v any) error {
	switch v := v.(type) {
	case int64:
		if v < 0 {
			return fmt.Errorf("%d: %w", v, errNegative)
		}
		*s = Size(v)
		return nil
	case string:
		return s.UnmarshalText([]byte(v))
	}
	return typeError(`a size such as "64MiB"`)
}

var errNegative = errors.New("it must not be negative")

// Duration is a span of time. TOML writes it as Go does, and days with d:
// "100ms", "1h30m", "7d", "1d12h". It is never negative.
type Duration time.Duration

const (
	day          = 24 * time.Hour
	durationForm = `write a duration as "100ms" (ns, us, ms, s, m, h, d)`
)

// ParseDuration reads a Duration.
func ParseDuration(s string) (Duration, error) {
	rest, total := s, time.Duration(0)
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if !plainNumber(days) || err != nil {
			return 0, fmt.Errorf("%q: %s", s, durationForm)
		}
		if n > float64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%q is too long; the longest is %dd", s, math.MaxInt64/day)
		}
		total, rest = time.Duration(n*float64(day)), after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || strings.HasPrefix(rest, "+") {
			return 0, fmt.Errorf("%q: %s", s, durationForm)
		}
		if d < 0 {
			return 0, fmt.Errorf("%q: %w", s, errNegative)
		}
		if total += d; total < 0 {
			return 0, fmt.Errorf("%q is too long; the longest is %dd", s, math.MaxInt64/day)
		}
	} else if s == "" {
		return 0, fmt.Errorf("%q: %s", s, durationForm)
	}
	return Duration(total), nil
}

// String writes the duration as ParseDuration reads it, without zero parts.
func (d Duration) String() string {
	t := time.Duration(d)
	if t > 0 && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

func (d *Duration) setTOML(v any) error {
	if s, ok := v.(string); ok {
		return d.UnmarshalText([]byte(s))
	}
	return typeError(`a duration such as "100ms"`)
}

// Rate is a number of events per second, "20000/s" in TOML. 0 is no limit.
type Rate float64

// ParseRate reads a Rate.
func ParseRate(s string) (Rate, error) {
	digits, ok := strings.CutSuffix(s, "/s")
	f, err := strconv.ParseFloat(digits, 64)
	if !ok && plainNumber(s) {
		return 0, &hint{fmt.Errorf(`%q: write a rate as "20000/s"`, s), s + "/s"}
	}
	if !ok || err != nil || !plainNumber(digits) {
		return 0, fmt.Errorf(`%q: write a rate as "20000/s"`, s)
	}
	if f <= 0 || f > 1e9 {
		return 0, fmt.Errorf(`%q: a rate is more than 0 and at most 1000000000/s; leave the key out for no limit`, s)
	}
	return Rate(f), nil
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s" }

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRate.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRate(string(b))
	return err
}

func (r *Rate) setTOML(v any) error {
	if s, ok := v.(string); ok {
		return r.UnmarshalText([]byte(s))
	}
	return typeError(`a rate such as "20000/s"`)
}

// Ratio is a share, from 0 to 1.
type Ratio float64

// ParseRatio reads a Ratio.
func ParseRatio(s string) (Ratio, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("%q: write a share from 0 to 1, as in 0.01", s)
	}
	return Ratio(f), nil
}

// String writes the ratio as ParseRatio reads it.
func (r Ratio) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) }

// UnmarshalText is ParseRatio.
func (r *Ratio) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRatio(string(b))
	return err
}

func (r *Ratio) setTOML(v any) error {
	switch v := v.(type) {
	case float64:
		return r.UnmarshalText([]byte(strconv.FormatFloat(v, 'f', -1, 64)))
	case int64:
		return r.UnmarshalText([]byte(strconv.FormatInt(v, 10)))
	}
	return typeError("a number from 0 to 1")
}

// Start is where a pipeline begins when it runs for the first time: "all",
// "new", or an RFC 3339 time, which TOML may also write without quotes.
type Start string

func (s *Start) setTOML(v any) error {
	switch v := v.(type) {
	case string:
		if v != "all" && v != "new" {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				return fmt.Errorf(`%q: write "all", "new" or an RFC 3339 time such as "2026-01-31T12:00:00Z"`, v)
			}
		}
		*s = Start(v)
		return nil
	case time.Time:
		if localTime(v) != "" {
			return errors.New("the time has no zone; end it with Z or an offset such as +01:00")
		}
		*s = Start(v.Format(time.RFC3339Nano))
		return nil
	}
	return typeError(`"all", "new" or a time`)
}

// localTime returns the layout of a TOML time without a zone, or "".
func localTime(t time.Time) string {
	// BurntSushi/toml marks such times by the name of their location.
	switch t.Location().String() {
	case "datetime-local":
		return "2006-01-02T15:04:05.999999999"
	case "date-local":
		return "2006-01-02"
	case "time-local":
		return "15:04:05.999999999"
	}
	return ""
}

func (s *Secret) setTOML(v any) error {
	str, ok := v.(string)
	if !ok {
		return typeError(`"env:NAME" or "file:PATH"`)
	}
	if str == "" {
		return errSecretForm
	}
	*s = Secret(str)
	return s.Check()
}

// hint is an error that knows what was probably meant.
type hint struct {
	error
	better string
}

func (h *hint) Unwrap() error { return h.error }

// typeError says which type was wanted; the decoder adds what was found.
type typeError string

func (e typeError) Error() string { return "want " + string(e) }
