package sdk

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/sdk/abi"
)

// recovered turns a panic of the function that defers it into an error: the
// panic's value and where it happened.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = panicError(p)
	}
}

// panicError returns the error for a recovered panic. The deferred function that
// recovered calls it, while the stack of the panic is still there.
func panicError(p any) error {
	text := append([]byte(abi.PanicReason), panicText(p)...)
	return errors.New(string(appendStack(text)))
}

// panicText returns the text of a panic's value, also when making it panics.
func panicText(p any) (text string) {
	defer func() {
		if recover() != nil {
			text = "(the value's own text panics)"
		}
	}()
	return string(appendAny(nil, p))
}

// appendStack appends the innermost functions between the panic and this
// package, as "; at main.handle (main.go:12)".
func appendStack(dst []byte) []byte {
	const most = 4
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicking := false
	for n := 0; n < most; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicking = true
		case !panicking || strings.HasPrefix(f.Function, "runtime."):
		case f.Function == "" || strings.HasPrefix(f.Function, guestMethods):
			return dst
		default:
			dst = append(dst, "; at "...)
			dst = append(dst, f.Function...)
			dst = append(dst, " ("...)
			dst = append(dst, f.File[strings.LastIndexByte(f.File, '/')+1:]...)
			dst = append(dst, ':')
			dst = strconv.AppendInt(dst, int64(f.Line), 10)
			dst = append(dst, ')')
			n++
		}
		if !more {
			return dst
		}
	}
	return dst
}

const guestMethods = "github.com/wasmill/wasmill/sdk.(*guest)."

// appendAny appends a value as text without fmt.
func appendAny(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "nil"...)
	case string:
		return append(dst, v...)
	case []byte:
		return append(dst, v...)
	case error:
		return append(dst, v.Error()...)
	case interface{ String() string }:
		return append(dst, v.String()...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case int32:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case float32:
		return strconv.AppendFloat(dst, float64(v), 'g', -1, 32)
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	return append(dst, "(a value without text)"...)
}

// appendField appends " name=value", the value quoted where it would not read
// as one word.
func appendField(dst []byte, name string, v any) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=')
	start := len(dst)
	dst = appendAny(dst, v)
	if word(dst[start:]) {
		return dst
	}
	return strconv.AppendQuote(dst[:start], string(dst[start:]))
}

func word(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == '"' || c == '=' || c == 0x7f {
			return false
		}
	}
	return len(b) > 0 && utf8.Valid(b)
}
