// The plugin of this SDK's tests: an event's payload says what to do with it. See
// sdk/internal/guesttest, which has the same of every SDK.
import {
  Bytes, Counter, Event, Gauge, Header, Histogram, Instance, Kind, Level, Message, Out, Outcome, Value,
  deadLetterBecause, dropBecause, fail, field, find, handleOpen, log, now, onClose, quote, random, retryAfter, secret,
} from "wasmill";

let greeting = "";
let wait: i64 = 0;
let sizeLimit: i64 = 0;
let factor: f64 = 0;
let plugin = "";
let pipeline = "";
let partition = 0;
const seen = new Counter("seen_total");
const level = new Gauge("level");
const sizes = new Histogram("size_bytes");

function configure(instance: Instance): void {
  greeting = instance.string("greeting", "hi");
  wait = instance.duration("wait", 0);
  factor = instance.float("factor", 1);
  sizeLimit = instance.int("size_limit", 0);
  instance.value("areas");
  plugin = instance.plugin;
  pipeline = instance.pipeline;
  partition = instance.partition;
  if (instance.bool("refuse", false)) instance.refuse("greeting is rude\nwait is long");
}

function say(out: Out, text: string): Outcome {
  out.emit(new Message(Bytes.of(text)));
  return Outcome.Done;
}

// describe gives kind|text|float|int|bool|elements. Texts are bytes, not always UTF-8.
function describe(v: Value): Bytes {
  const kinds = ["absent", "null", "boolean", "number", "string", "object", "array"];
  let b = join(Bytes.of(kinds[v.kind] + "|"), v.text);
  b = join(b, Bytes.of("|" + (v.isFloat ? number(v.float()) : "") + "|" + (v.isInt ? v.int().toString() : "") + "|" + (v.isBool ? v.bool().toString() : "") + "|"));
  for (let m = v.first(); m.exists; m = m.next()) {
    b = join(join(join(join(b, m.name.text), Bytes.of("=")), m.value.raw), Bytes.of(";"));
  }
  return b;
}

// number tells a negative zero, as toString does not.
function number(f: f64): string {
  return f == 0 && 1 / f < 0 ? "-0" : f.toString();
}

function join(a: Bytes, b: Bytes): Bytes {
  const both = new Uint8Array(a.length + b.length);
  memory.copy(both.dataStart, a.ptr, a.length);
  memory.copy(both.dataStart + a.length, b.ptr, b.length);
  return Bytes.from(both);
}

function fields(e: Event, out: Out): Outcome {
  let s = e.subject.toString() + field("token", e.subjectToken(2).toString()) + field("none", e.subjectToken(3).toString());
  s += field("key", e.key.toString()) + " seq=" + e.seq.toString() + " time=" + e.time.toString() + " attempt=" + e.attempt.toString();
  s += field("A", e.header("A").toString());
  for (let h = e.firstHeader(); h.exists; h = h.next()) s += " " + h.name.toString() + ":" + h.value.toString();
  return say(out, s);
}

function work(e: Event, out: Out): Outcome {
  const p = e.payload;
  if (p.equals("pass")) {
    out.pass();
    return Outcome.Done;
  }
  if (p.startsWith("find ")) { // pointer, line break, text
    let n = 5;
    while (n < p.length && p[n] != 0x0a) n++;
    if (n == p.length) return fail("no line break");
    out.emit(new Message(describe(find(p.slice(n + 1), p.slice(5, n).toString()))));
    return Outcome.Done;
  }
  const command = p.length <= 1 << 18 ? p.toString() : "";
  const space = command.indexOf(" ");
  const verb = space < 0 ? command : command.substring(0, space);
  const rest = space < 0 ? "" : command.substring(space + 1);
  if (command == "fields") return fields(e, out);
  if (command == "nothing") return Outcome.Done;
  if (command == "twice") {
    out.pass();
    out.passTo("other");
    return Outcome.Done;
  }
  if (verb == "pass-to") {
    out.passTo(rest);
    return Outcome.Done;
  }
  const m = new Message();
  if (command == "pass-as") {
    m.output = "other";
    m.subject = "as.x";
    m.key = Bytes.of("K");
    out.passAs(m.header("X", "1").header("Y", ""));
    return Outcome.Done;
  }
  if (command == "greet") return say(out, [greeting, wait.toString(), factor.toString(), sizeLimit.toString(), plugin, pipeline, partition.toString()].join(" "));
  if (verb == "quote") return say(out, quote(rest));
  if (command == "drop") {
    out.pass();
    return Outcome.Drop;
  }
  if (verb == "drop") {
    out.pass();
    return dropBecause(rest);
  }
  if (command == "retry") return Outcome.Retry;
  if (command == "later") return retryAfter(1000, "busy");
  if (command == "dead") return Outcome.DeadLetter;
  if (verb == "dead") return deadLetterBecause(rest);
  if (verb == "fail") {
    out.pass();
    return fail(rest);
  }
  if (command == "bad output") {
    out.pass();
    out.passTo("nowhere");
    return Outcome.Done;
  }
  if (command == "bad header") {
    m.headers = [new Header("a b", "")];
    out.emit(m);
    return Outcome.Done;
  }
  if (command == "panic") throw new Error("boom");
  if (command == "trap") unreachable();
  if (command == "log") {
    log(Level.Warn, "careful" + field("seq", e.seq.toString()));
    seen.inc();
    level.set(0.5);
    sizes.observe(p.length);
    return Outcome.Done;
  }
  if (command == "console") {
    console.log("printed");
    console.warn("warned");
    trace("traced", 2, 1, 2.5);
    return say(out, Math.random() < 1 ? "true" : "false");
  }
  if (command == "now") return say(out, now().toString());
  if (command == "random") {
    const bytes = new Uint8Array(32);
    random(bytes);
    return say(out, bytes.some((b) => b != 0) ? "true" : "false");
  }
  if (verb == "secret") {
    const s = secret(rest);
    return say(out, s === null ? "none" : s.length.toString());
  }
  if (verb == "garbage") { // bytes that nobody keeps
    const left = i32.parse(rest);
    new StaticArray<u8>(left);
    return Outcome.Done;
  }
  if (verb == "fan") { // that many outputs of 1,000 bytes
    const b = Bytes.of("x".repeat(1000));
    for (let i = 0, n = i32.parse(rest); i < n; i++) out.emit(new Message(b));
    return Outcome.Done;
  }
  m.output = "other";
  m.subject = "copied";
  m.key = e.key;
  m.payload = p;
  m.keepHeaders = true;
  out.emit(m);
  return Outcome.Done;
}

handleOpen(configure, work);

onClose((out: Out): void => {
  const m = new Message(Bytes.of(greeting));
  m.subject = "bye";
  out.emit(m);
});
