package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/wasmill/wasmill/plugins/builtin/jsonpath"
)

// appendJSON appends a value of an expression as JSON, the members of an object
// by name.
func appendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, errors.New("the expression gives a number that JSON does not have: " + strconv.FormatFloat(v, 'g', -1, 64))
		}
		return appendFloat(dst, v), nil
	case string:
		return jsonpath.AppendString(dst, v), nil
	case time.Time:
		return appendTime(dst, v), nil
	case time.Duration:
		return jsonpath.AppendString(dst, v.String()), nil
	case []any:
		return appendArray(dst, v)
	case map[string]any:
		return appendObject(dst, v)
	}
	// What functions of the library return otherwise: []string, map[string]string, []int.
	text, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("write %T as JSON: %w", v, err)
	}
	return append(dst, text...), nil
}

func appendArray(dst []byte, elements []any) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, e); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, members map[string]any) (_ []byte, err error) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonpath.AppendString(dst, name), ':')
		if dst, err = appendJSON(dst, members[name]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendFloat writes a number as JavaScript and encoding/json do.
func appendFloat(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}
