//go:build !wasip1

package sdk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/sdk"
	"github.com/wasmill/wasmill/sdk/abi"
	"github.com/wasmill/wasmill/sdk/sdktest"
)

// handler makes a plugin of h.
func handler(h sdk.Handler) sdk.Opener {
	return func(*sdk.Instance) (sdk.Handler, error) { return h, nil }
}

// process runs h on events in an instance with the outputs default and strong.
func process(t *testing.T, h sdk.Handler, events ...sdktest.Event) sdktest.Result {
	t.Helper()
	return sdktest.Open(t, sdktest.Options{Plugin: handler(h), Outputs: []string{"strong"}}).Process(events...)
}

func TestEvent(t *testing.T) {
	event := sdktest.Event{
		Subject: "quakes.raw.uw", Key: "uw", Payload: `{"mag":4.5,"tags":["a"]}`, Seq: 7, Attempt: 2,
		Headers: []sdk.Header{{"A", "1"}, {"B", ""}, {"A", "2"}}, Time: time.Date(2018, 2, 6, 18, 36, 20, 5, time.UTC),
	}
	called := false
	process(t, func(e *sdk.Event, _ *sdk.Out) error {
		called = true
		mag, _ := e.Find("/mag").Float()
		for _, c := range []struct {
			what      string
			got, want any
		}{
			{"subject", string(e.Subject()), "quakes.raw.uw"},
			{"first token", string(e.SubjectToken(1)), "quakes"},
			{"last token", string(e.SubjectToken(3)), "uw"},
			{"no token", e.SubjectToken(4) == nil, true},
			{"token zero", e.SubjectToken(0) == nil, true},
			{"key", string(e.Key()), "uw"},
			{"payload", string(e.Payload()), event.Payload},
			{"number", mag, 4.5},
			{"text", e.Find("/tags/0").String(), "a"},
			{"absent", e.Find("/none").Exists(), false},
			{"header", string(e.Header("A")), "1"},
			{"empty header", e.Header("B") != nil && len(e.Header("B")) == 0, true},
			{"no header", e.Header("a") == nil, true},
			{"sequence", e.Seq(), uint64(7)},
			{"time", e.Time(), event.Time},
			{"attempt", e.Attempt(), 2},
		} {
			if c.got != c.want {
				t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
			}
		}
		var headers []string
		for name, value := range e.Headers() {
			headers = append(headers, string(name)+"="+string(value))
		}
		if got := strings.Join(headers, " "); got != "A=1 B= A=2" {
			t.Errorf("headers: %s", got)
		}
		return nil
	}, event)
	if !called {
		t.Error("the handler was not called")
	}
}

func TestOut(t *testing.T) {
	source := sdktest.Event{Subject: "s", Key: "k", Payload: "body", Headers: []sdk.Header{{"A", "1"}}}
	one := func(t *testing.T, h sdk.Handler) sdktest.Output {
		t.Helper()
		r := process(t, h, source)
		if len(r.Outputs) != 1 || len(r.Outcomes) != 0 {
			t.Fatalf("got %+v", r)
		}
		return r.Outputs[0]
	}
	expect := func(t *testing.T, got, want sdktest.Output) {
		t.Helper()
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Errorf("\n got %s\nwant %s", g, w)
		}
	}
	t.Run("Pass hands the event on", func(t *testing.T) {
		got := one(t, func(_ *sdk.Event, out *sdk.Out) error { out.Pass(); return nil })
		expect(t, got, sdktest.Output{Output: "default", Payload: "body", Headers: source.Headers})
	})
	t.Run("PassTo names the output", func(t *testing.T) {
		got := one(t, func(_ *sdk.Event, out *sdk.Out) error { out.PassTo("strong"); return nil })
		expect(t, got, sdktest.Output{Output: "strong", Payload: "body", Headers: source.Headers})
	})
	t.Run("PassAs adds to the event", func(t *testing.T) {
		got := one(t, func(e *sdk.Event, out *sdk.Out) error {
			out.PassAs(sdk.Message{Output: "strong", Subject: "x.y", Key: e.Key(), Headers: []sdk.Header{{"B", "2"}}, Payload: []byte("unused")})
			return nil
		})
		expect(t, got, sdktest.Output{Output: "strong", Subject: "x.y", Key: "k", Payload: "body", Headers: []sdk.Header{{"A", "1"}, {"B", "2"}}})
	})
	t.Run("Emit makes a new one", func(t *testing.T) {
		got := one(t, func(_ *sdk.Event, out *sdk.Out) error {
			out.Emit(sdk.Message{Subject: "x", Key: []byte("n"), Headers: []sdk.Header{{"B", "2"}}, Payload: []byte("new")})
			return nil
		})
		expect(t, got, sdktest.Output{Output: "default", Subject: "x", Key: "n", Payload: "new", Headers: []sdk.Header{{"B", "2"}}})
	})
	t.Run("Emit can keep the headers", func(t *testing.T) {
		got := one(t, func(_ *sdk.Event, out *sdk.Out) error {
			out.Emit(sdk.Message{KeepHeaders: true, Payload: []byte("new")})
			return nil
		})
		expect(t, got, sdktest.Output{Output: "default", Payload: "new", Headers: source.Headers})
	})
	t.Run("outputs stand in the order of the calls", func(t *testing.T) {
		r := process(t, func(e *sdk.Event, out *sdk.Out) error {
			out.Emit(sdk.Message{Payload: []byte("first")})
			out.Pass()
			return nil
		}, source, source)
		var got []string
		for _, o := range r.Outputs {
			got = append(got, fmt.Sprint(o.Event, o.Payload))
		}
		if s := strings.Join(got, " "); s != "0first 0body 1first 1body" {
			t.Error(s)
		}
	})
	for name, c := range map[string]struct {
		call func(out *sdk.Out)
		want string
	}{
		"an unknown output":          {func(out *sdk.Out) { out.PassTo("weak") }, `no output "weak" here; it has default, strong`},
		"a header name with a space": {func(out *sdk.Out) { out.PassAs(sdk.Message{Headers: []sdk.Header{{"a b", ""}}}) }, "header that cannot travel"},
		"a header with a line break": {func(out *sdk.Out) { out.Emit(sdk.Message{Headers: []sdk.Header{{"a", "\r\n"}}}) }, "header that cannot travel"},
		"too many headers":           {func(out *sdk.Out) { out.Emit(sdk.Message{Headers: make([]sdk.Header, 1<<16)}) }, "65536 headers"},
	} {
		t.Run(name+" fails the event", func(t *testing.T) {
			r := process(t, func(_ *sdk.Event, out *sdk.Out) error {
				out.Pass()
				c.call(out)
				out.Pass()
				return nil
			}, source)
			o, _ := r.Outcome(0)
			if len(r.Outputs) != 0 || o.Code != abi.CodeRetry || !strings.Contains(o.Reason, c.want) {
				t.Errorf("got %+v, want a retry because of %q", r, c.want)
			}
		})
	}
	t.Run("and none of the events behind it", func(t *testing.T) {
		n := 0
		r := process(t, func(_ *sdk.Event, out *sdk.Out) error {
			if n++; n == 1 {
				out.PassTo("weak")
			}
			out.Pass()
			return nil
		}, source, source)
		if len(r.Of(0)) != 0 || len(r.Of(1)) != 1 || len(r.Outcomes) != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string // code, delay, reason
	}{
		{"Drop", sdk.Drop, "1 0s "},
		{"DropBecause", sdk.DropBecause("dull"), "1 0s dull"},
		{"Retry", sdk.Retry, "2 0s "},
		{"RetryAfter", sdk.RetryAfter(250*time.Millisecond, "busy"), "2 250ms busy"},
		{"RetryAfter rounds up", sdk.RetryAfter(time.Microsecond, "busy"), "2 1ms busy"},
		{"RetryAfter does not go back in time", sdk.RetryAfter(-time.Second, "busy"), "2 0s busy"},
		{"RetryAfter has an end", sdk.RetryAfter(1<<62, "busy"), "2 1193h2m47.295s busy"},
		{"DeadLetter", sdk.DeadLetter, "3 0s "},
		{"DeadLetterBecause", sdk.DeadLetterBecause("no use"), "3 0s no use"},
		{"any other error is a retry", errors.New("boom"), "2 0s boom"},
		{"a wrapped one says more", fmt.Errorf("station 5: %w", sdk.DeadLetterBecause("no use")), "3 0s station 5: dead-letter: no use"},
		{"a joined one counts", errors.Join(errors.New("first"), sdk.Drop), "1 0s first\ndrop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := process(t, func(_ *sdk.Event, out *sdk.Out) error {
				out.Pass() // taken back
				return c.err
			}, sdktest.Event{})
			o, _ := r.Outcome(0)
			if got := fmt.Sprint(o.Code, " ", o.Delay, " ", o.Reason); got != c.want || len(r.Outputs) != 0 {
				t.Errorf("got %q and %d outputs, want %q", got, len(r.Outputs), c.want)
			}
		})
	}
	t.Run("errors.Is tells them apart", func(t *testing.T) {
		sentinels := []error{sdk.Drop, sdk.Retry, sdk.DeadLetter}
		for i, err := range []error{sdk.DropBecause("x"), sdk.RetryAfter(time.Second, "x"), sdk.DeadLetterBecause("x")} {
			for j, sentinel := range sentinels {
				if errors.Is(err, sentinel) != (i == j) {
					t.Errorf("errors.Is(%v, %v) = %t", err, sentinel, i != j)
				}
			}
		}
	})
}

type badError struct{}

func (badError) Error() string { panic("again") }

func rename(e *sdktest.Event) { e.Key = "k" }

func explode(kind string) {
	switch kind {
	case "string":
		panic("boom")
	case "error":
		panic(errors.New("boom"))
	case "index":
		_ = make([]int, 1)[len(kind)]
	case "nil":
		var e *sdktest.Event
		rename(e)
	case "odd":
		panic(struct{ a, b int }{1, 2})
	case "worse":
		panic(badError{})
	}
}

func TestAPanicFailsItsEventOnly(t *testing.T) {
	kinds := []string{"string", "fine", "error", "index", "fine", "nil", "odd", "worse", "fine"}
	var events []sdktest.Event
	for _, k := range kinds {
		events = append(events, sdktest.Event{Payload: k})
	}
	r := process(t, func(e *sdk.Event, out *sdk.Out) error {
		out.Pass() // taken back by the panic
		explode(string(e.Payload()))
		return nil
	}, events...)
	want := map[string]string{
		"string": "panic: boom; at ", "error": "panic: boom; at ", "index": "panic: runtime error: index out of range [5] with length 1; at ",
		"nil": "panic: runtime error: invalid memory address or nil pointer dereference; at ",
		"odd": "panic: (a value without text); at ", "worse": "panic: (the value's own text panics); at ",
	}
	for i, k := range kinds {
		o, failed := r.Outcome(i)
		if k == "fine" {
			if failed || len(r.Of(i)) != 1 {
				t.Errorf("event %d, which is fine: %+v, %+v", i, o, r.Of(i))
			}
			continue
		}
		if o.Code != abi.CodeRetry || len(r.Of(i)) != 0 || !strings.HasPrefix(o.Reason, want[k]) {
			t.Errorf("%s: got %+v, want a retry because of %q", k, o, want[k])
		}
		if !strings.Contains(o.Reason, "sdk_test.explode (sdk_test.go:") || strings.Contains(o.Reason, "sdk.(*guest)") {
			t.Errorf("%s: the stack does not name the handler and its line: %s", k, o.Reason)
		}
	}
}

func TestInstance(t *testing.T) {
	t.Run("knows where it runs", func(t *testing.T) {
		var in *sdk.Instance
		sdktest.Open(t, sdktest.Options{
			Name: "strong", Pipeline: "alerts", Partition: 3, Outputs: []string{"weak"}, Config: map[string]any{"a": 1},
			Now: time.Now, Secrets: map[string]string{},
			Plugin: func(i *sdk.Instance) (sdk.Handler, error) {
				in = i
				return func(*sdk.Event, *sdk.Out) error { return nil }, nil
			},
		})
		got := fmt.Sprintln(in.Plugin, in.Pipeline, in.Partition, in.Outputs, in.Grants, in.Config)
		if got != `strong alerts 3 [default weak] [clock secret] {"a":1}`+"\n" {
			t.Errorf("got %s", got)
		}
		if !in.HasOutput("weak") || !in.HasOutput("default") || in.HasOutput("other") {
			t.Error("HasOutput is wrong")
		}
	})
	t.Run("refuses to open with the error of its opener", func(t *testing.T) {
		err := sdktest.Refused(t, sdktest.Options{Plugin: func(*sdk.Instance) (sdk.Handler, error) { return nil, errors.New("no way") }})
		if err.Error() != "no way" {
			t.Error(err)
		}
	})
	t.Run("refuses to open when its opener panics", func(t *testing.T) {
		err := sdktest.Refused(t, sdktest.Options{Plugin: func(*sdk.Instance) (sdk.Handler, error) { panic("boom") }})
		if !strings.HasPrefix(err.Error(), "panic: boom; at ") || !strings.Contains(err.Error(), "sdk_test.go:") {
			t.Error(err)
		}
	})
	t.Run("refuses to open without a handler", func(t *testing.T) {
		for _, open := range []sdk.Opener{nil, handler(nil)} {
			if err := sdktest.Refused(t, sdktest.Options{Plugin: open}); !strings.Contains(err.Error(), "sdk.Handle") {
				t.Error(err)
			}
		}
	})
	t.Run("refuses a document that is not JSON", func(t *testing.T) {
		for _, doc := range []string{"x", "[]", `{"config":{}`} {
			g := sdk.NewGuest(handler(func(*sdk.Event, *sdk.Out) error { return nil }), &sdk.Host{})
			if err := g.Open([]byte(doc)); err == nil {
				t.Errorf("%s is accepted", doc)
			}
		}
	})
	t.Run("refuses a batch that is malformed, and works on", func(t *testing.T) {
		g := sdk.NewGuest(handler(func(*sdk.Event, *sdk.Out) error { return nil }), &sdk.Host{})
		var bad *abi.FrameError
		if _, err := g.Process([]byte("x")); !errors.As(err, &bad) {
			t.Errorf("got %v", err)
		}
		frame := make([]byte, abi.BatchHeaderSize)
		abi.PutBatchHeader(frame, abi.BatchHeader{}, len(frame))
		if _, err := g.Process(frame); err != nil {
			t.Error(err)
		}
	})
	t.Run("answers the timer and the drain with nothing", func(t *testing.T) {
		for _, kind := range []abi.Kind{abi.KindTimer, abi.KindDrain} {
			g := sdk.NewGuest(handler(func(*sdk.Event, *sdk.Out) error { return nil }), &sdk.Host{})
			frame := make([]byte, abi.BatchHeaderSize)
			abi.PutBatchHeader(frame, abi.BatchHeader{Kind: kind}, len(frame))
			if b, err := g.Process(frame); err != nil || len(b) != abi.ResponseHeaderSize {
				t.Errorf("kind %d: %x, %v", kind, b, err)
			}
		}
	})
}

func TestClose(t *testing.T) {
	closing := func(hooks ...func(*sdk.Out) error) sdk.Opener {
		return func(in *sdk.Instance) (sdk.Handler, error) {
			for _, h := range hooks {
				in.OnClose(h)
			}
			return func(*sdk.Event, *sdk.Out) error { return nil }, nil
		}
	}
	emit := func(text string) func(*sdk.Out) error {
		return func(out *sdk.Out) error {
			out.Emit(sdk.Message{Subject: "last", Payload: []byte(text)})
			return nil
		}
	}
	t.Run("the hooks emit, in their order", func(t *testing.T) {
		r := sdktest.Open(t, sdktest.Options{Plugin: closing(emit("a"), emit("b"))}).Close()
		if len(r.Outputs) != 2 || r.Outputs[0].Payload != "a" || r.Outputs[1].Payload != "b" || r.Outputs[0].Event != -1 {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("without hooks there is nothing", func(t *testing.T) {
		if r := sdktest.Open(t, sdktest.Options{Plugin: closing()}).Close(); len(r.Outputs) != 0 {
			t.Errorf("got %+v", r)
		}
	})
	for name, c := range map[string]struct {
		hook func(*sdk.Out) error
		want string
	}{
		"an error":          {func(*sdk.Out) error { return errors.New("stuck") }, "stuck"},
		"a panic":           {func(*sdk.Out) error { panic("boom") }, "panic: boom"},
		"Pass":              {func(out *sdk.Out) error { out.Pass(); return nil }, "no event to pass on"},
		"Emit with headers": {func(out *sdk.Out) error { out.Emit(sdk.Message{KeepHeaders: true}); return nil }, "no event to pass on"},
	} {
		t.Run(name+" in a hook is an error", func(t *testing.T) {
			g := sdk.NewGuest(closing(c.hook), &sdk.Host{})
			if err := g.Open(nil); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Close(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a closed instance takes no events and closes once", func(t *testing.T) {
		g := sdk.NewGuest(closing(emit("a")), &sdk.Host{})
		if err := g.Open(nil); err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{true, false} {
			b, err := g.Close()
			if err != nil || len(b) > abi.ResponseHeaderSize != want {
				t.Errorf("close %d: %x, %v", i, b, err)
			}
		}
		if _, err := g.Process(nil); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("got %v", err)
		}
	})
}

func TestNothingIsAllocatedForAnEvent(t *testing.T) {
	dull := sdk.DropBecause("dull")
	for name, h := range map[string]sdk.Handler{
		"pass":   func(_ *sdk.Event, out *sdk.Out) error { out.Pass(); return nil },
		"drop":   func(*sdk.Event, *sdk.Out) error { return sdk.Drop },
		"reason": func(*sdk.Event, *sdk.Out) error { return dull },
		"filter": func(e *sdk.Event, out *sdk.Out) error {
			if m, ok := e.Find("/mag").Float(); !ok || m < 4.5 {
				return sdk.Drop
			}
			out.Pass()
			return nil
		},
		"emit": func(e *sdk.Event, out *sdk.Out) error {
			out.Emit(sdk.Message{
				Output: "strong", Subject: "alerts." + string(e.SubjectToken(1)), Key: e.Find("/net").Bytes(),
				Headers: []sdk.Header{{"Region", string(e.Header("A"))}}, Payload: e.Payload(), KeepHeaders: true,
			})
			return nil
		},
		"walk": func(e *sdk.Event, out *sdk.Out) error {
			n := 0
			for name := range e.Headers() {
				n += len(name)
			}
			if n != 1 || e.Time().IsZero() {
				return sdk.DeadLetter
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := sdk.NewGuest(handler(h), &sdk.Host{})
			if err := g.Open([]byte(`{"outputs":["default","strong"]}`)); err != nil {
				t.Fatal(err)
			}
			const n = 1000
			e := abi.Event{
				Attempt: 1, Subject: []byte("quakes"), HeaderCount: 1, Headers: abi.AppendHeader(nil, "A", "1"),
				Payload: []byte(`{"mag":4.6,"net":"uw"}`),
			}
			frame := make([]byte, abi.BatchHeaderSize+n*abi.EventSize(&e))
			abi.PutBatchHeader(frame, abi.BatchHeader{Count: n}, len(frame))
			for at := abi.BatchHeaderSize; at < len(frame); {
				at += abi.PutEvent(frame[at:], &e)
			}
			perBatch := testing.AllocsPerRun(10, func() {
				if _, err := g.Process(frame); err != nil {
					t.Fatal(err)
				}
			})
			if perBatch > 5 { // the turn of a native guest, nothing for an event
				t.Errorf("%v allocations for %d events", perBatch, n)
			}
		})
	}
}
