// Package mapping is the ready-made plugin that builds events from expressions.
// README.md beside it is its documentation.
package mapping

import (
	"errors"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/plugins/builtin/expression"
	"github.com/wasmill/wasmill/sdk"
)

type config struct {
	Subject string
	Key     string
	Headers map[string]string
	Payload any
	Set     map[string]any
}

// mapper is one instance. What an event needs is built in buffers that are used
// again for the next.
type mapper struct {
	subject, key *expression.Program
	headers      []header
	payload, set *template

	buffer  []byte
	message []sdk.Header
}

type header struct {
	name string
	expr *expression.Program
}

// Open makes the handler of an instance.
func Open(in *sdk.Instance) (sdk.Handler, error) {
	var c config
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if c.Subject == "" && c.Key == "" && len(c.Headers) == 0 && c.Payload == nil && len(c.Set) == 0 {
		return nil, errors.New("config: nothing to do; there are subject, key, headers, payload and set")
	}
	if c.Payload != nil && len(c.Set) > 0 {
		return nil, errors.New("config.set: payload builds the whole payload and set changes the one that is there: give one of them")
	}
	var m mapper
	var err error
	if m.subject, err = text("subject", c.Subject); err != nil {
		return nil, err
	}
	if m.key, err = text("key", c.Key); err != nil {
		return nil, err
	}
	for name, source := range c.Headers {
		h := header{name: name}
		if h.expr, err = expression.Value(source); err != nil {
			return nil, expression.Configured("headers."+name, err)
		}
		m.headers = append(m.headers, h)
	}
	slices.SortFunc(m.headers, func(a, b header) int { return strings.Compare(a.name, b.name) })
	if c.Payload != nil {
		if m.payload, err = newTemplate("payload", c.Payload); err != nil {
			return nil, err
		}
	}
	if len(c.Set) > 0 {
		if m.set, err = newTemplate("set", c.Set); err != nil {
			return nil, err
		}
	}
	return m.handle, nil
}

func text(key, source string) (*expression.Program, error) {
	if source == "" {
		return nil, nil //nolint:nilnil // nothing is configured
	}
	p, err := expression.Text(source)
	if err != nil {
		return nil, expression.Configured(key, err)
	}
	return p, nil
}

func (m *mapper) handle(e *sdk.Event, out *sdk.Out) error {
	message := sdk.Message{KeepHeaders: true}
	if m.subject != nil {
		s, err := m.subject.Text(e)
		if err != nil {
			return expression.Failed("subject", err)
		}
		message.Subject = s
	}
	if m.key != nil {
		k, err := m.key.Text(e)
		if err != nil {
			return expression.Failed("key", err)
		}
		message.Key = []byte(k)
	}
	if err := m.makeHeaders(e, &message); err != nil {
		return err
	}
	var err error
	switch {
	case m.payload != nil:
		m.buffer, err = m.payload.append(m.buffer[:0], e)
	case m.set != nil:
		m.buffer, err = m.set.merge(m.buffer[:0], e, e.Find(""))
	default:
		out.PassAs(message)
		return nil
	}
	if err != nil {
		return err
	}
	message.Payload = m.buffer
	out.Emit(message)
	return nil
}

// makeHeaders evaluates the configured headers. One of them replaces all of its
// name, and nil leaves it out; the others are kept.
func (m *mapper) makeHeaders(e *sdk.Event, message *sdk.Message) error {
	if len(m.headers) == 0 {
		return nil
	}
	message.KeepHeaders = false
	m.message = m.message[:0]
	for name, value := range e.Headers() {
		if _, ours := slices.BinarySearchFunc(m.headers, string(name), func(h header, n string) int { return strings.Compare(h.name, n) }); !ours {
			m.message = append(m.message, sdk.Header{Name: string(name), Value: string(value)})
		}
	}
	for _, h := range m.headers {
		v, err := h.expr.Value(e)
		if err == nil && v == nil {
			continue
		}
		var s string
		if err == nil {
			s, err = expression.TextOf(v)
		}
		if err != nil {
			return expression.Failed("headers."+h.name, err)
		}
		m.message = append(m.message, sdk.Header{Name: h.name, Value: s})
	}
	message.Headers = m.message
	return nil
}
