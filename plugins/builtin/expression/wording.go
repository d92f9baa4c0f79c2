package expression

import (
	"regexp"
	"strings"
)

// The library's messages about types, as far as an author meets them.
var (
	mismatchedTypes = regexp.MustCompile(`^invalid operation: (.+) \(mismatched types (.+) and (.+)\)`)
	failedOperation = regexp.MustCompile(`^invalid operation: (\S+) (\S+) (\S+)$`)
	failedResult    = regexp.MustCompile(`^invalid operation: bool\((\S+)\)`)
	wrongResult     = regexp.MustCompile(`^expected (bool|string), but got (\S+)`)
	wrongArgument   = regexp.MustCompile(`^cannot use (.+) as argument \(type (.+)\) to call (\S+)`)
)

// kinds are the library's types in the words of the documentation.
var kinds = map[string]string{
	"nil": "nil", "<nil>": "nil", "bool": "a boolean", "string": "text",
	"int": "a number", "int64": "a number", "float64": "a number",
	"array": "an array", "[]interface {}": "an array", "[]interface{}": "an array", "[]any": "an array",
	"object": "an object", "map[string]interface {}": "an object", "map[string]interface{}": "an object", "map[string]string": "an object",
	"time.Time": "a time", "time.Duration": "a duration",
	"interface {}": "any value", "interface{}": "any value", "unknown": "any value",
}

func kind(of string) string {
	if k, ok := kinds[of]; ok {
		return k
	}
	return of
}

// readable puts the library's messages into the words of the documentation.
func readable(message string) string {
	absent := false
	if m := mismatchedTypes.FindStringSubmatch(message); m != nil {
		message = m[1] + " does not work on " + kind(m[2]) + " and " + kind(m[3])
	} else if m := failedOperation.FindStringSubmatch(message); m != nil {
		message = m[2] + " does not work on " + kind(m[1]) + " and " + kind(m[3])
		absent = kind(m[1]) == "nil" || kind(m[3]) == "nil"
	} else if m := failedResult.FindStringSubmatch(message); m != nil {
		message = "the expression gives " + kind(m[1]) + ", not true or false"
		absent = kind(m[1]) == "nil"
	} else if m := wrongResult.FindStringSubmatch(message); m != nil {
		want := "text"
		if m[1] == "bool" {
			want = "true or false"
		}
		message = "the expression gives " + kind(m[2]) + ", not " + want
	} else if m := wrongArgument.FindStringSubmatch(message); m != nil {
		message = m[3] + " takes " + kind(m[2]) + ", not " + kind(m[1])
	} else {
		message = strings.NewReplacer("<nil>", "nil", "float64", "number", "map[string]interface {}", "object", "[]interface {}", "array", "interface {}", "any").Replace(message)
		absent = strings.Contains(message, "nil")
	}
	if strings.HasPrefix(message, "unexpected token EOF") {
		message = "the expression ends too early"
	}
	if strings.Contains(message, "unknown name") && !strings.Contains(message, "(did you mean") {
		message += "; there are payload, subject, key, headers, text, seq and time"
	}
	if absent {
		message += `; a field that is not there is nil: "payload.x ?? 0" gives it a value`
	}
	return message
}
