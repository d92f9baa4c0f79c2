// The instance behind the ABI. What crosses the boundary does so here.
import { Event } from "./event";
import { Instance } from "./instance";
import { Level, log } from "./log";
import { Region, alloc, forget, keep, used } from "./memory";
import { NO_SOURCE, Out } from "./out";
import { Outcome, decideNothing, decidedCode, decidedDelay, decidedReason, fail } from "./outcome";

/** Processes one event and says what becomes of it. */
export type Handler = (e: Event, out: Out) => Outcome;

/** Is called once for each instance, before its first event, to read the configuration. */
export type Opener = (instance: Instance) => void;

/** Is called when the instance ends. */
export type Closer = (out: Out) => void;

let handler: Handler | null = null;
let opener: Opener | null = null;
let closer: Closer | null = null;

/** Makes a handler the plugin. Call it, or handleOpen, once, at the top of the file. */
export function handle(h: Handler): void {
  assert(handler === null, "a handler is already registered");
  handler = h;
}

/** Makes an opener and a handler the plugin. */
export function handleOpen(o: Opener, h: Handler): void {
  opener = o;
  handle(h);
}

/**
 * Has a function called when the instance ends: when the runtime stops, or a reload
 * replaces the plugin; not after a fault. It may emit; it has no event to pass on.
 */
export function onClose(c: Closer): void {
  closer = c;
}

const FAILED = -28; // EINVAL; the cause is in the log

let state = 0; // 0 before open, 1 open, 2 closed
const event = new Event();
const out = new Out();
const input = new Region();
const tail = new Region(); // outcomes, room for one of each event, then reasons
let reasons: usize = 0; // where in tail they begin
let outcomes: u32 = 0;
let lastAt: usize = 0; // the last reason, shared by events in a row that give the same
let lastSize: usize = 0;

export function wasmill_abi_v1(): i32 {
  return 1 << 16;
}

export function wasmill_buffer(size: i32): usize {
  if (size < 0 || size > 1 << 29) return 0;
  input.size = 0; // what was in it is not kept
  input.reserve(max(size, 1));
  return input.ptr;
}

export function wasmill_open(ptr: usize, size: i32): i32 {
  return open(ptr, size) ? 0 : FAILED;
}

function open(ptr: usize, size: i32): bool {
  if (handler === null) return refuse("no handler: call handle(…) at the top of the plugin");
  const doc = alloc(size);
  memory.copy(doc, ptr, size);
  const instance = new Instance();
  if (!instance.read(doc, size)) return refuse("the document of wasmill_open is not a JSON object");
  const o = opener;
  if (o !== null) o(instance);
  const why = instance.verdict();
  if (why !== null) return refuse(why);
  out.outputs = instance.outputs;
  keep();
  state = 1;
  return true;
}

/** Logs why a call failed; the runtime puts the last line into the fault that it reports. */
function refuse(why: string): bool {
  log(Level.Error, why.replaceAll("\n", "; "));
  return false;
}

export function wasmill_process(ptr: usize, size: i32): i64 {
  if (state == 2) return failed("the instance is closed");
  if (state == 0 && !open(0, 0)) return FAILED; // wasmill_open is optional for a host
  if (size < 32 || load<u32>(ptr) != 0x31424d57) return failed("frame: no batch begins here");
  const head = <u32>load<u16>(ptr, 4);
  const total = load<u32>(ptr, 12);
  const count = load<u32>(ptr, 8);
  if (total > <u32>size || head < 32 || head > total || count > (total - head) / 48) return failed("frame: a length of the batch's header is out of bounds");
  if (load<u16>(ptr, 6) > 2) return failed("frame: kind is unknown");
  begin(count);
  const h = handler!;
  const e = event;
  const o = out;
  let at = ptr + head;
  const end = ptr + total;
  for (let i: u32 = 0; i < count; i++) {
    const left = end - at;
    const n: usize = left < 48 ? 0 : load<u32>(at);
    if (n < 48 || n > left || n & 7) return failed("frame: event length is out of bounds");
    if (load<u32>(at, 4)) return failed("frame: event flags are unknown");
    if (48 + <u64>load<u32>(at, 28) + <u64>load<u32>(at, 32) + <u64>load<u32>(at, 36) + <u64>load<u32>(at, 40) > n) return failed("frame: event parts exceed its length");
    e.point(at);
    o.source = i;
    decideNothing();
    const mark = o.records.size;
    const records = o.recordCount;
    const code = h(e, o);
    if (code != Outcome.Done || o.error !== null) settle(code, mark, records);
    if (used()) forget();
    at += n;
  }
  return finish();
}

export function wasmill_close(): i64 {
  begin(0);
  const c = closer;
  if (state == 1 && c !== null) {
    c(out);
    const error = out.error;
    if (error !== null) return failed(error);
    forget();
  }
  state = 2;
  return finish();
}

function failed(why: string): i64 {
  refuse(why);
  return FAILED;
}

/** Starts a response to that many events. */
function begin(events: u32): void {
  out.records.size = 0;
  out.records.reserve(24);
  out.records.size = 24;
  reasons = <usize>events << 4;
  tail.size = 0;
  tail.reserve(reasons);
  tail.size = reasons;
  out.recordCount = outcomes = 0;
  lastAt = lastSize = 0;
  out.source = NO_SOURCE;
  out.error = null;
}

/** Takes the outputs of the event at hand back and records its outcome. */
function settle(code: i32, mark: usize, records: u32): void {
  out.records.size = mark;
  out.recordCount = records;
  const error = out.error;
  if (error !== null) {
    code = fail(error);
    out.error = null;
  } else if (code < Outcome.Drop || code > Outcome.DeadLetter) {
    code = fail("the handler returned what is no outcome");
  }
  let size: usize = 0;
  if (code == decidedCode) {
    const reason = decidedReason;
    size = min(reason.length, 0xffff);
    if (size != lastSize || memory.compare(tail.ptr + reasons + lastAt, reason.ptr, size) != 0) {
      lastAt = tail.size - reasons;
      lastSize = size;
      tail.reserve(tail.size + size);
      memory.copy(tail.ptr + tail.size, reason.ptr, size);
      tail.size += size;
    }
  }
  const at = tail.ptr + (<usize>outcomes << 4);
  outcomes++;
  store<u32>(at, out.source);
  store<u32>(at, <u32>code | (<u32>size << 16), 4);
  store<u32>(at, code == decidedCode ? decidedDelay : 0, 8);
  store<u32>(at, <u32>lastAt, 12); // made absolute by finish
}

/** Ends the response. */
function finish(): i64 {
  const r = out.records;
  const size = <usize>outcomes << 4;
  const texts = tail.size - reasons;
  const base = r.size + size;
  const total = base + texts;
  r.reserve(total);
  for (let i: usize = 12; i < size; i += 16) store<u32>(tail.ptr + i, load<u32>(tail.ptr + i) + <u32>base);
  const p = r.ptr;
  memory.copy(p + r.size, tail.ptr, size);
  memory.copy(p + base, tail.ptr + reasons, texts);
  store<u32>(p, 0x31524d57); // WMR1
  store<u32>(p, 24, 4);
  store<u32>(p, outcomes, 8);
  store<u32>(p, out.recordCount, 12);
  store<u32>(p, <u32>total, 16);
  store<u32>(p, 0, 20);
  return (<i64>p << 32) | <i64>total;
}
