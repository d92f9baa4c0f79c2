import { Bytes } from "./bytes";
import { alloc } from "./memory";
import { Value, findAt } from "./json";

/**
 * One message of the topic. The bytes are views, valid until the handler returns.
 * There is one object for all events: do not keep it.
 */
export class Event {
  /** The subject under which the event was published. */
  readonly subject: Bytes = Bytes.at(0, 0);
  /** The key by which the pipeline partitions; empty when it has none. */
  readonly key: Bytes = Bytes.at(0, 0);
  /** The content. */
  readonly payload: Bytes = Bytes.at(0, 0);
  /** The headers as they came; see header and firstHeader. */
  readonly headers: Bytes = Bytes.at(0, 0);
  private record: usize = 0;

  /** For the guest: the event at that address, whose lengths have been checked. */
  // @ts-ignore: decorator
  @inline
  point(record: usize): void {
    this.record = record;
    let at = record + 48;
    set(this.subject, at, load<i32>(record, 28));
    set(this.key, (at += load<u32>(record, 28)), load<i32>(record, 32));
    set(this.headers, (at += load<u32>(record, 32)), load<i32>(record, 36));
    set(this.payload, at + load<u32>(record, 36), load<i32>(record, 40));
  }

  /** The number of the event in its topic. */
  get seq(): u64 {
    return load<u64>(this.record, 8);
  }

  /** When the topic stored the event, ns since 1970. */
  get time(): i64 {
    return load<i64>(this.record, 16);
  }

  /** 1 when the event is processed for the first time, one more after each retry. */
  get attempt(): u32 {
    return load<u32>(this.record, 24);
  }

  /** Returns the value at a JSON Pointer in the payload, such as "/properties/mag". */
  find(pointer: string): Value {
    return findAt(this.payload.ptr, this.payload.length, pointer);
  }

  /** Returns the n-th token of the subject, counted from 1; without bytes when it has fewer. */
  subjectToken(n: i32): Bytes {
    const d = this.subject.ptr;
    const size = this.subject.length;
    let start = 0;
    for (let i = 0; i <= size; i++) {
      if (i < size && load<u8>(d + i) != 0x2e) continue;
      if (--n == 0) return Bytes.at(d + start, i - start);
      start = i + 1;
    }
    return Bytes.at(0, 0);
  }

  /** Returns the value of the first header of that name; it does not exist when there is none. Names are compared byte by byte. */
  header(name: string): Bytes {
    for (let h = this.firstHeader(); h.exists; h = h.next()) {
      if (h.name.equals(name)) return h.value;
    }
    return Bytes.at(0, 0);
  }

  /** Walks the headers in their order: `for (let h = e.firstHeader(); h.exists; h = h.next())`. Names can repeat. */
  firstHeader(): HeaderView {
    const h = changetype<HeaderView>(alloc(offsetof<HeaderView>()));
    h.rest = this.headers.ptr;
    h.end = h.rest + this.headers.length;
    h.name = Bytes.at(0, 0);
    h.value = Bytes.at(0, 0);
    return h.next();
  }
}

/** A header of an event. */
// @ts-ignore: decorator
@unmanaged
export class HeaderView {
  rest: usize;
  end: usize;
  name: Bytes;
  value: Bytes;

  /** Whether there is one; false behind the last one. */
  get exists(): bool {
    return this.name.exists;
  }

  /** Goes to the next one, in place. */
  next(): HeaderView {
    const at = this.rest;
    const left = <u64>(this.end - at);
    if (left >= 8 && 8 + <u64>load<u32>(at) + <u64>load<u32>(at, 4) <= left) {
      // Fresh views, so that those of the header before stay what they are.
      this.name = Bytes.at(at + 8, load<i32>(at));
      this.value = Bytes.at(at + 8 + load<u32>(at), load<i32>(at, 4));
      this.rest = this.value.ptr + this.value.length;
    } else {
      this.name = this.value = Bytes.at(0, 0);
      this.rest = this.end;
    }
    return this;
  }
}

// @ts-ignore: decorator
@inline
function set(b: Bytes, ptr: usize, length: i32): void {
  b.ptr = ptr;
  b.length = length;
}
