/*
 * wasmill.h: what a Wasmill plugin in C, C++ or Zig includes. There is nothing
 * else: no library to link, no libc, no allocator.
 *
 *     #include "wasmill.h"
 *
 *     static wm_outcome strong(const wm_event *e, wm_out *out) {
 *         double mag;
 *         if (!wm_float(wm_find(e, "/properties/mag"), &mag) || mag < 4.5)
 *             return WM_DROP;
 *         wm_pass(out);
 *         return WM_DONE;
 *     }
 *
 *     WM_HANDLE(strong);
 *
 * `wasmill build` compiles it; by hand it is
 *
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o p.wasm p.c
 *
 * What a handler decides. A handler that returns WM_DONE is done with its event:
 * what it handed to out is emitted, in that order. With any other outcome nothing
 * is emitted. Several outcomes take a reason: wm_drop_because, wm_retry_after,
 * wm_dead_letter_because, wm_fail. An unknown output, or a header that cannot
 * travel, fails the event as wm_fail does. A trap (wm_panic, a division by zero,
 * a load outside of memory) ends the instance; the runtime finds the event at
 * fault, and the others go on, on a fresh instance.
 *
 * Views. A wm_str points at bytes that somebody else holds and is not followed by
 * a NUL. Those of an event are valid until the handler returns; whoever keeps
 * them longer copies them into memory of its own.
 *
 * Memory. wm_alloc, and what allocates with it, gives memory until the handler
 * returns; in the open function, memory for the life of the instance. There is
 * nothing to free. An instance whose memory is used up traps.
 *
 * State. An instance serves one partition of one pipeline and is a module of its
 * own: its state is in static variables. Calls come one after the other.
 *
 * Several files. Each includes this header; one of them has WM_HANDLE or
 * WM_PLUGIN. A language that imports C declarations but cannot compile their
 * bodies, such as Zig, defines WM_DECLARATIONS before it includes the header and
 * links one C file that defines WM_DEFINITIONS; see README.md.
 *
 * Natively the header works, too: a test calls its handler, or wm_guest_process
 * on whole batches, and sets wm_native to see logs and metrics.
 */
#ifndef WASMILL_H
#define WASMILL_H

#define WM_VERSION "1.0.0" /* of this header */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(WM_DECLARATIONS)
#define WM_API extern
#elif defined(WM_DEFINITIONS)
#define WM_API __attribute__((visibility("hidden")))
#else
#define WM_API static __attribute__((unused))
#endif
#if defined(WM_DECLARATIONS) || defined(WM_DEFINITIONS)
#define WM_INLINE WM_API
#else
#define WM_INLINE static inline __attribute__((always_inline, unused)) /* so that the handler is called directly */
#endif

#ifdef __cplusplus
#define WM_ZERO {}
#else
#define WM_ZERO {0} /* an empty wm_message, wm_buf and so on: wm_message m = WM_ZERO; */
#endif

/* ---- Text ---------------------------------------------------------------- */

/* wm_str is a view of bytes. data is NULL when there is nothing to view, which
 * is not the same as an empty text. */
typedef struct wm_str {
    const char *data;
    size_t size;
} wm_str;

/* wm_s returns a view of a NUL-terminated text. */
WM_API wm_str wm_s(const char *text);

/* wm_is says whether a view holds exactly that text. */
WM_API bool wm_is(wm_str s, const char *text);

/* wm_same says whether two views hold the same bytes. */
WM_API bool wm_same(wm_str a, wm_str b);

/* ---- Outcomes ------------------------------------------------------------ */

/* wm_outcome is what a handler returns: what becomes of its event. */
typedef enum wm_outcome {
    WM_DONE = 0,       /* the outputs, if any, are all it caused */
    WM_DROP = 1,       /* ends without an output; counts as dropped, not as failed */
    WM_RETRY = 2,      /* again after the pipeline's backoff, then its on_failure */
    WM_DEAD_LETTER = 3 /* to the dead-letter topic, without a retry */
} wm_outcome;

/* wm_drop_because is WM_DROP with a reason. Reasons are copied. */
WM_API wm_outcome wm_drop_because(const char *reason);

/* wm_retry_after is WM_RETRY after a delay of its own, with a reason. 0 ms is the
 * pipeline's backoff. */
WM_API wm_outcome wm_retry_after(int64_t delay_ms, const char *reason);

/* wm_dead_letter_because is WM_DEAD_LETTER with a reason, which travels with the
 * event. */
WM_API wm_outcome wm_dead_letter_because(const char *reason);

/* wm_fail is WM_RETRY with a reason: something went wrong with this event. */
WM_API wm_outcome wm_fail(const char *reason);

/* wm_panic traps: it logs the message and the place, and ends the instance. The
 * event at hand fails with both; the others go on, on a fresh instance. */
#define wm_panic(message) wm_panic_at((message), __func__, __FILE__, __LINE__)

/* wm_check traps when a condition does not hold. */
#define wm_check(condition) ((condition) ? (void)0 : wm_panic("check failed: " #condition))

/* wm_panic_at is wm_panic for a place that is not here. */
WM_API void wm_panic_at(const char *message, const char *function, const char *file, int line);

/* ---- JSON ---------------------------------------------------------------- */

/* wm_value is one JSON value inside a text: a view of it. An absent value, whose
 * raw.data is NULL, says so in all functions. */
typedef struct wm_value {
    wm_str raw; /* the JSON text, without white space around it */
} wm_value;

/* wm_kind is what a value is. */
typedef enum wm_kind {
    WM_ABSENT, WM_NULL, WM_BOOL, WM_NUMBER, WM_STRING, WM_OBJECT, WM_ARRAY
} wm_kind;

/* WM_MAX_DEPTH is how deeply arrays and objects may nest; a text that nests
 * deeper counts as malformed. */
#define WM_MAX_DEPTH 1024

/* wm_json_find returns the value at a JSON Pointer (RFC 6901): "" is the whole
 * text, "/a/0/b" the member b of the first element of the member a; "~1" stands
 * for "/" and "~0" for "~". It is absent, too, when the pointer, or the text up
 * to the end of the value, is malformed; what lies behind is not read. Where an
 * object repeats a name, the first member counts. */
WM_API wm_value wm_json_find(wm_str text, const char *pointer);

/* wm_json_valid says whether a text is one JSON value. */
WM_API bool wm_json_valid(wm_str text);

/* wm_json_check says whether a text is a JSON Pointer: ask once, for one that is
 * configured, because a bad pointer finds nothing. */
WM_API bool wm_json_check(const char *pointer);

/* wm_value_find looks inside a value. */
WM_API wm_value wm_value_find(wm_value v, const char *pointer);

/* wm_kind_of returns what a value is. */
WM_API wm_kind wm_kind_of(wm_value v);

/* wm_exists says whether a value is there; null is. */
WM_API bool wm_exists(wm_value v);

/* wm_float reads a number. It returns false, and leaves *to alone, when the value
 * is none, or too large for a double. */
WM_API bool wm_float(wm_value v, double *to);

/* wm_int reads a number; false when it is none, is written with a fraction or an
 * exponent, or does not fit. */
WM_API bool wm_int(wm_value v, int64_t *to);

/* wm_bool reads a boolean; false when it is none. */
WM_API bool wm_bool(wm_value v, bool *to);

/* wm_text returns a value as text: the content of a string with its escapes
 * undone, and the JSON text of any other kind. It is a view unless the string has
 * escapes. */
WM_API wm_str wm_text(wm_value v);

/* wm_each walks the elements of an array or the members of an object:
 *
 *     wm_value name, element;
 *     for (wm_each at = wm_elements(v); wm_next(&at, &name, &element);)
 *
 * name is absent in an array. There is nothing to walk in other kinds. */
typedef struct wm_each {
    wm_str raw;
    ptrdiff_t at;
} wm_each;

WM_API wm_each wm_elements(wm_value v);
WM_API bool wm_next(wm_each *each, wm_value *name, wm_value *element);

/* ---- Events -------------------------------------------------------------- */

/* wm_event is one message of the topic. */
typedef struct wm_event {
    wm_str subject; /* under which it was published */
    wm_str key;     /* by which the pipeline partitions; empty when it has none */
    wm_str payload;
    wm_str headers; /* see wm_header and wm_next_header */
    uint64_t seq;   /* its number in the topic */
    int64_t time;   /* when the topic stored it, ns since 1970 */
    uint32_t attempt; /* 1 at first, one more after each retry */
} wm_event;

/* wm_find returns the value at a JSON Pointer in the payload. */
WM_API wm_value wm_find(const wm_event *e, const char *pointer);

/* wm_subject_token returns the n-th token of the subject, counted from 1. */
WM_API wm_str wm_subject_token(const wm_event *e, int n);

/* wm_header returns the value of the first header of that name; data is NULL when
 * there is none. Names are compared byte by byte. */
WM_API wm_str wm_header(const wm_event *e, const char *name);

/* wm_next_header walks headers: start with a copy of e->headers. */
WM_API bool wm_next_header(wm_str *rest, wm_str *name, wm_str *value);

/* ---- Outputs ------------------------------------------------------------- */

/* wm_out takes what a handler emits; valid until it returns. */
typedef struct wm_out wm_out;

/* wm_header_pair is one header of a message: a name of printable ASCII without
 * spaces and colons, a value without line breaks and NUL. */
typedef struct wm_header_pair {
    wm_str name, value;
} wm_header_pair;

/* wm_message is an event that a handler emits. It is read during the call it is
 * passed to, and not kept. Begin with WM_ZERO: all fields
 * may be zero. */
typedef struct wm_message {
    const char *output; /* name of an output of the pipeline; NULL = the default one */
    wm_str subject;     /* empty = the subject the output prescribes */
    wm_str key;         /* for the stages that follow */
    wm_str payload;
    const wm_header_pair *headers; /* in addition to the event's, where those are kept */
    size_t header_count;
    bool keep_headers; /* wm_emit: put the event's headers in front */
} wm_message;

/* wm_pass emits the event as it is to the default output. Payload and headers do
 * not travel: the runtime takes them from the event it holds. */
WM_API void wm_pass(wm_out *out);

/* wm_pass_to emits the event as it is to the output of that name. */
WM_API void wm_pass_to(wm_out *out, const char *output);

/* wm_pass_as emits the event's payload and headers, by reference as wm_pass does,
 * under the message's output, subject and key and with its headers added. */
WM_API void wm_pass_as(wm_out *out, const wm_message *m);

/* wm_emit emits a message. */
WM_API void wm_emit(wm_out *out, const wm_message *m);

/* ---- Instance and configuration ------------------------------------------ */

/* wm_instance is one running copy of the plugin. */
typedef struct wm_instance {
    wm_str plugin;   /* name in the configuration */
    wm_str pipeline; /* name of the pipeline */
    int partition;   /* from 0 */
    const wm_str *outputs; /* names; the first is "default" */
    size_t output_count;
    wm_value grants; /* array of what the plugin may use */
    wm_value config; /* [plugins.NAME.config], an object; may be absent */
    const char *error; /* of the functions below: the first */
    struct wm_asked *asked;
} wm_instance;

/* wm_has_output says whether the pipeline has an output of that name. */
WM_API bool wm_has_output(const wm_instance *in, const char *name);

/* wm_has_grant says whether the plugin has that grant. */
WM_API bool wm_has_grant(const wm_instance *in, const char *name);

/* The functions wm_config_… read a key of the configuration, in the open function.
 * They return the fallback when the key is not there. A value of the wrong kind
 * refuses the configuration with its name, and so does, once any of them has been
 * called, a key that none of them has asked for. Texts are kept. */
WM_API double wm_config_float(wm_instance *in, const char *name, double fallback);
WM_API int64_t wm_config_int(wm_instance *in, const char *name, int64_t fallback);
WM_API bool wm_config_bool(wm_instance *in, const char *name, bool fallback);
WM_API const char *wm_config_string(wm_instance *in, const char *name, const char *fallback);
/* wm_config_duration reads a text such as "1.5s" or "2h30m", as ns. */
WM_API int64_t wm_config_duration(wm_instance *in, const char *name, int64_t fallback_ns);
/* wm_config_value reads what the others do not: tables, arrays. */
WM_API wm_value wm_config_value(wm_instance *in, const char *name);

/* ---- The plugin ---------------------------------------------------------- */

/* wm_handler processes one event. */
typedef wm_outcome (*wm_handler)(const wm_event *e, wm_out *out);

/* wm_opener is called once for each instance, before its first event. It returns
 * NULL, or why the instance, and with it the configuration, is refused. */
typedef const char *(*wm_opener)(wm_instance *in);

/* wm_closer is called when the instance ends: when the runtime stops, or a reload
 * replaces the plugin; not after a fault. It may emit; it has no event to pass on.
 * It returns NULL, or what went wrong. */
typedef const char *(*wm_closer)(wm_out *out);

/* ---- Memory and text under construction ---------------------------------- */

/* wm_alloc returns memory, 8-aligned, until the handler returns. It never returns
 * NULL. Its bytes are not set. */
WM_API void *wm_alloc(size_t size);

/* wm_copy copies a view, with a NUL behind it. */
WM_API wm_str wm_copy(wm_str s);

/* wm_buf is a text that grows, in memory of wm_alloc. WM_ZERO is an empty one. */
typedef struct wm_buf {
    char *data;
    size_t size, room;
} wm_buf;

WM_API void wm_add(wm_buf *b, wm_str s);         /* a view */
WM_API void wm_add_s(wm_buf *b, const char *s);  /* a NUL-terminated text */
WM_API void wm_add_char(wm_buf *b, char c);
WM_API void wm_add_int(wm_buf *b, int64_t n);
WM_API void wm_add_float(wm_buf *b, double v);   /* in 15 to 17 digits: reads back as v; NaN and infinity as null */
WM_API void wm_add_quoted(wm_buf *b, wm_str s);  /* as a JSON string */
/* wm_add_field adds " name=value", quoted where it would not read as one word: a
 * field of a log line. */
WM_API void wm_add_field(wm_buf *b, const char *name, wm_str value);
WM_API wm_str wm_view(const wm_buf *b);          /* what is in it, until it grows */
WM_API const char *wm_cstr(wm_buf *b);           /* the same with a NUL behind it */

/* ---- Log and metrics ----------------------------------------------------- */

/* wm_level is the severity of a log line. */
typedef enum wm_level {
    WM_DEBUG = -4, WM_INFO = 0, WM_WARN = 4, WM_ERROR = 8
} wm_level;

/* wm_log writes a line to the runtime's log, which adds the plugin, the pipeline
 * and the partition, and limits how many lines a second it takes. */
WM_API void wm_log(wm_level level, wm_str line);
WM_API void wm_debug(const char *line);
WM_API void wm_info(const char *line);
WM_API void wm_warn(const char *line);
WM_API void wm_error(const char *line); /* logs only: to fail an event, return wm_fail */

typedef struct wm_metric {
    const char *name;
    int32_t kind, id; /* id: the runtime's number + 1; 0 = not asked yet, < 0 = refused */
} wm_metric;

/* wm_counter counts up. Make one in a static variable:
 *
 *     static wm_counter seen = WM_COUNTER("seen_total");
 *
 * Names are [a-z][a-z0-9_]*; end one in _total. The runtime adds the plugin and
 * the pipeline. A name it refuses counts nothing. */
typedef struct wm_counter { wm_metric metric; } wm_counter;
/* wm_gauge is a value that goes up and down. */
typedef struct wm_gauge { wm_metric metric; } wm_gauge;
/* wm_histogram counts values by size, in buckets that the runtime chooses; end its
 * name in the base unit, such as _seconds or _bytes. */
typedef struct wm_histogram { wm_metric metric; } wm_histogram;

#define WM_COUNTER(name) {{name, 0, 0}}
#define WM_GAUGE(name) {{name, 1, 0}}
#define WM_HISTOGRAM(name) {{name, 2, 0}}

WM_API void wm_count(wm_counter *c, int64_t n); /* n is not negative */
WM_API void wm_inc(wm_counter *c);
WM_API void wm_set(wm_gauge *g, double v);
WM_API void wm_observe(wm_histogram *h, double v);

/* ---- Grants -------------------------------------------------------------- */

/* A module that calls one of these does not load without the grant. */
WM_API int64_t wm_now(void);                        /* "clock": ns since 1970 */
WM_API void wm_random(void *to, size_t size);       /* "random": random bytes */
WM_API bool wm_secret(const char *name, wm_str *to); /* "secret": of [plugins.NAME.secrets]; false = none of that name */

/* ---- Below: what the macros and functions above are made of --------------- */

typedef struct wm_region {
    char *data;
    size_t size, room;
} wm_region;

typedef struct wm_chunk {
    struct wm_chunk *before;
    size_t room; /* with this header */
} wm_chunk;

struct wm_out {
    wm_region records;  /* the response: header and records */
    wm_region tail;     /* outcomes, room for one of each event, then reasons */
    uint32_t record_count, outcome_count, source;
    size_t reasons;     /* where in tail they begin */
    wm_str last_reason; /* shared by events in a row that give the same */
    uint32_t last_at;
    wm_outcome code;    /* with reason and delay: what wm_…_because was asked for */
    uint32_t delay;
    wm_str reason;
    const char *error;  /* the first error of a call for this event */
};

/* wm_guest is the instance behind the ABI; there is one, wm_self. */
typedef struct wm_guest {
    wm_region input;
    wm_out out;
    wm_instance in;
    wm_chunk *chunk;           /* the one in use; older ones behind it */
    size_t chunk_at;
    wm_chunk *kept;            /* with kept_at: up to here for the instance's life */
    size_t kept_at;
    void *spare[16];           /* regions given back, by size; linked by their first word */
    int state;                 /* 0 before open, 1 open, 2 closed */
} wm_guest;

extern wm_guest wm_self;

#if !defined(__wasm__)
/* wm_host is what a native test can put in the place of the runtime. NULL does
 * nothing. */
typedef struct wm_host {
    void (*log)(int level, const char *line, size_t size);
    int32_t (*metric_define)(const char *name, size_t size, int32_t kind);
    void (*metric_add)(int32_t id, int64_t n);
    void (*metric_observe)(int32_t id, double v);
    int64_t (*now)(void);
    void (*random)(void *to, size_t size);
    int64_t (*secret_get)(const char *name, size_t size, void *to, size_t room);
} wm_host;
extern wm_host wm_native;
#define WM_NATIVE_HOST wm_host wm_native;
#define WM_EXPORT(name)
#else
#define WM_NATIVE_HOST
#define WM_EXPORT(name) __attribute__((export_name(name), visibility("default")))
#endif

#ifdef __cplusplus
#define WM_C extern "C"
#else
#define WM_C extern
#endif

/* WM_HANDLE makes a handler the plugin. Use it, or WM_PLUGIN, once. */
#define WM_HANDLE(handle) WM_PLUGIN(NULL, handle, NULL)

/* WM_PLUGIN makes an opener, a handler and a closer the plugin; the opener and the
 * closer may be NULL. */
#define WM_PLUGIN(open, handle, close)                                                     \
    wm_guest wm_self;                                                                      \
    WM_NATIVE_HOST                                                                         \
    WM_C WM_EXPORT("wasmill_abi_v1") int32_t wasmill_abi_v1(void);                         \
    WM_C WM_EXPORT("wasmill_buffer") void *wasmill_buffer(int32_t size);                   \
    WM_C WM_EXPORT("wasmill_open") int32_t wasmill_open(char *doc, uint32_t size);         \
    WM_C WM_EXPORT("wasmill_process") int64_t wasmill_process(char *frame, uint32_t size); \
    WM_C WM_EXPORT("wasmill_close") int64_t wasmill_close(void);                           \
    int32_t wasmill_abi_v1(void) { return 1 << 16; }                                       \
    void *wasmill_buffer(int32_t size) { return wm_guest_buffer(size); }                   \
    int32_t wasmill_open(char *doc, uint32_t size) {                                       \
        wm_str d;                                                                          \
        d.data = doc, d.size = size;                                                       \
        return wm_guest_open(d, open) ? 0 : -28;                                           \
    }                                                                                      \
    int64_t wasmill_process(char *frame, uint32_t size) {                                  \
        wm_str f;                                                                          \
        f.data = frame, f.size = size;                                                     \
        return wm_returned(wm_guest_process(f, open, handle));                             \
    }                                                                                      \
    int64_t wasmill_close(void) { return wm_returned(wm_guest_close(close)); }             \
    WM_START                                                                               \
    WM_LIBC                                                                                \
    typedef int wm_a_plugin_is_defined_once

/* What the exports call. A response whose data is NULL says that the call failed. */
WM_API void *wm_guest_buffer(int32_t size);
WM_API bool wm_guest_open(wm_str doc, wm_opener open);
WM_INLINE wm_str wm_guest_process(wm_str frame, wm_opener open, wm_handler handle);
WM_API wm_str wm_guest_close(wm_closer close);
WM_API int64_t wm_returned(wm_str response);

#if !defined(WM_DECLARATIONS)

#if defined(__wasm__)
#define WM_IMPORT(name) __attribute__((import_module("wasmill_v1"), import_name(name)))
WM_IMPORT("log") extern void wm_host_log(int32_t level, const char *line, uint32_t size);
WM_IMPORT("metric_define") extern int32_t wm_host_metric_define(const char *name, uint32_t size, int32_t kind);
WM_IMPORT("metric_add") extern void wm_host_metric_add(int32_t id, int64_t n);
WM_IMPORT("metric_observe") extern void wm_host_metric_observe(int32_t id, double v);
WM_IMPORT("now") extern int64_t wm_host_now(void);
WM_IMPORT("random") extern void wm_host_random(void *to, uint32_t size);
WM_IMPORT("secret_get") extern int64_t wm_host_secret_get(const char *name, uint32_t size, void *to, uint32_t room);
/* Constructors, of C++ most often, run once. Without a function that calls them the
 * linker has every export run them. Weak: a libc's own comes first. */
WM_C void __wasm_call_ctors(void);
#define WM_START                                                                           \
    WM_C WM_EXPORT("_initialize") __attribute__((weak)) void _initialize(void);            \
    void _initialize(void) { __wasm_call_ctors(); }
/* Compilers call these even in code that does not. Weak: a libc's own come first. */
#ifdef __cplusplus
#define WM_BARE extern "C" __attribute__((weak, no_builtin))
#else
#define WM_BARE __attribute__((weak, no_builtin))
#endif
#define WM_LIBC                                                                            \
    WM_BARE void *memmove(void *to, const void *from, size_t size) {                       \
        unsigned char *t = (unsigned char *)to;                                            \
        const unsigned char *f = (const unsigned char *)from;                              \
        if (t <= f) while (size-- > 0) *t++ = *f++;                                        \
        else while (size-- > 0) t[size] = f[size];                                         \
        return to;                                                                         \
    }                                                                                      \
    WM_BARE void *memcpy(void *to, const void *from, size_t size) { return memmove(to, from, size); }\
    WM_BARE void *memset(void *to, int byte, size_t size) {                                \
        unsigned char *t = (unsigned char *)to;                                            \
        while (size-- > 0) *t++ = (unsigned char)byte;                                     \
        return to;                                                                         \
    }                                                                                      \
    WM_BARE int memcmp(const void *a, const void *b, size_t size) {                        \
        const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;  \
        for (; size > 0; size--, x++, y++)                                                 \
            if (*x != *y) return *x < *y ? -1 : 1;                                         \
        return 0;                                                                          \
    }
#else
#ifdef __cplusplus
}
#endif
#include <stdlib.h>
#ifdef __cplusplus
extern "C" {
#endif
#define WM_START
#define WM_LIBC
static inline void wm_host_log(int32_t level, const char *line, uint32_t size) { if (wm_native.log) wm_native.log(level, line, size); }
static inline int32_t wm_host_metric_define(const char *name, uint32_t size, int32_t kind) { return wm_native.metric_define ? wm_native.metric_define(name, size, kind) : -1; }
static inline void wm_host_metric_add(int32_t id, int64_t n) { if (wm_native.metric_add) wm_native.metric_add(id, n); }
static inline void wm_host_metric_observe(int32_t id, double v) { if (wm_native.metric_observe) wm_native.metric_observe(id, v); }
static inline int64_t wm_host_now(void) { return wm_native.now ? wm_native.now() : 0; }
static inline void wm_host_random(void *to, uint32_t size) { if (wm_native.random) wm_native.random(to, size); }
static inline int64_t wm_host_secret_get(const char *name, uint32_t size, void *to, uint32_t room) { return wm_native.secret_get ? wm_native.secret_get(name, size, to, room) : -44; }
#endif

/* What is called from many places is compiled once. */
#define WM_FAR __attribute__((noinline)) WM_API

/* ---- Text ---- */

#if defined(__clang__)
#define WM_NO_BUILTIN __attribute__((no_builtin)) /* or the loop becomes a call of what it is */
#else
#define WM_NO_BUILTIN
#endif

WM_API WM_NO_BUILTIN wm_str wm_s(const char *text) {
    wm_str s;
    s.data = text, s.size = 0;
    if (text)
        while (text[s.size]) s.size++;
    return s;
}

WM_API wm_str wm_slice(const char *data, size_t size) {
    wm_str s;
    s.data = data, s.size = size;
    return s;
}

WM_FAR WM_NO_BUILTIN bool wm_same(wm_str a, wm_str b) {
    if (a.size != b.size) return false;
    for (size_t i = 0; i < a.size; i++)
        if (a.data[i] != b.data[i]) return false;
    return true;
}

WM_API bool wm_is(wm_str s, const char *text) { return wm_same(s, wm_s(text)); }

/* Offsets into frames need not be aligned. */
WM_API uint32_t wm_load32(const char *p) {
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
}
WM_API uint64_t wm_load64(const char *p) {
    uint64_t v;
    __builtin_memcpy(&v, p, 8);
    return v;
}
WM_API void wm_store32(char *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
WM_API void wm_store64(char *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }
WM_API size_t wm_pad8(size_t n) { return (n + 7) & ~(size_t)7; }

/* wm_put copies to a place with room and returns the place behind. */
WM_API char *wm_put(char *to, wm_str s) {
    if (s.size > 0) __builtin_memcpy(to, s.data, s.size);
    return to + s.size;
}

/* ---- Memory ---- */

/* Memory comes from the runtime a region at a time: powers of two from 64 KiB to
 * 1 GiB, never from what a libc's allocator would use. */
WM_API size_t wm_region_size(size_t need) {
    size_t size = (size_t)64 << 10;
    while (size < need) size *= 2;
    return size;
}
WM_API int wm_region_class(size_t size) {
    int n = 0;
    for (size >>= 16; size > 1; size >>= 1) n++;
    return n;
}

/* wm_take returns a region of that size, NULL when there is no memory. */
WM_API char *wm_take(size_t size) {
    void **spare = &wm_self.spare[wm_region_class(size)];
    if (*spare) {
        void *p = *spare;
        *spare = *(void **)p;
        return (char *)p;
    }
#if defined(__wasm__)
    size_t page = __builtin_wasm_memory_grow(0, size >> 16);
    return page == (size_t)-1 ? NULL : (char *)(page << 16);
#else
    return (char *)malloc(size);
#endif
}

WM_API void wm_give(void *p, size_t size) {
    void **spare = &wm_self.spare[wm_region_class(size)];
    *(void **)p = *spare;
    *spare = p;
}

/* wm_room makes room for that many bytes in all and keeps what is there; false
 * when there is no memory. */
WM_FAR bool wm_room(wm_region *r, size_t need) {
    if (need <= r->room) return true;
    if (need > (size_t)1 << 30) return false;
    size_t room = wm_region_size(need);
    char *data = wm_take(room);
    if (!data) return false;
    wm_put(data, wm_slice(r->data, r->size));
    if (r->data) wm_give(r->data, r->room);
    r->data = data, r->room = room;
    return true;
}

WM_API void wm_out_of_memory(void) { wm_panic_at("out of memory", NULL, NULL, 0); }

WM_FAR void *wm_alloc(size_t size) {
    wm_guest *g = &wm_self;
    if (size > (size_t)1 << 30) wm_out_of_memory();
    size = wm_pad8(size);
    if (!g->chunk || g->chunk->room - g->chunk_at < size) {
        size_t room = wm_region_size(sizeof(wm_chunk) + size);
        wm_chunk *c = room > (size_t)1 << 30 ? NULL : (wm_chunk *)(void *)wm_take(room);
        if (!c) {
            wm_out_of_memory();
            return NULL; /* not reached */
        }
        c->before = g->chunk, c->room = room;
        g->chunk = c, g->chunk_at = wm_pad8(sizeof *c);
    }
    char *p = (char *)g->chunk + g->chunk_at;
    g->chunk_at += size;
    return p;
}

/* wm_forget gives back what was allocated for an event. */
WM_API void wm_forget(wm_guest *g) {
    while (g->chunk != g->kept) {
        wm_chunk *c = g->chunk;
        g->chunk = c->before;
        wm_give(c, c->room);
    }
    g->chunk_at = g->kept_at;
}

WM_FAR wm_str wm_copy(wm_str s) {
    char *to = (char *)wm_alloc(s.size + 1);
    *wm_put(to, s) = 0;
    return wm_slice(to, s.size);
}

/* ---- Text under construction ---- */

/* wm_grow makes room for n more bytes. The last allocation grows where it is. */
WM_FAR char *wm_grow(wm_buf *b, size_t n) {
    if (b->room - b->size < n) {
        wm_guest *g = &wm_self;
        size_t room = b->size + n < 32 ? 64 : 2 * (b->size + n);
        if (b->data && b->data + wm_pad8(b->room) == (char *)g->chunk + g->chunk_at &&
            g->chunk->room - g->chunk_at >= wm_pad8(room) - wm_pad8(b->room)) {
            g->chunk_at += wm_pad8(room) - wm_pad8(b->room);
        } else {
            char *data = (char *)wm_alloc(room);
            wm_put(data, wm_view(b));
            b->data = data;
        }
        b->room = room;
    }
    return b->data + b->size;
}

WM_FAR void wm_add(wm_buf *b, wm_str s) {
    wm_put(wm_grow(b, s.size), s);
    b->size += s.size;
}
WM_FAR void wm_add_s(wm_buf *b, const char *s) { wm_add(b, wm_s(s)); }
WM_API void wm_add_char(wm_buf *b, char c) {
    *wm_grow(b, 1) = c;
    b->size++;
}
WM_API wm_str wm_view(const wm_buf *b) { return wm_slice(b->data ? b->data : "", b->size); }
WM_API const char *wm_cstr(wm_buf *b) {
    *wm_grow(b, 1) = 0;
    return b->data;
}

WM_FAR void wm_add_int(wm_buf *b, int64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do digits[--at] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (n < 0) digits[--at] = '-';
    wm_add(b, wm_slice(digits + at, sizeof digits - at));
}

WM_FAR void wm_add_quoted(wm_buf *b, wm_str s) {
    wm_add_char(b, '"');
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c >= ' ' && c != '"' && c != '\\') {
            wm_add_char(b, (char)c);
            continue;
        }
        wm_add_char(b, '\\');
        switch (c) {
        case '\n': wm_add_char(b, 'n'); break;
        case '\r': wm_add_char(b, 'r'); break;
        case '\t': wm_add_char(b, 't'); break;
        case '"': case '\\': wm_add_char(b, (char)c); break;
        default:
            wm_add_s(b, "u00");
            wm_add_char(b, "0123456789abcdef"[c >> 4]);
            wm_add_char(b, "0123456789abcdef"[c & 15]);
        }
    }
    wm_add_char(b, '"');
}

WM_FAR void wm_add_field(wm_buf *b, const char *name, wm_str value) {
    bool word = value.size > 0;
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.data[i];
        word = word && c > ' ' && c != '"' && c != '=' && c != 0x7f;
    }
    wm_add_char(b, ' ');
    wm_add_s(b, name);
    wm_add_char(b, '=');
    if (word) wm_add(b, value);
    else wm_add_quoted(b, value);
}

/* ---- Log, metrics, grants ---- */

WM_API void wm_log(wm_level level, wm_str line) { wm_host_log((int32_t)level, line.data ? line.data : "", (uint32_t)line.size); }
WM_API void wm_debug(const char *line) { wm_log(WM_DEBUG, wm_s(line)); }
WM_API void wm_info(const char *line) { wm_log(WM_INFO, wm_s(line)); }
WM_API void wm_warn(const char *line) { wm_log(WM_WARN, wm_s(line)); }
WM_API void wm_error(const char *line) { wm_log(WM_ERROR, wm_s(line)); }

WM_API char *wm_put_some(char *to, const char *end, const char *text) {
    while (text && *text && to < end) *to++ = *text++;
    return to;
}

WM_FAR void wm_panic_at(const char *message, const char *function, const char *file, int line) {
    char text[512], *at = text, *end = text + sizeof text;
    char digits[12];
    int n = (int)sizeof digits;
    at = wm_put_some(at, end, "panic: ");
    at = wm_put_some(at, end, message);
    if (function && file) {
        const char *base = file;
        for (const char *p = file; *p; p++)
            if (*p == '/' || *p == '\\') base = p + 1;
        at = wm_put_some(at, end, "; at ");
        at = wm_put_some(at, end, function);
        at = wm_put_some(at, end, " (");
        at = wm_put_some(at, end, base);
        digits[--n] = 0;
        digits[--n] = ')';
        do digits[--n] = (char)('0' + line % 10);
        while ((line /= 10) > 0);
        digits[--n] = ':';
        at = wm_put_some(at, end, digits + n);
    }
    wm_log(WM_ERROR, wm_slice(text, (size_t)(at - text)));
    __builtin_trap();
}

WM_API bool wm_defined(wm_metric *m) {
    if (m->id == 0) {
        m->id = wm_host_metric_define(m->name, (uint32_t)wm_s(m->name).size, m->kind);
        if (m->id >= 0) m->id++;
    }
    return m->id > 0;
}
WM_API void wm_count(wm_counter *c, int64_t n) { if (wm_defined(&c->metric)) wm_host_metric_add(c->metric.id - 1, n); }
WM_API void wm_inc(wm_counter *c) { wm_count(c, 1); }
WM_API void wm_set(wm_gauge *g, double v) { if (wm_defined(&g->metric)) wm_host_metric_observe(g->metric.id - 1, v); }
WM_API void wm_observe(wm_histogram *h, double v) { if (wm_defined(&h->metric)) wm_host_metric_observe(h->metric.id - 1, v); }

WM_API int64_t wm_now(void) { return wm_host_now(); }

WM_API void wm_random(void *to, size_t size) {
    char *at = (char *)to;
    while (size > 0) { /* the host gives 1 MiB at once */
        size_t n = size < (size_t)1 << 20 ? size : (size_t)1 << 20;
        wm_host_random(at, (uint32_t)n);
        at += n, size -= n;
    }
}

WM_API bool wm_secret(const char *name, wm_str *to) {
    for (size_t room = 256;;) {
        char *buf = (char *)wm_alloc(room);
        int64_t n = wm_host_secret_get(name, (uint32_t)wm_s(name).size, buf, (uint32_t)room);
        if (n < 0) return false;
        if ((size_t)n <= room) {
            *to = wm_slice(buf, (size_t)n);
            return true;
        }
        room = (size_t)n;
    }
}

/* ---- JSON ---- */

/* The functions wm_j… take an offset and return the offset behind what they read,
 * or -1 when it does not follow the grammar. They accept an offset at or beyond
 * the end of the text. */

WM_API ptrdiff_t wm_jspace(wm_str d, ptrdiff_t i) {
    while (i < (ptrdiff_t)d.size && (d.data[i] == ' ' || d.data[i] == '\t' || d.data[i] == '\n' || d.data[i] == '\r')) i++;
    return i;
}

WM_API bool wm_jat(wm_str d, ptrdiff_t i, char c) { return i < (ptrdiff_t)d.size && d.data[i] == c; }

/* wm_jmark skips white space, a colon or comma, and white space. */
WM_API ptrdiff_t wm_jmark(wm_str d, ptrdiff_t i, char mark) {
    i = wm_jspace(d, i);
    return wm_jat(d, i, mark) ? wm_jspace(d, i + 1) : -1;
}

WM_API int wm_jhex(wm_str d, ptrdiff_t i) {
    int r = 0;
    if (i + 4 > (ptrdiff_t)d.size) return -1;
    for (ptrdiff_t end = i + 4; i < end; i++) {
        int c = d.data[i], l = c | 0x20;
        if (c >= '0' && c <= '9') c -= '0';
        else if (l >= 'a' && l <= 'f') c = l - 'a' + 10;
        else return -1;
        r = r << 4 | c;
    }
    return r;
}

/* wm_jescape reads an escape sequence; a control character is none. */
WM_API ptrdiff_t wm_jescape(wm_str d, ptrdiff_t i) {
    if (i + 1 >= (ptrdiff_t)d.size || d.data[i] != '\\') return -1;
    switch (d.data[i + 1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't': return i + 2;
    case 'u': return wm_jhex(d, i + 2) >= 0 ? i + 6 : -1;
    default: return -1;
    }
}

/* wm_jtext reads the string at i; *plain says that it has no escapes. Eight bytes
 * at a time are tested for what ends a run: quote, backslash, control characters. */
WM_FAR ptrdiff_t wm_jtext(wm_str d, ptrdiff_t i, bool *plain) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    *plain = true;
    for (i++;;) {
        while (i + 8 <= (ptrdiff_t)d.size) {
            uint64_t w = wm_load64(d.data + i), quote = w ^ ('"' * ones), slash = w ^ ('\\' * ones);
            uint64_t hit = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ' ' * ones) & ~w)) & highs;
            if (hit) {
                i += __builtin_ctzll(hit) >> 3;
                break;
            }
            i += 8;
        }
        while (i < (ptrdiff_t)d.size && d.data[i] != '"' && d.data[i] != '\\' && (unsigned char)d.data[i] >= ' ') i++;
        if (i >= (ptrdiff_t)d.size) return -1;
        if (d.data[i] == '"') return i + 1;
        *plain = false;
        if ((i = wm_jescape(d, i)) < 0) return -1;
    }
}

WM_API ptrdiff_t wm_jdigits(wm_str d, ptrdiff_t i) {
    ptrdiff_t start = i;
    while (i < (ptrdiff_t)d.size && d.data[i] >= '0' && d.data[i] <= '9') i++;
    return i == start ? -1 : i;
}

WM_FAR ptrdiff_t wm_jnumber(wm_str d, ptrdiff_t i) {
    if (wm_jat(d, i, '-')) i++;
    if (wm_jat(d, i, '0')) i++;
    else if ((i = wm_jdigits(d, i)) < 0) return -1;
    if (wm_jat(d, i, '.') && (i = wm_jdigits(d, i + 1)) < 0) return -1;
    if (wm_jat(d, i, 'e') || wm_jat(d, i, 'E')) {
        i++;
        if (wm_jat(d, i, '+') || wm_jat(d, i, '-')) i++;
        return wm_jdigits(d, i);
    }
    return i;
}

WM_API ptrdiff_t wm_jscalar(wm_str d, ptrdiff_t i) {
    const char *word = d.data[i] == 't' ? "true" : d.data[i] == 'f' ? "false" : d.data[i] == 'n' ? "null" : NULL;
    if (!word) return wm_jnumber(d, i);
    for (; *word; word++, i++)
        if (!wm_jat(d, i, *word)) return -1;
    return i;
}

/* wm_jname reads the name of a member and its colon. */
WM_API ptrdiff_t wm_jname(wm_str d, ptrdiff_t i) {
    bool plain;
    if (!wm_jat(d, i, '"') || (i = wm_jtext(d, i, &plain)) < 0) return -1;
    return wm_jmark(d, i, ':');
}

/* wm_jskip reads one value. It does not recurse: each open container takes one
 * bit of the stack, 1 for an object. */
WM_FAR ptrdiff_t wm_jskip(wm_str d, ptrdiff_t i) {
    uint64_t stack[WM_MAX_DEPTH / 64];
    int depth = 0;
    bool object = false, plain; /* object: what the innermost open container is */
    for (;;) {
        if (i >= (ptrdiff_t)d.size) return -1;
        char c = d.data[i];
        if (c == '{' || c == '[') {
            if (depth == WM_MAX_DEPTH) return -1;
            object = c == '{';
            uint64_t bit = (uint64_t)1 << (depth % 64);
            if (depth % 64 == 0) stack[depth / 64] = 0; /* those above are not read before */
            if (object) stack[depth / 64] |= bit;
            else stack[depth / 64] &= ~bit;
            depth++;
            i = wm_jspace(d, i + 1);
            if (!wm_jat(d, i, object ? '}' : ']')) {
                if (object && (i = wm_jname(d, i)) < 0) return -1;
                continue;
            }
        } else if ((i = c == '"' ? wm_jtext(d, i, &plain) : wm_jscalar(d, i)) < 0) {
            return -1;
        }
        /* A value ended before i: close containers until a comma follows. */
        for (;;) {
            if (depth == 0) return i;
            i = wm_jspace(d, i);
            if (wm_jat(d, i, ',')) {
                i = wm_jspace(d, i + 1);
                if (object && (i = wm_jname(d, i)) < 0) return -1;
                break;
            }
            if (!wm_jat(d, i, object ? '}' : ']')) return -1;
            i++;
            if (--depth > 0) object = (stack[(depth - 1) / 64] >> ((depth - 1) % 64) & 1) != 0;
        }
    }
}

/* wm_jrune writes a code point as UTF-8 and returns how many bytes that takes. */
WM_API int wm_jrune(uint32_t r, char *to) {
    if (r < 0x80) return to[0] = (char)r, 1;
    if (r < 0x800) return to[0] = (char)(0xc0 | r >> 6), to[1] = (char)(0x80 | (r & 63)), 2;
    if (r < 0x10000) return to[0] = (char)(0xe0 | r >> 12), to[1] = (char)(0x80 | (r >> 6 & 63)), to[2] = (char)(0x80 | (r & 63)), 3;
    to[0] = (char)(0xf0 | r >> 18), to[1] = (char)(0x80 | (r >> 12 & 63));
    to[2] = (char)(0x80 | (r >> 6 & 63)), to[3] = (char)(0x80 | (r & 63));
    return 4;
}

/* wm_junescape writes what the escape sequence at *i, which has been checked,
 * stands for, moves *i behind it and returns the number of bytes. A surrogate
 * without its other half becomes U+FFFD. */
WM_FAR int wm_junescape(wm_str d, ptrdiff_t *i, char *to) {
    char c = d.data[*i + 1];
    *i += 2;
    switch (c) {
    case 'b': to[0] = '\b'; return 1;
    case 'f': to[0] = '\f'; return 1;
    case 'n': to[0] = '\n'; return 1;
    case 'r': to[0] = '\r'; return 1;
    case 't': to[0] = '\t'; return 1;
    case 'u': break;
    default: to[0] = c; return 1; /* quote, backslash, slash */
    }
    uint32_t r = (uint32_t)wm_jhex(d, *i);
    *i += 4;
    if (r >= 0xd800 && r < 0xe000) {
        int low = wm_jat(d, *i, '\\') && wm_jat(d, *i + 1, 'u') ? wm_jhex(d, *i + 2) : -1;
        if (r < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            r = 0x10000 + ((r - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            *i += 6;
        } else {
            r = 0xfffd;
        }
    }
    return wm_jrune(r, to);
}

/* wm_jequal compares the text between the quotes of a JSON string with a token of
 * a pointer, undoing the escapes of both. */
WM_FAR bool wm_jequal(wm_str name, wm_str token) {
    size_t t = 0;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)name.size;) {
        char part[4];
        int n = 1;
        if (name.data[i] == '\\') n = wm_junescape(name, &i, part);
        else part[0] = name.data[i++];
        for (int k = 0; k < n; k++) {
            if (t >= token.size) return false;
            char want = token.data[t++];
            if (want == '~') want = token.data[t++] == '1' ? '/' : '~';
            if (part[k] != want) return false;
        }
    }
    return t == token.size;
}

/* wm_jmember returns the offset of the value that token names in the object at i. */
WM_API ptrdiff_t wm_jmember(wm_str d, ptrdiff_t i, wm_str token, bool escaped) {
    i = wm_jspace(d, i + 1);
    while (wm_jat(d, i, '"')) {
        bool plain;
        ptrdiff_t end = wm_jtext(d, i, &plain);
        if (end < 0) return -1;
        wm_str name = wm_slice(d.data + i + 1, (size_t)(end - i - 2));
        if ((i = wm_jmark(d, end, ':')) < 0) return -1;
        if (plain && !escaped ? wm_same(name, token) : wm_jequal(name, token)) return i;
        if ((i = wm_jskip(d, i)) < 0 || (i = wm_jmark(d, i, ',')) < 0) return -1;
    }
    return -1;
}

/* wm_jelement returns the offset of the element that token counts in the array at
 * i: 0, or digits without a leading 0. */
WM_API ptrdiff_t wm_jelement(wm_str d, ptrdiff_t i, wm_str token) {
    int32_t n = 0;
    if (token.size == 0 || token.size > 9 || (token.size > 1 && token.data[0] == '0')) return -1;
    for (size_t k = 0; k < token.size; k++) {
        if (token.data[k] < '0' || token.data[k] > '9') return -1;
        n = n * 10 + (token.data[k] - '0');
    }
    i = wm_jspace(d, i + 1);
    if (wm_jat(d, i, ']')) return -1;
    for (; n > 0; n--)
        if ((i = wm_jskip(d, i)) < 0 || (i = wm_jmark(d, i, ',')) < 0) return -1;
    return i;
}

WM_API wm_value wm_jvalue(const char *data, ptrdiff_t size) {
    wm_value v;
    v.raw = wm_slice(data, (size_t)size);
    return v;
}

WM_API bool wm_json_check(const char *pointer) {
    if (*pointer && *pointer != '/') return false;
    for (; *pointer; pointer++)
        if (*pointer == '~' && pointer[1] != '0' && pointer[1] != '1') return false;
    return true;
}

WM_FAR wm_value wm_json_find(wm_str d, const char *pointer) {
    ptrdiff_t i = wm_jspace(d, 0), end;
    const char *p = pointer;
    while (*p) {
        wm_str token;
        bool escaped = false;
        if (*p != '/' || i >= (ptrdiff_t)d.size) return wm_jvalue(NULL, 0);
        for (token.data = ++p; *p && *p != '/'; p++)
            if (*p == '~') {
                escaped = true;
                if (p[1] != '0' && p[1] != '1') return wm_jvalue(NULL, 0);
            }
        token.size = (size_t)(p - token.data);
        if (d.data[i] == '{') i = wm_jmember(d, i, token, escaped);
        else if (d.data[i] == '[') i = wm_jelement(d, i, token);
        else i = -1;
        if (i < 0) return wm_jvalue(NULL, 0);
    }
    if ((end = wm_jskip(d, i)) < 0) return wm_jvalue(NULL, 0);
    if (!*pointer && wm_jspace(d, end) != (ptrdiff_t)d.size) return wm_jvalue(NULL, 0);
    return wm_jvalue(d.data + i, end - i);
}

WM_API bool wm_json_valid(wm_str text) { return wm_exists(wm_json_find(text, "")); }

WM_API wm_value wm_value_find(wm_value v, const char *pointer) { return wm_json_find(v.raw, pointer); }

WM_API wm_kind wm_kind_of(wm_value v) {
    if (!v.raw.data || v.raw.size == 0) return WM_ABSENT;
    switch (v.raw.data[0]) {
    case 'n': return WM_NULL;
    case 't': case 'f': return WM_BOOL;
    case '"': return WM_STRING;
    case '{': return WM_OBJECT;
    case '[': return WM_ARRAY;
    default: return WM_NUMBER;
    }
}

WM_API bool wm_exists(wm_value v) { return wm_kind_of(v) != WM_ABSENT; }

WM_API bool wm_int(wm_value v, int64_t *to) {
    if (wm_kind_of(v) != WM_NUMBER) return false;
    bool negative = v.raw.data[0] == '-';
    size_t at = negative;
    uint64_t n = 0;
    if (v.raw.size - at > 19) return false;
    for (; at < v.raw.size; at++) {
        if (v.raw.data[at] < '0' || v.raw.data[at] > '9') return false;
        n = n * 10 + (uint64_t)(v.raw.data[at] - '0');
    }
    if (n > (uint64_t)INT64_MAX + negative) return false;
    *to = (int64_t)(negative ? 0 - n : n);
    return true;
}

WM_API bool wm_bool(wm_value v, bool *to) {
    if (wm_kind_of(v) != WM_BOOL) return false;
    *to = v.raw.data[0] == 't';
    return true;
}

WM_FAR wm_str wm_text(wm_value v) {
    bool plain;
    if (wm_kind_of(v) != WM_STRING) return v.raw;
    wm_jtext(v.raw, 0, &plain);
    wm_str content = wm_slice(v.raw.data + 1, v.raw.size - 2);
    if (plain) return content;
    char *data = (char *)wm_alloc(content.size), *to = data; /* what is escaped is longer */
    for (ptrdiff_t i = 0; i < (ptrdiff_t)content.size;) {
        if (content.data[i] == '\\') to += wm_junescape(content, &i, to);
        else *to++ = content.data[i++];
    }
    return wm_slice(data, (size_t)(to - data));
}

WM_API wm_each wm_elements(wm_value v) {
    wm_each each;
    wm_kind kind = wm_kind_of(v);
    each.raw = v.raw, each.at = kind == WM_ARRAY || kind == WM_OBJECT ? wm_jspace(v.raw, 1) : -1;
    return each;
}

WM_FAR bool wm_next(wm_each *each, wm_value *name, wm_value *element) {
    wm_str d = each->raw;
    ptrdiff_t i = each->at, end;
    bool plain;
    *name = *element = wm_jvalue(NULL, 0);
    each->at = -1;
    if (i < 0 || wm_jat(d, i, ']') || wm_jat(d, i, '}')) return false;
    if (d.data[0] == '{') {
        if (!wm_jat(d, i, '"') || (end = wm_jtext(d, i, &plain)) < 0) return false;
        *name = wm_jvalue(d.data + i, end - i);
        if ((i = wm_jmark(d, end, ':')) < 0) return false;
    }
    if ((end = wm_jskip(d, i)) < 0) return false;
    *element = wm_jvalue(d.data + i, end - i);
    each->at = wm_jmark(d, end, ',');
    return true;
}

/* ---- Numbers ---- */

/* wm_decimal is 0.d1d2d3… × 10^point: as many digits as it takes to round any
 * double correctly; more says that digits that are not zero follow. */
enum { WM_DIGITS = 800, WM_SLACK = 20 };
typedef struct wm_decimal {
    int count, point;
    bool more;
    unsigned char d[WM_DIGITS + WM_SLACK];
} wm_decimal;

WM_API void wm_dtrim(wm_decimal *a) {
    while (a->count > 0 && a->d[a->count - 1] == 0) a->count--;
    if (a->count == 0) a->point = 0;
}

/* wm_dshift multiplies by 2^k, |k| ≤ 60. */
WM_FAR void wm_dshift(wm_decimal *a, int k) {
    uint64_t n = 0;
    if (a->count == 0) return;
    if (k > 0) { /* from the last digit, to the right end of the array and back */
        int w = a->count + WM_SLACK, from;
        for (int r = a->count; r > 0 || n > 0;) {
            if (r > 0) n += (uint64_t)a->d[--r] << k;
            a->d[--w] = (unsigned char)(n % 10);
            n /= 10;
        }
        from = w;
        int count = a->count + WM_SLACK - from;
        a->point += count - a->count;
        for (int i = WM_DIGITS; i < count; i++) a->more = a->more || a->d[from + i] != 0;
        a->count = count < WM_DIGITS ? count : WM_DIGITS;
        for (int i = 0; i < a->count; i++) a->d[i] = a->d[from + i];
    } else if (k < 0) {
        int r = 0, w = 0;
        uint64_t mask = ((uint64_t)1 << (k = -k)) - 1;
        for (; n >> k == 0; r++) n = n * 10 + (r < a->count ? a->d[r] : 0);
        a->point -= r - 1;
        for (; r < a->count; r++) {
            unsigned char next = a->d[r];
            a->d[w++] = (unsigned char)(n >> k);
            n = (n & mask) * 10 + next;
        }
        for (; n > 0; n = (n & mask) * 10) {
            if (w < WM_DIGITS) a->d[w++] = (unsigned char)(n >> k);
            else a->more = a->more || n >> k > 0;
        }
        a->count = w;
    }
    wm_dtrim(a);
}

/* wm_dup says whether to round up at a digit: to even when exactly half-way. */
WM_API bool wm_dup(const wm_decimal *a, int at) {
    if (at < 0 || at >= a->count) return false;
    if (a->d[at] == 5 && at + 1 == a->count) return a->more || (at > 0 && a->d[at - 1] % 2 != 0);
    return a->d[at] >= 5;
}

/* wm_dfloat rounds to the nearest double; false when it is too large. a is used up. */
WM_FAR bool wm_dfloat(wm_decimal *a, bool negative, double *to) {
    static const unsigned char steps[] = {1, 3, 6, 9, 13, 16, 19, 23, 26};
    int exp = 0;
    uint64_t bits = 0;
    if (a->point > 310) return false;
    if (a->count > 0 && a->point >= -330) {
        while (a->point > 0) {
            int n = a->point >= 9 ? 27 : steps[a->point];
            wm_dshift(a, -n), exp += n;
        }
        while (a->point < 0 || (a->point == 0 && a->d[0] < 5)) {
            int n = -a->point >= 9 ? 27 : steps[-a->point];
            wm_dshift(a, n), exp -= n;
        }
        exp--; /* from 0.5 to 1 to 1 to 2 */
        for (; exp < -1022; exp++) { /* denormal; few steps, each exact */
            int n = -1022 - exp > 60 ? 60 : -1022 - exp;
            wm_dshift(a, -n), exp += n - 1;
        }
        if (exp > 1023) return false;
        wm_dshift(a, 53);
        int i = 0;
        for (; i < a->point; i++) bits = bits * 10 + (i < a->count ? a->d[i] : 0);
        if (wm_dup(a, a->point)) bits++;
        if (bits == (uint64_t)1 << 53) {
            bits >>= 1;
            if (++exp > 1023) return false;
        }
        if (bits & (uint64_t)1 << 52) bits = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)(exp + 1023) << 52;
    }
    bits |= (uint64_t)negative << 63;
    __builtin_memcpy(to, &bits, 8);
    return true;
}

WM_FAR bool wm_float(wm_value v, double *to) {
    static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (wm_kind_of(v) != WM_NUMBER) return false;
    const char *p = v.raw.data, *end = p + v.raw.size;
    bool negative = *p == '-';
    wm_decimal a;
    uint64_t n = 0; /* of at most 15 digits, which a double holds */
    int digits = 0, point = 0, exp = 0;
    bool fraction = false;
    a.count = 0, a.more = false;
    for (p += negative; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (*p != '0' || digits > 0) {
            if (++digits <= 15) n = n * 10 + (uint64_t)(*p - '0');
            if (digits <= WM_DIGITS) a.d[a.count++] = (unsigned char)(*p - '0');
            else a.more = a.more || *p != '0';
            if (!fraction) point++;
        } else if (fraction) {
            point--;
        }
    }
    if (p < end) {
        bool down = *++p == '-';
        for (p += *p == '-' || *p == '+'; p < end; p++)
            if (exp < 100000) exp = exp * 10 + (*p - '0');
        if (down) exp = -exp;
    }
    exp += point - digits; /* n × 10^exp */
    if (digits <= 15 && exp >= -22 && exp <= 22) { /* both exact: one rounding */
        double f = exp < 0 ? (double)n / tens[-exp] : (double)n * tens[exp];
        *to = negative ? -f : f;
        return true;
    }
    a.point = exp + digits;
    wm_dtrim(&a);
    return wm_dfloat(&a, negative, to);
}

WM_FAR void wm_add_float(wm_buf *b, double v) {
    uint64_t bits;
    __builtin_memcpy(&bits, &v, 8);
    int exp = (int)(bits >> 52 & 2047);
    bool negative = bits >> 63 != 0;
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (exp == 2047) {
        wm_add_s(b, "null");
        return;
    }
    if (exp) mantissa |= (uint64_t)1 << 52;
    else exp = 1;
    if (negative) wm_add_char(b, '-');
    wm_decimal exact, a;
    exact.count = 0, exact.more = false;
    for (uint64_t m = mantissa; m > 0; m /= 10) exact.count++;
    exact.point = exact.count;
    for (int i = exact.count; i > 0; mantissa /= 10) exact.d[--i] = (unsigned char)(mantissa % 10);
    wm_dtrim(&exact);
    for (exp -= 1075; exp != 0;) {
        int n = exp > 60 ? 60 : exp < -60 ? -60 : exp;
        wm_dshift(&exact, n), exp -= n;
    }
    for (int digits = 15; digits <= 17; digits++) { /* the least that reads back as v */
        wm_decimal back;
        double again;
        a = exact;
        if (a.count > digits) {
            bool up = wm_dup(&a, digits);
            a.count = digits;
            while (up && a.count > 0 && a.d[a.count - 1] == 9) a.count--;
            if (up && a.count > 0) a.d[a.count - 1]++;
            else if (up) a.d[0] = 1, a.count = 1, a.point++;
            wm_dtrim(&a);
        }
        back = a;
        if (wm_dfloat(&back, negative, &again)) {
            uint64_t same;
            __builtin_memcpy(&same, &again, 8);
            if (same == bits) break;
        }
    }
    if (a.count == 0) {
        wm_add_char(b, '0');
        return;
    }
    bool plain = a.point > -6 && a.point <= 21;
    int whole = plain ? a.point : 1;
    if (whole <= 0) wm_add_char(b, '0');
    for (int i = 0; i < whole; i++) wm_add_char(b, (char)('0' + (i < a.count ? a.d[i] : 0)));
    if (a.count > whole) wm_add_char(b, '.');
    for (int i = whole; i < 0; i++) wm_add_char(b, '0');
    for (int i = whole > 0 ? whole : 0; i < a.count; i++) wm_add_char(b, (char)('0' + a.d[i]));
    if (!plain) {
        wm_add_char(b, 'e');
        wm_add_int(b, a.point - 1);
    }
}

/* ---- Events ---- */

WM_API wm_value wm_find(const wm_event *e, const char *pointer) { return wm_json_find(e->payload, pointer); }

WM_API wm_str wm_subject_token(const wm_event *e, int n) {
    wm_str s = e->subject;
    for (size_t at = 0, i = 0;; i++) {
        if (i < s.size && s.data[i] != '.') continue;
        if (--n == 0) return wm_slice(s.data + at, i - at);
        if (i >= s.size) return wm_slice(NULL, 0);
        at = i + 1;
    }
}

WM_API bool wm_next_header(wm_str *rest, wm_str *name, wm_str *value) {
    if (rest->size < 8) return false;
    uint64_t n = wm_load32(rest->data), v = wm_load32(rest->data + 4);
    if (8 + n + v > rest->size) return false;
    *name = wm_slice(rest->data + 8, (size_t)n);
    *value = wm_slice(rest->data + 8 + n, (size_t)v);
    *rest = wm_slice(rest->data + 8 + n + v, rest->size - (size_t)(8 + n + v));
    return true;
}

WM_API wm_str wm_header(const wm_event *e, const char *name) {
    wm_str rest = e->headers, want = wm_s(name), n, v;
    while (wm_next_header(&rest, &n, &v))
        if (wm_same(n, want)) return v;
    return wm_slice(NULL, 0);
}

/* ---- Outcomes and outputs ---- */

WM_API wm_outcome wm_decide(wm_outcome code, int64_t delay_ms, const char *reason) {
    wm_out *o = &wm_self.out;
    o->code = code;
    o->delay = delay_ms < 0 ? 0 : delay_ms > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)delay_ms;
    o->reason = wm_copy(wm_s(reason)); /* it may stand on the handler's stack */
    return code;
}
WM_API wm_outcome wm_drop_because(const char *reason) { return wm_decide(WM_DROP, 0, reason); }
WM_API wm_outcome wm_retry_after(int64_t delay_ms, const char *reason) { return wm_decide(WM_RETRY, delay_ms, reason); }
WM_API wm_outcome wm_dead_letter_because(const char *reason) { return wm_decide(WM_DEAD_LETTER, 0, reason); }
WM_API wm_outcome wm_fail(const char *reason) { return wm_decide(WM_RETRY, 0, reason); }

enum { WM_NO_SOURCE = -1, WM_PAYLOAD_REF = 1, WM_KEEP_HEADERS = 2 };

WM_API void wm_error_of(wm_out *o, const char *error) {
    if (!o->error) o->error = error;
}

/* wm_output_id returns the number of an output, -1 when there is none. */
WM_FAR int32_t wm_output_id(wm_out *o, const char *name) {
    const wm_instance *in = &wm_self.in;
    if (!name || !*name) return 0;
    for (size_t i = 0; i < in->output_count; i++)
        if (wm_is(in->outputs[i], name)) return (int32_t)i;
    wm_buf b = WM_ZERO;
    wm_add_s(&b, "the pipeline has no output ");
    wm_add_quoted(&b, wm_s(name));
    wm_add_s(&b, " here; it has ");
    for (size_t i = 0; i < in->output_count; i++) {
        if (i > 0) wm_add_s(&b, ", ");
        wm_add(&b, in->outputs[i]);
    }
    wm_error_of(o, wm_cstr(&b));
    return -1;
}

WM_API bool wm_has_event(wm_out *o) {
    if (o->source != (uint32_t)WM_NO_SOURCE) return true;
    wm_error_of(o, "there is no event to pass on when an instance closes; use wm_emit without keep_headers");
    return false;
}

/* wm_record appends a record of that many bytes and fills in its fixed part. */
WM_API char *wm_record(wm_out *o, size_t size, uint32_t flags, uint32_t id) {
    wm_region *r = &o->records;
    if (r->room - r->size < size && !wm_room(r, r->size + size)) wm_out_of_memory();
    char *p = r->data + r->size;
    r->size += size;
    o->record_count++;
    wm_store32(p, (uint32_t)size);
    wm_store32(p + 4, o->source);
    wm_store32(p + 8, flags);
    wm_store32(p + 12, id);
    return p;
}

WM_API void wm_pass_id(wm_out *o, uint32_t id) {
    if (!wm_has_event(o)) return;
    char *p = wm_record(o, 32, WM_PAYLOAD_REF | WM_KEEP_HEADERS, id);
    wm_store64(p + 16, 0);
    wm_store64(p + 24, 0);
}

WM_API void wm_pass(wm_out *o) { wm_pass_id(o, 0); }

WM_API void wm_pass_to(wm_out *o, const char *output) {
    int32_t id = wm_output_id(o, output);
    if (id >= 0) wm_pass_id(o, (uint32_t)id);
}

/* wm_header_fault returns why a header cannot travel. */
WM_API const char *wm_header_fault(const wm_header_pair *h) {
    if (h->name.size == 0) return "a message has a header that cannot travel: its name is empty";
    for (size_t i = 0; i < h->name.size; i++)
        if (h->name.data[i] <= ' ' || h->name.data[i] >= 0x7f || h->name.data[i] == ':')
            return "a message has a header that cannot travel: its name has a byte that is not allowed";
    for (size_t i = 0; i < h->value.size; i++)
        if (h->value.data[i] == '\r' || h->value.data[i] == '\n' || h->value.data[i] == 0)
            return "a message has a header that cannot travel: its value has a byte that is not allowed";
    return NULL;
}

WM_FAR void wm_emit_as(wm_out *o, const wm_message *m, uint32_t flags) {
    int32_t id = wm_output_id(o, m->output);
    wm_str payload = flags & WM_PAYLOAD_REF ? wm_slice(NULL, 0) : m->payload;
    uint64_t headers = 0, used;
    if (id < 0) return;
    if (m->header_count > 65535) {
        wm_error_of(o, "a message has too many headers; at most 65535 can travel");
        return;
    }
    for (size_t i = 0; i < m->header_count; i++) {
        const char *fault = wm_header_fault(&m->headers[i]);
        if (fault) {
            wm_error_of(o, fault);
            return;
        }
        headers += 8 + (uint64_t)m->headers[i].name.size + m->headers[i].value.size;
    }
    used = 32 + (uint64_t)m->subject.size + m->key.size + headers + payload.size;
    if (used > (uint64_t)1 << 30) {
        wm_error_of(o, "a message is larger than 1 GiB");
        return;
    }
    size_t size = wm_pad8((size_t)used);
    char *p = wm_record(o, size, flags, (uint32_t)id | (uint32_t)m->header_count << 16);
    wm_store32(p + 16, (uint32_t)m->subject.size);
    wm_store32(p + 20, (uint32_t)m->key.size);
    wm_store32(p + 24, (uint32_t)headers);
    wm_store32(p + 28, (uint32_t)payload.size);
    char *to = wm_put(wm_put(p + 32, m->subject), m->key);
    for (size_t i = 0; i < m->header_count; i++) {
        wm_store32(to, (uint32_t)m->headers[i].name.size);
        wm_store32(to + 4, (uint32_t)m->headers[i].value.size);
        to = wm_put(wm_put(to + 8, m->headers[i].name), m->headers[i].value);
    }
    for (to = wm_put(to, payload); to < p + size; to++) *to = 0;
}

WM_API void wm_pass_as(wm_out *o, const wm_message *m) {
    if (wm_has_event(o)) wm_emit_as(o, m, WM_PAYLOAD_REF | WM_KEEP_HEADERS);
}

WM_API void wm_emit(wm_out *o, const wm_message *m) {
    if (!m->keep_headers) wm_emit_as(o, m, 0);
    else if (wm_has_event(o)) wm_emit_as(o, m, WM_KEEP_HEADERS);
}

/* wm_settle takes the outputs of the event at hand back and records its outcome. */
WM_API void wm_settle(wm_out *o, wm_outcome code, size_t size, uint32_t records) {
    wm_str reason = wm_slice(NULL, 0);
    uint32_t delay = 0;
    if (o->error) {
        code = WM_RETRY, reason = wm_s(o->error);
    } else if (code < WM_DROP || code > WM_DEAD_LETTER) {
        code = WM_RETRY, reason = wm_s("the handler returned what is no outcome");
    } else if (code == o->code) {
        delay = o->delay, reason = o->reason;
    }
    o->records.size = size, o->record_count = records;
    if (reason.size > 65535) reason.size = 65535;
    if (reason.size > 0 && !wm_same(reason, o->last_reason)) {
        o->last_at = (uint32_t)(o->tail.size - o->reasons);
        if (!wm_room(&o->tail, o->tail.size + reason.size)) wm_out_of_memory();
        wm_put(o->tail.data + o->tail.size, reason);
        o->tail.size += reason.size;
    }
    o->last_reason = wm_slice(o->tail.data + o->reasons + o->last_at, reason.size > 0 ? reason.size : o->last_reason.size);
    char *p = o->tail.data + 16 * o->outcome_count++;
    wm_store32(p, o->source);
    wm_store32(p + 4, (uint32_t)code | (uint32_t)reason.size << 16);
    wm_store32(p + 8, delay);
    wm_store32(p + 12, o->last_at); /* made absolute by wm_finish */
}

/* wm_begin starts a response to that many events. */
WM_API void wm_begin(wm_out *o, uint32_t events) {
    o->records.size = o->tail.size = 0;
    o->reasons = (size_t)16 * events;
    if (!wm_room(&o->records, 24) || !wm_room(&o->tail, o->reasons)) wm_out_of_memory();
    o->records.size = 24, o->tail.size = o->reasons;
    o->record_count = o->outcome_count = o->last_at = 0;
    o->last_reason = wm_slice(NULL, 0);
    o->source = (uint32_t)WM_NO_SOURCE;
    o->error = NULL;
}

/* wm_finish ends the response. */
WM_API wm_str wm_finish(wm_out *o) {
    size_t outcomes = 16 * (size_t)o->outcome_count, reasons = o->tail.size - o->reasons;
    size_t base = o->records.size + outcomes, total = base + reasons;
    if (!wm_room(&o->records, total)) wm_out_of_memory();
    for (size_t i = 12; i < outcomes; i += 16)
        wm_store32(o->tail.data + i, wm_load32(o->tail.data + i) + (uint32_t)base);
    char *p = o->records.data;
    wm_put(wm_put(p + o->records.size, wm_slice(o->tail.data, outcomes)), wm_slice(o->tail.data + o->reasons, reasons));
    __builtin_memcpy(p, "WMR1", 4);
    wm_store32(p + 4, 24);
    wm_store32(p + 8, o->outcome_count);
    wm_store32(p + 12, o->record_count);
    wm_store32(p + 16, (uint32_t)total);
    wm_store32(p + 20, 0);
    return wm_slice(p, total);
}

/* ---- Instance and configuration ---- */

struct wm_asked {
    struct wm_asked *next;
    wm_str name;
};

WM_API bool wm_has_output(const wm_instance *in, const char *name) {
    for (size_t i = 0; i < in->output_count; i++)
        if (wm_is(in->outputs[i], name)) return true;
    return false;
}

WM_API bool wm_has_grant(const wm_instance *in, const char *name) {
    wm_value none, grant;
    for (wm_each at = wm_elements(in->grants); wm_next(&at, &none, &grant);)
        if (wm_is(wm_text(grant), name)) return true;
    return false;
}

WM_FAR wm_value wm_config_value(wm_instance *in, const char *name) {
    wm_value key, value, found = wm_jvalue(NULL, 0);
    struct wm_asked *a = (struct wm_asked *)wm_alloc(sizeof *a);
    a->next = in->asked, a->name = wm_copy(wm_s(name)), in->asked = a;
    for (wm_each at = wm_elements(in->config); wm_next(&at, &key, &value);)
        if (wm_is(wm_text(key), name) && !wm_exists(found) && wm_kind_of(value) != WM_NULL) found = value;
    return found;
}

WM_FAR void wm_config_mismatch(wm_instance *in, const char *name, const char *want, wm_value got) {
    wm_buf b = WM_ZERO;
    if (in->error) return;
    wm_add_s(&b, "config.");
    wm_add_s(&b, name);
    wm_add_s(&b, ": want ");
    wm_add_s(&b, want);
    wm_add_s(&b, ", got ");
    wm_add(&b, wm_slice(got.raw.data, got.raw.size > 40 ? 40 : got.raw.size));
    if (got.raw.size > 40) wm_add_s(&b, "…");
    in->error = wm_cstr(&b);
}

WM_API double wm_config_float(wm_instance *in, const char *name, double fallback) {
    wm_value v = wm_config_value(in, name);
    if (wm_exists(v) && !wm_float(v, &fallback)) wm_config_mismatch(in, name, "a number", v);
    return fallback;
}

WM_API int64_t wm_config_int(wm_instance *in, const char *name, int64_t fallback) {
    wm_value v = wm_config_value(in, name);
    if (wm_exists(v) && !wm_int(v, &fallback)) wm_config_mismatch(in, name, "an integer", v);
    return fallback;
}

WM_API bool wm_config_bool(wm_instance *in, const char *name, bool fallback) {
    wm_value v = wm_config_value(in, name);
    if (wm_exists(v) && !wm_bool(v, &fallback)) wm_config_mismatch(in, name, "a boolean", v);
    return fallback;
}

WM_API const char *wm_config_string(wm_instance *in, const char *name, const char *fallback) {
    wm_value v = wm_config_value(in, name);
    if (!wm_exists(v)) return fallback;
    if (wm_kind_of(v) == WM_STRING) return wm_copy(wm_text(v)).data;
    wm_config_mismatch(in, name, "a string", v);
    return fallback;
}

/* wm_duration reads "1h30m", "1.5s", "-100ms" as ns. */
WM_FAR bool wm_duration(wm_str s, int64_t *to) {
    static const struct { char name[3]; uint8_t size; int64_t ns; } units[] = {
        {"ns", 2, 1}, {"us", 2, 1000}, {"ms", 2, 1000000}, {"s", 1, 1000000000},
        {"m", 1, 60000000000}, {"h", 1, 3600000000000},
    };
    size_t i = 0;
    int64_t sum = 0;
    bool negative = s.size > 0 && s.data[0] == '-';
    if (s.size > 0 && (s.data[0] == '-' || s.data[0] == '+')) i++;
    if (i == s.size) return false;
    if (wm_is(wm_slice(s.data + i, s.size - i), "0")) return *to = 0, true;
    while (i < s.size) {
        int64_t n = 0, part = 0, scale = 1;
        size_t start = i, digits = 0, u, k = sizeof units / sizeof units[0];
        for (; i < s.size && s.data[i] >= '0' && s.data[i] <= '9'; i++, digits++)
            if (n > INT64_MAX / 10 - 1) return false;
            else n = n * 10 + (s.data[i] - '0');
        if (i < s.size && s.data[i] == '.')
            for (i++; i < s.size && s.data[i] >= '0' && s.data[i] <= '9'; i++, digits++)
                if (scale < 100000) part = part * 10 + (s.data[i] - '0'), scale *= 10;
        if (digits == 0 || i == start) return false;
        for (u = i; i < s.size && s.data[i] != '.' && (s.data[i] < '0' || s.data[i] > '9');) i++;
        while (k > 0 && !wm_same(wm_slice(units[k - 1].name, units[k - 1].size), wm_slice(s.data + u, i - u))) k--;
        if (k == 0 || n > INT64_MAX / units[k - 1].ns - 1) return false;
        n = n * units[k - 1].ns + part * units[k - 1].ns / scale;
        if (n > INT64_MAX - sum) return false;
        sum += n;
    }
    *to = negative ? -sum : sum;
    return true;
}

WM_API int64_t wm_config_duration(wm_instance *in, const char *name, int64_t fallback_ns) {
    wm_value v = wm_config_value(in, name);
    if (wm_exists(v) && (wm_kind_of(v) != WM_STRING || !wm_duration(wm_text(v), &fallback_ns)))
        wm_config_mismatch(in, name, "a duration such as \"1.5s\"", v);
    return fallback_ns;
}

/* wm_config_unknown sets in->error when the configuration has a key for which
 * nobody asked, once anybody has asked for any. */
WM_API void wm_config_unknown(wm_instance *in) {
    wm_value key, value;
    if (!in->asked || in->error) return;
    for (wm_each at = wm_elements(in->config); wm_next(&at, &key, &value);) {
        struct wm_asked *a = in->asked;
        while (a && !wm_same(a->name, wm_text(key))) a = a->next;
        if (a) continue;
        wm_buf b = WM_ZERO;
        wm_add_s(&b, "config: unknown key ");
        wm_add_quoted(&b, wm_text(key));
        wm_add_s(&b, "; there is ");
        for (a = in->asked; a; a = a->next) {
            wm_add(&b, a->name);
            if (a->next) wm_add_s(&b, ", ");
        }
        in->error = wm_cstr(&b);
        return;
    }
}

/* ---- The boundary ---- */

WM_API bool wm_refuse(const char *why) {
    wm_buf line = WM_ZERO; /* one: the host puts the last into the fault that it reports */
    for (; *why; why++) {
        if (*why == '\n') wm_add_s(&line, "; ");
        else wm_add_char(&line, *why);
    }
    wm_log(WM_ERROR, wm_view(&line));
    return false;
}

WM_API void *wm_guest_buffer(int32_t size) {
    wm_region *r = &wm_self.input;
    r->size = 0; /* what was in it is not kept */
    return size >= 0 && wm_room(r, size > 0 ? (size_t)size : 1) ? r->data : NULL;
}

WM_API bool wm_guest_open(wm_str doc, wm_opener open) {
    wm_guest *g = &wm_self;
    wm_instance *in = &g->in;
    wm_value root, outputs, none, name;
    int64_t partition = 0;
    doc = wm_copy(doc);
    root = wm_json_find(doc, "");
    if (doc.size > 0 && wm_kind_of(root) != WM_OBJECT) return wm_refuse("the document of wasmill_open is not a JSON object");
    in->plugin = wm_text(wm_value_find(root, "/plugin"));
    in->pipeline = wm_text(wm_value_find(root, "/pipeline"));
    if (wm_int(wm_value_find(root, "/partition"), &partition)) in->partition = (int)partition;
    in->config = wm_value_find(root, "/config");
    in->grants = wm_value_find(root, "/grants");
    outputs = wm_value_find(root, "/outputs");
    in->output_count = 0;
    for (wm_each at = wm_elements(outputs); wm_next(&at, &none, &name);) in->output_count++;
    wm_str *names = (wm_str *)wm_alloc(sizeof(wm_str) * (in->output_count + 1));
    size_t i = 0;
    for (wm_each at = wm_elements(outputs); wm_next(&at, &none, &name);) names[i++] = wm_text(name);
    if (i == 0) names[0] = wm_s("default"), in->output_count = 1;
    in->outputs = names;
    const char *why = open ? open(in) : NULL;
    wm_config_unknown(in);
    if (why || in->error) return wm_refuse(why ? why : in->error);
    g->kept = g->chunk, g->kept_at = g->chunk_at;
    g->state = 1;
    return true;
}

WM_INLINE wm_str wm_guest_process(wm_str frame, wm_opener open, wm_handler handle) {
    const wm_str failed = {NULL, 0};
    wm_guest *g = &wm_self;
    wm_out *o = &g->out;
    wm_event e;
    if (g->state == 2) return wm_refuse("the instance is closed"), failed;
    if (g->state == 0 && !wm_guest_open(failed, open)) return failed; /* wasmill_open is optional for a host */
    if (frame.size < 32 || wm_load32(frame.data) != 0x31424d57) return wm_refuse("frame: no batch begins here"), failed;
    size_t head = wm_load32(frame.data + 4) & 0xffff, total = wm_load32(frame.data + 12);
    uint32_t count = wm_load32(frame.data + 8);
    if (total > frame.size || head < 32 || head > total || count > (total - head) / 48)
        return wm_refuse("frame: a length of the batch's header is out of bounds"), failed;
    if (wm_load32(frame.data + 4) >> 16 > 2) return wm_refuse("frame: kind is unknown"), failed;
    wm_begin(o, count);
    const char *p = frame.data + head, *end = frame.data + total;
    for (uint32_t i = 0; i < count; i++) {
        size_t left = (size_t)(end - p), size = left < 48 ? 0 : wm_load32(p);
        if (size < 48 || size > left || size % 8 != 0) return wm_refuse("frame: event length is out of bounds"), failed;
        if (wm_load32(p + 4) != 0) return wm_refuse("frame: event flags are unknown"), failed;
        uint64_t subject = wm_load32(p + 28), key = wm_load32(p + 32), headers = wm_load32(p + 36), payload = wm_load32(p + 40);
        if (48 + subject + key + headers + payload > size) return wm_refuse("frame: event parts exceed its length"), failed;
        e.subject = wm_slice(p + 48, (size_t)subject);
        e.key = wm_slice(e.subject.data + subject, (size_t)key);
        e.headers = wm_slice(e.key.data + key, (size_t)headers);
        e.payload = wm_slice(e.headers.data + headers, (size_t)payload);
        e.seq = wm_load64(p + 8);
        e.time = (int64_t)wm_load64(p + 16);
        e.attempt = wm_load32(p + 24);
        o->source = i;
        o->code = WM_DONE;
        size_t mark = o->records.size;
        uint32_t records = o->record_count;
        wm_outcome code = handle(&e, o);
        if (code != WM_DONE || o->error) {
            wm_settle(o, code, mark, records);
            o->error = NULL;
        }
        if (g->chunk != g->kept || g->chunk_at != g->kept_at) wm_forget(g);
        p += size;
    }
    return wm_finish(o);
}

WM_API wm_str wm_guest_close(wm_closer close) {
    const wm_str failed = {NULL, 0};
    wm_guest *g = &wm_self;
    wm_begin(&g->out, 0);
    if (g->state == 1 && close) {
        const char *why = close(&g->out);
        if (!why) why = g->out.error;
        if (why) return wm_refuse(why), failed;
        wm_forget(g);
    }
    g->state = 2;
    return wm_finish(&g->out);
}

WM_API int64_t wm_returned(wm_str response) {
    if (!response.data) return -28; /* EINVAL; the cause is in the log */
    return (int64_t)((uint64_t)(uintptr_t)response.data << 32 | response.size);
}

#endif /* WM_DECLARATIONS */

#ifdef __cplusplus
}
#endif
#endif /* WASMILL_H */
