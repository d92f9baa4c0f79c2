import { alloc } from "./memory";
import { Bytes } from "./bytes";
import * as scan from "./scan";
import { parse } from "./number";

/** What a value is. */
export enum Kind { Absent, Null, Bool, Number, String, Object, Array }

/**
 * One JSON value inside a text: a view of it, valid as long as the text. An absent
 * value says so in all its methods.
 */
// @ts-ignore: decorator
@unmanaged
export class Value {
  /** Where the JSON text of the value is, without white space around it; 0 when absent. */
  ptr: usize;
  /** Its size. */
  size: i32;

  /** What the value is. */
  get kind(): Kind {
    if (!this.ptr || !this.size) return Kind.Absent;
    switch (load<u8>(this.ptr)) {
      case 0x6e: return Kind.Null;
      case 0x74: case 0x66: return Kind.Bool;
      case 0x22: return Kind.String;
      case 0x7b: return Kind.Object;
      case 0x5b: return Kind.Array;
    }
    return Kind.Number;
  }

  /** Whether the value is there; null is. */
  get exists(): bool {
    return this.ptr != 0;
  }

  /** The JSON text of the value. */
  get raw(): Bytes {
    return Bytes.at(this.ptr, this.size);
  }

  /** Whether the value is a number that fits an f64. */
  get isFloat(): bool {
    return !isNaN(this.float());
  }

  /** The number that the value is; otherwise the fallback, NaN when there is none. */
  float(fallback: f64 = NaN): f64 {
    if (this.kind != Kind.Number) return fallback;
    const f = parse(this.ptr, this.size);
    return isNaN(f) ? fallback : f;
  }

  /** Whether the value is a number without fraction and exponent that fits an i64. */
  get isInt(): bool {
    return this.int(0) == this.int(1);
  }

  /** The number that the value is; the fallback when it is none, is written with a fraction or an exponent, or does not fit. */
  int(fallback: i64 = 0): i64 {
    if (this.kind != Kind.Number) return fallback;
    const negative = load<u8>(this.ptr) == 0x2d;
    let i: i32 = negative ? 1 : 0;
    if (this.size - i > 19) return fallback;
    let n: u64 = 0;
    for (; i < this.size; i++) {
      const c = load<u8>(this.ptr + i) - 0x30;
      if (c > 9) return fallback;
      n = n * 10 + c;
    }
    if (n > <u64>i64.MAX_VALUE + (negative ? 1 : 0)) return fallback;
    return negative ? -<i64>n : <i64>n;
  }

  /** Whether the value is a boolean. */
  get isBool(): bool {
    return this.kind == Kind.Bool;
  }

  /** The boolean that the value is; otherwise the fallback. */
  bool(fallback: bool = false): bool {
    return this.kind == Kind.Bool ? load<u8>(this.ptr) == 0x74 : fallback;
  }

  /**
   * The value as text: the content of a string with its escapes undone, and the
   * JSON text of any other kind. A view unless the string has escapes.
   */
  get text(): Bytes {
    if (this.kind != Kind.String) return this.raw;
    const d = this.ptr + 1;
    const n = this.size - 2;
    let i = 0;
    while (i < n && load<u8>(d + i) != 0x5c) i++;
    if (i == n) return Bytes.at(d, n);
    const to = alloc(n); // what is escaped is longer
    memory.copy(to, d, i);
    let size = i;
    while (i < n) {
      if (load<u8>(d + i) == 0x5c) {
        size += scan.unescape(d, n, i, to + size);
        i = scan.behind;
      } else {
        store<u8>(to + size++, load<u8>(d + i++));
      }
    }
    return Bytes.at(to, size);
  }

  /** The text of the value, which may be kept; "" when absent. */
  toString(): string {
    return this.text.toString();
  }

  /** Looks inside the value. */
  find(pointer: string): Value {
    return findAt(this.ptr, this.size, pointer);
  }

  /** Walks the elements of an array or the members of an object: `for (let m = v.first(); m.exists; m = m.next())`. */
  first(): Member {
    const m = changetype<Member>(alloc(offsetof<Member>()));
    m.whole = this;
    const kind = this.kind;
    m.at = kind == Kind.Object || kind == Kind.Array ? scan.space(this.ptr, this.size, 1) : -1;
    return m.next();
  }
}

/** An element of an array, or a member of an object. */
// @ts-ignore: decorator
@unmanaged
export class Member {
  whole: Value;
  at: i32; // of the next one, -1 = there is none
  /** The name of a member, as a string value; absent in an array. */
  name: Value;
  /** The value; absent behind the last one. */
  value: Value;

  /** Whether there is one; false behind the last one. */
  get exists(): bool {
    return this.value.exists;
  }

  /** Goes to the next one, in place. */
  next(): Member {
    const d = this.whole.ptr;
    const n = this.whole.size;
    let i = this.at;
    this.name = this.value = absent();
    this.at = -1;
    if (i < 0 || scan.is(d, n, i, 0x7d) || scan.is(d, n, i, 0x5d)) return this;
    if (load<u8>(d) == 0x7b) {
      const behind = scan.text(d, n, i);
      this.name = view(d + i, behind - i);
      i = scan.mark(d, n, behind, 0x3a);
    }
    const end = scan.skip(d, n, i);
    this.value = view(d + i, end - i);
    this.at = scan.mark(d, n, end, 0x2c);
    return this;
  }
}

/** The absent value. */
export function absent(): Value {
  return changetype<Value>(memory.data(offsetof<Value>(), 8)); // nobody writes to it
}

function view(ptr: usize, size: i32): Value {
  const v = changetype<Value>(alloc(offsetof<Value>()));
  v.ptr = ptr;
  v.size = size;
  return v;
}

// The last pointers, in UTF-8: a handler asks for the same few again and again.
const POINTERS = 16;
const asked = new StaticArray<string | null>(POINTERS);
const encoded = new StaticArray<ArrayBuffer | null>(POINTERS);

/** Looks a pointer up in the text at d; the value is absent when it is not there or the text is malformed up to its end. */
export function findAt(d: usize, n: i32, pointer: string): Value {
  const slot = <i32>(changetype<usize>(pointer) >> 4) & (POINTERS - 1);
  let utf8 = unchecked(encoded[slot]);
  if (utf8 === null || changetype<usize>(unchecked(asked[slot])) != changetype<usize>(pointer)) {
    utf8 = String.UTF8.encode(pointer);
    unchecked((asked[slot] = pointer)); // held, so that no other string comes to lie at its address
    unchecked((encoded[slot] = utf8));
  }
  const end = scan.find(d, n, changetype<usize>(utf8), utf8.byteLength);
  return end < 0 ? absent() : view(d + scan.found, end - scan.found);
}

/**
 * Looks up the value at a JSON Pointer (RFC 6901) in a text: "" is the whole text,
 * "/a/0/b" the member b of the first element of the member a; "~1" stands for "/"
 * and "~0" for "~". The value is absent, too, when the pointer, or the text up to
 * the end of the value, is malformed; what lies behind is not read. Where an object
 * repeats a name, the first member counts.
 */
export function find(text: Bytes, pointer: string): Value {
  return findAt(text.ptr, text.length, pointer);
}

/** Says whether a text is one JSON value. */
export function valid(text: Bytes): bool {
  return find(text, "").exists;
}

/** Says whether a text is a JSON Pointer: ask once, for one that is configured, because a bad pointer finds nothing. */
export function isPointer(pointer: string): bool {
  if (pointer.length > 0 && pointer.charCodeAt(0) != 0x2f) return false;
  for (let i = 0; i < pointer.length; i++) {
    if (pointer.charCodeAt(i) != 0x7e) continue;
    const c = i + 1 < pointer.length ? pointer.charCodeAt(i + 1) : 0;
    if (c != 0x30 && c != 0x31) return false;
  }
  return true;
}

/** Returns a text as a JSON string, with its quotes. */
export function quote(text: string): string {
  let s = '"';
  let done = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x20 && c != 0x22 && c != 0x5c) continue;
    s += text.substring(done, i) + "\\";
    done = i + 1;
    switch (c) {
      case 0x0a: s += "n"; break;
      case 0x0d: s += "r"; break;
      case 0x09: s += "t"; break;
      case 0x22: case 0x5c: s += String.fromCharCode(c); break;
      default: s += "u00" + (c < 16 ? "0" : "") + c.toString(16);
    }
  }
  return s + text.substring(done) + '"';
}
