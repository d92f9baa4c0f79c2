/* The plugin of this SDK's tests: an event's payload says what to do with it. See
 * sdk/internal/guesttest, which has the same of every SDK. */
#include "wasmill.h"

static const char *greeting;
static int64_t wait_ns, size_limit;
static double factor;
static wm_str plugin, pipeline;
static int partition;
static wm_counter seen = WM_COUNTER("seen_total");
static wm_gauge level = WM_GAUGE("level");
static wm_histogram sizes = WM_HISTOGRAM("size_bytes");

static const char *configure(wm_instance *in) {
    greeting = wm_config_string(in, "greeting", "hi");
    wait_ns = wm_config_duration(in, "wait", 0);
    factor = wm_config_float(in, "factor", 1);
    size_limit = wm_config_int(in, "size_limit", 0);
    wm_config_value(in, "areas");
    plugin = in->plugin, pipeline = in->pipeline, partition = in->partition;
    return wm_config_bool(in, "refuse", false) ? "greeting is rude\nwait is long" : NULL;
}

/* after returns what follows a command's name in the payload, without data when
 * the payload is another command. */
static wm_str after(const wm_event *e, const char *command) {
    wm_str name = wm_s(command), rest = {NULL, 0}, head;
    if (e->payload.size < name.size) return rest;
    head.data = e->payload.data, head.size = name.size;
    if (!wm_same(head, name)) return rest;
    rest.data = e->payload.data + name.size, rest.size = e->payload.size - name.size;
    return rest;
}

static int64_t number(wm_str s) {
    wm_value v;
    int64_t n = 0;
    v.raw = s;
    return wm_int(v, &n) ? n : 0;
}

static wm_outcome say(wm_out *out, const wm_buf *b) {
    wm_message m = WM_ZERO;
    m.payload = wm_view(b);
    wm_emit(out, &m);
    return WM_DONE;
}

/* found describes a value: kind|text|float|int|bool|elements. */
static void found(wm_buf *b, wm_value v) {
    static const char *const kinds[] = {"absent", "null", "boolean", "number", "string", "object", "array"};
    double f;
    int64_t n;
    bool t;
    wm_value name, element;
    wm_add_s(b, kinds[wm_kind_of(v)]);
    wm_add_char(b, '|');
    wm_add(b, wm_text(v));
    wm_add_char(b, '|');
    if (wm_float(v, &f)) wm_add_float(b, f);
    wm_add_char(b, '|');
    if (wm_int(v, &n)) wm_add_int(b, n);
    wm_add_char(b, '|');
    if (wm_bool(v, &t)) wm_add_s(b, t ? "true" : "false");
    wm_add_char(b, '|');
    for (wm_each at = wm_elements(v); wm_next(&at, &name, &element);) {
        wm_add(b, wm_text(name));
        wm_add_char(b, '=');
        wm_add(b, element.raw);
        wm_add_char(b, ';');
    }
}

static wm_outcome fields(const wm_event *e, wm_out *out) {
    wm_buf b = WM_ZERO;
    wm_str rest = e->headers, name, value;
    wm_add(&b, e->subject);
    wm_add_field(&b, "token", wm_subject_token(e, 2));
    wm_add_field(&b, "none", wm_subject_token(e, 3));
    wm_add_field(&b, "key", e->key);
    wm_add_s(&b, " seq=");
    wm_add_int(&b, (int64_t)e->seq);
    wm_add_s(&b, " time=");
    wm_add_int(&b, e->time);
    wm_add_s(&b, " attempt=");
    wm_add_int(&b, e->attempt);
    wm_add_field(&b, "A", wm_header(e, "A"));
    while (wm_next_header(&rest, &name, &value)) {
        wm_add_char(&b, ' ');
        wm_add(&b, name);
        wm_add_char(&b, ':');
        wm_add(&b, value);
    }
    return say(out, &b);
}

static wm_outcome handle(const wm_event *e, wm_out *out) {
    wm_buf b = WM_ZERO;
    wm_message m = WM_ZERO;
    wm_str rest;
    if (wm_is(e->payload, "pass")) return wm_pass(out), WM_DONE;
    if (wm_is(e->payload, "fields")) return fields(e, out);
    if (wm_is(e->payload, "nothing")) return WM_DONE;
    if (wm_is(e->payload, "twice")) return wm_pass(out), wm_pass_to(out, "other"), WM_DONE;
    if ((rest = after(e, "pass-to ")).data) return wm_pass_to(out, wm_copy(rest).data), WM_DONE;
    if (wm_is(e->payload, "pass-as")) {
        wm_header_pair h[2];
        h[0].name = wm_s("X"), h[0].value = wm_s("1");
        h[1].name = wm_s("Y"), h[1].value = wm_s("");
        m.output = "other", m.subject = wm_s("as.x"), m.key = wm_s("K"), m.headers = h, m.header_count = 2;
        return wm_pass_as(out, &m), WM_DONE;
    }
    if (wm_is(e->payload, "greet")) {
        wm_add_s(&b, greeting);
        wm_add_char(&b, ' ');
        wm_add_int(&b, wait_ns);
        wm_add_char(&b, ' ');
        wm_add_float(&b, factor);
        wm_add_char(&b, ' ');
        wm_add_int(&b, size_limit);
        wm_add_char(&b, ' ');
        wm_add(&b, plugin);
        wm_add_char(&b, ' ');
        wm_add(&b, pipeline);
        wm_add_char(&b, ' ');
        wm_add_int(&b, partition);
        return say(out, &b);
    }
    if ((rest = after(e, "find ")).data) { /* pointer, line break, text */
        size_t n = 0;
        wm_str pointer, text;
        while (n < rest.size && rest.data[n] != '\n') n++;
        if (n == rest.size) return wm_fail("no line break");
        pointer.data = rest.data, pointer.size = n;
        text.data = rest.data + n + 1, text.size = rest.size - n - 1;
        found(&b, wm_json_find(text, wm_copy(pointer).data));
        return say(out, &b);
    }
    if ((rest = after(e, "quote ")).data) return wm_add_quoted(&b, rest), say(out, &b);
    if (wm_is(e->payload, "drop")) return wm_pass(out), WM_DROP;
    if ((rest = after(e, "drop ")).data) return wm_pass(out), wm_drop_because(wm_copy(rest).data);
    if (wm_is(e->payload, "retry")) return WM_RETRY;
    if (wm_is(e->payload, "later")) return wm_retry_after(1000, "busy");
    if (wm_is(e->payload, "dead")) return WM_DEAD_LETTER;
    if ((rest = after(e, "dead ")).data) return wm_dead_letter_because(wm_copy(rest).data);
    if ((rest = after(e, "fail ")).data) return wm_pass(out), wm_fail(wm_copy(rest).data);
    if (wm_is(e->payload, "bad output")) return wm_pass(out), wm_pass_to(out, "nowhere"), WM_DONE;
    if (wm_is(e->payload, "bad header")) {
        wm_header_pair h;
        h.name = wm_s("a b"), h.value = wm_s("");
        m.headers = &h, m.header_count = 1;
        return wm_emit(out, &m), WM_DONE;
    }
    if (wm_is(e->payload, "panic")) wm_panic("boom");
    if (wm_is(e->payload, "trap")) __builtin_trap();
    if (wm_is(e->payload, "log")) {
        wm_add_s(&b, "careful");
        wm_buf seq = WM_ZERO;
        wm_add_int(&seq, (int64_t)e->seq);
        wm_add_field(&b, "seq", wm_view(&seq));
        wm_log(WM_WARN, wm_view(&b));
        wm_inc(&seen);
        wm_set(&level, 0.5);
        wm_observe(&sizes, (double)e->payload.size);
        return WM_DONE;
    }
    if (wm_is(e->payload, "now")) return wm_add_int(&b, wm_now()), say(out, &b);
    if (wm_is(e->payload, "random")) {
        unsigned char bytes[32] = {0}, any = 0;
        wm_random(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++) any |= bytes[i];
        return wm_add_s(&b, any ? "true" : "false"), say(out, &b);
    }
    if ((rest = after(e, "secret ")).data) {
        wm_str secret;
        if (wm_secret(wm_copy(rest).data, &secret)) wm_add_int(&b, (int64_t)secret.size);
        else wm_add_s(&b, "none");
        return say(out, &b);
    }
    if ((rest = after(e, "garbage ")).data) { /* bytes that nobody keeps */
        char *p = (char *)wm_alloc((size_t)number(rest));
        for (int64_t i = 0; i < number(rest); i += 4096) p[i] = 1;
        return WM_DONE;
    }
    if ((rest = after(e, "fan ")).data) { /* that many outputs of 1,000 bytes */
        for (int i = 0; i < 1000; i++) wm_add_char(&b, 'x');
        for (int64_t i = 0; i < number(rest); i++) say(out, &b);
        return WM_DONE;
    }
    m.output = "other", m.subject = wm_s("copied"), m.key = e->key, m.payload = e->payload, m.keep_headers = true;
    return wm_emit(out, &m), WM_DONE;
}

static const char *bye(wm_out *out) {
    wm_message m = WM_ZERO;
    m.subject = wm_s("bye"), m.payload = wm_s(greeting);
    wm_emit(out, &m);
    return NULL;
}

WM_PLUGIN(configure, handle, bye);
