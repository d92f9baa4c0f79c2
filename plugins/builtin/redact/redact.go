// Package redact is the ready-made plugin that removes, masks or hashes what an
// event should not carry on. README.md beside it is its documentation.
package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/plugins/builtin/jsonpath"
	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/jsonptr"
)

type config struct {
	Remove  []string
	Mask    []string
	Hash    []string
	Text    []string
	Headers headers
	With    string
	Salt    string
}

type headers struct {
	Remove []string
	Mask   []string
	Hash   []string
}

type redactor struct {
	config
	paths    jsonpath.Rewriter
	patterns []*regexp.Regexp

	buffer []byte
	list   []sdk.Header
}

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	r := &redactor{config: config{With: "***"}}
	if err := in.Decode(&r.config); err != nil {
		return nil, err
	}
	c := &r.config
	if len(c.Remove)+len(c.Mask)+len(c.Hash)+len(c.Text) == 0 && !c.Headers.any() {
		return nil, errors.New("config: nothing to redact; there are remove, mask, hash, text and headers")
	}
	for _, list := range []struct {
		key      string
		patterns []string
		action   jsonpath.Action
	}{{"remove", c.Remove, remove}, {"hash", c.Hash, r.hash}, {"mask", c.Mask, r.mask}} {
		for i, p := range list.patterns {
			if err := r.paths.Add(p, list.action); err != nil {
				return nil, errors.New("config." + list.key + "[" + strconv.Itoa(i) + "]: " + err.Error())
			}
		}
	}
	for i, p := range c.Text {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, errors.New("config.text[" + strconv.Itoa(i) + "]: " + err.Error())
		}
		if re.MatchString("") {
			return nil, errors.New("config.text[" + strconv.Itoa(i) + "]: " + p + " matches the empty text, and so would mask everything")
		}
		r.patterns = append(r.patterns, re)
	}
	if len(r.patterns) > 0 {
		r.paths.Strings(r.text)
	}
	return r.handle, nil
}

func (h *headers) any() bool { return len(h.Remove)+len(h.Mask)+len(h.Hash) > 0 }

func (r *redactor) handle(e *sdk.Event, out *sdk.Out) error {
	message := sdk.Message{KeepHeaders: true}
	if r.Headers.any() || len(r.patterns) > 0 {
		message.KeepHeaders = false
		message.Headers = r.redactHeaders(e)
	}
	switch doc := e.Find(""); {
	case doc.Exists():
		r.buffer = r.paths.Append(r.buffer[:0], doc)
	case !r.paths.Empty():
		return errNotJSON // and so nothing of it may pass
	default:
		r.buffer = append(r.buffer[:0], r.replace(e.Payload())...)
	}
	message.Payload = r.buffer
	out.Emit(message)
	return nil
}

var errNotJSON = sdk.DeadLetterBecause("the payload is not JSON, so its fields cannot be found")

func remove(dst []byte, _ jsonptr.Value) ([]byte, bool) { return dst, false }

// mask hides a value, whatever it is; null has nothing to hide.
func (r *redactor) mask(dst []byte, v jsonptr.Value) ([]byte, bool) {
	if v.Kind() == jsonptr.Null {
		return append(dst, v.Raw()...), true
	}
	return jsonpath.AppendString(dst, r.With), true
}

func (r *redactor) hash(dst []byte, v jsonptr.Value) ([]byte, bool) {
	if v.Kind() == jsonptr.Null {
		return append(dst, v.Raw()...), true
	}
	dst = append(dst, '"')
	dst = r.appendHash(dst, v.Bytes())
	return append(dst, '"'), true
}

// appendHash appends what stands for a text: the same for the same text and
// salt, so that events can still be counted and joined by it.
func (r *redactor) appendHash(dst, text []byte) []byte {
	mac := hmac.New(sha256.New, []byte(r.Salt))
	mac.Write(text)
	return hex.AppendEncode(dst, mac.Sum(nil))
}

// text masks in a string what the patterns match.
func (r *redactor) text(dst []byte, v jsonptr.Value) ([]byte, bool) {
	content := v.Bytes()
	for _, p := range r.patterns {
		if p.Match(content) {
			return jsonpath.AppendString(dst, string(r.replace(content))), true
		}
	}
	return append(dst, v.Raw()...), true
}

// replace returns text with what the patterns match masked; text stays as it is.
func (r *redactor) replace(text []byte) []byte {
	for _, p := range r.patterns {
		text = p.ReplaceAllLiteral(text, []byte(r.With))
	}
	return text
}

// redactHeaders returns the headers of an event as they may go on. Names are
// compared without regard to case, because those who send them do not agree.
func (r *redactor) redactHeaders(e *sdk.Event) []sdk.Header {
	r.list = r.list[:0]
	for name, value := range e.Headers() {
		h := sdk.Header{Name: string(name), Value: string(value)}
		switch {
		case listed(r.Headers.Remove, h.Name):
			continue
		case listed(r.Headers.Hash, h.Name):
			h.Value = string(r.appendHash(nil, value))
		case listed(r.Headers.Mask, h.Name):
			h.Value = r.With
		case len(r.patterns) > 0:
			h.Value = string(r.replace(value))
		}
		r.list = append(r.list, h)
	}
	return r.list
}

// listed reports whether a name is in a list; an entry that ends in * stands for
// all names that begin like it.
func listed(list []string, name string) bool {
	for _, entry := range list {
		if begin, ok := strings.CutSuffix(entry, "*"); ok {
			if len(name) >= len(begin) && strings.EqualFold(name[:len(begin)], begin) {
				return true
			}
		} else if strings.EqualFold(entry, name) {
			return true
		}
	}
	return false
}
