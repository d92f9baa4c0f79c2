import { Bytes } from "./bytes";
import { quote } from "./json";
import { Region } from "./memory";

const PAYLOAD_REF: u32 = 1;
const KEEP_HEADERS: u32 = 2;

/** The source of an output that no event caused. */
export const NO_SOURCE: u32 = 0xffffffff;

/** One header of a message: a name of printable ASCII without spaces and colons, a value without line breaks and NUL. */
export class Header {
  constructor(public name: string, public value: string) {}
}

/** An event that a handler emits. It is read during the call it is passed to, and not kept. */
export class Message {
  /** Name of an output of the pipeline; "" = the default one. */
  output: string = "";
  /** "" = the subject the output prescribes. */
  subject: string = "";
  /** For the stages that follow; null = none. */
  key: Bytes | null = null;
  /** The content; see text. */
  payload: Bytes | null = null;
  /** In addition to the event's, where those are kept. */
  headers: Header[] | null = null;
  /** emit: put the event's headers in front. */
  keepHeaders: bool = false;

  /** A message with a payload, most often `new Message(Bytes.of("…"))`. */
  constructor(payload: Bytes | null = null) {
    this.payload = payload;
  }

  /** Adds a header. */
  header(name: string, value: string): Message {
    if (this.headers === null) this.headers = [];
    this.headers!.push(new Header(name, value));
    return this;
  }
}

/**
 * Takes what a handler emits. Nothing is emitted when the handler returns another
 * outcome than Done, and nothing when a call of Out was in error: an unknown output
 * or a header that cannot travel fails the event as fail(…) does.
 */
export class Out {
  // What the guest keeps here: the response, and the event at hand.
  readonly records: Region = new Region();
  recordCount: u32 = 0;
  source: u32 = NO_SOURCE;
  outputs: string[] = ["default"];
  error: string | null = null;

  /** Emits the event as it is to the default output. Payload and headers do not travel: the runtime takes them from the event it holds. */
  pass(): void {
    this.passId(0);
  }

  /** Emits the event as it is to the output of that name. */
  passTo(output: string): void {
    const id = this.id(output);
    if (id >= 0) this.passId(id);
  }

  /** Emits the event's payload and headers, by reference as pass does, under the message's output, subject and key and with its headers added. */
  passAs(m: Message): void {
    if (this.hasEvent()) this.emitAs(m, PAYLOAD_REF | KEEP_HEADERS);
  }

  /** Emits a message. */
  emit(m: Message): void {
    if (!m.keepHeaders) this.emitAs(m, 0);
    else if (this.hasEvent()) this.emitAs(m, KEEP_HEADERS);
  }

  private passId(id: i32): void {
    if (!this.hasEvent()) return;
    const at = this.record(32, PAYLOAD_REF | KEEP_HEADERS, id);
    store<u64>(at, 0, 16);
    store<u64>(at, 0, 24);
  }

  /** Appends a record of that many bytes and fills in its fixed part. */
  // @ts-ignore: decorator
  @inline
  private record(size: usize, flags: u32, id: u32): usize {
    const r = this.records;
    if (r.room - r.size < size) r.reserve(r.size + size);
    const at = r.ptr + r.size;
    r.size += size;
    this.recordCount++;
    store<u32>(at, <u32>size);
    store<u32>(at, this.source, 4);
    store<u32>(at, flags, 8);
    store<u32>(at, id, 12);
    return at;
  }

  private emitAs(m: Message, flags: u32): void {
    const id = this.id(m.output);
    if (id < 0) return;
    const subject = Bytes.of(m.subject);
    const key = orEmpty(m.key);
    const payload = flags & PAYLOAD_REF ? Bytes.at(0, 0) : orEmpty(m.payload);
    let headers: usize = 0;
    let count = 0;
    const all = m.headers;
    if (all !== null) {
      count = all.length;
      if (count > 0xffff) {
        this.fail("a message has too many headers; at most 65535 can travel");
        return;
      }
      for (let i = 0; i < count; i++) {
        const h = unchecked(all[i]);
        const fault = headerFault(h);
        if (fault !== null) {
          this.fail(fault);
          return;
        }
        headers += 8 + String.UTF8.byteLength(h.name) + String.UTF8.byteLength(h.value);
      }
    }
    const used = 32 + <u64>subject.length + <u64>key.length + <u64>headers + <u64>payload.length;
    if (used > 1 << 29) {
      this.fail("a message is larger than 512 MiB");
      return;
    }
    const size = (<usize>used + 7) & ~7;
    const at = this.record(size, flags, <u32>id | (<u32>count << 16));
    store<u32>(at, subject.length, 16);
    store<u32>(at, key.length, 20);
    store<u32>(at, <u32>headers, 24);
    store<u32>(at, payload.length, 28);
    let to = put(put(at + 32, subject), key);
    if (all !== null) {
      for (let i = 0; i < count; i++) {
        const h = unchecked(all[i]);
        const n = String.UTF8.encodeUnsafe(changetype<usize>(h.name), h.name.length, to + 8);
        const v = String.UTF8.encodeUnsafe(changetype<usize>(h.value), h.value.length, to + 8 + n);
        store<u32>(to, <u32>n);
        store<u32>(to, <u32>v, 4);
        to += 8 + n + v;
      }
    }
    to = put(to, payload);
    for (const end = at + size; to < end; to++) store<u8>(to, 0);
  }

  /** Returns the number of the output of that name, -1 when there is none. */
  private id(name: string): i32 {
    if (name.length == 0) return 0;
    const all = this.outputs;
    const i = all.indexOf(name);
    if (i < 0) this.fail("the pipeline has no output " + quote(name) + " here; it has " + all.join(", "));
    return i;
  }

  private hasEvent(): bool {
    if (this.source != NO_SOURCE) return true;
    this.fail("there is no event to pass on when an instance closes; use emit without keepHeaders");
    return false;
  }

  private fail(error: string): void {
    if (this.error === null) this.error = error;
  }
}

function orEmpty(b: Bytes | null): Bytes {
  return b === null ? Bytes.at(0, 0) : b;
}

function put(to: usize, b: Bytes): usize {
  memory.copy(to, b.ptr, b.length);
  return to + b.length;
}

/** Returns why a header cannot travel. */
function headerFault(h: Header): string | null {
  if (h.name.length == 0) return "a message has a header that cannot travel: its name is empty";
  for (let i = 0; i < h.name.length; i++) {
    const c = h.name.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f || c == 0x3a) return "a message has a header that cannot travel: its name has a byte that is not allowed";
  }
  for (let i = 0; i < h.value.length; i++) {
    const c = h.value.charCodeAt(i);
    if (c == 0x0d || c == 0x0a || c == 0) return "a message has a header that cannot travel: its value has a byte that is not allowed";
  }
  return null;
}
