import { alloc } from "./memory";

/**
 * A view of bytes, most often of text in UTF-8. The bytes of an event are valid
 * until the handler returns, and so are those that of() makes; whoever keeps them
 * longer keeps toString(). What an opener makes stays.
 */
// @ts-ignore: decorator
@unmanaged
export class Bytes {
  /** Where the bytes are; 0 when there is nothing to view, which is not the same as an empty text. */
  ptr: usize;
  /** How many there are. */
  length: i32;

  /** Views memory. */
  static at(ptr: usize, length: i32): Bytes {
    const b = changetype<Bytes>(alloc(offsetof<Bytes>()));
    b.ptr = ptr;
    b.length = length;
    return b;
  }

  /** Encodes a text. */
  static of(text: string): Bytes {
    const room = <usize>text.length * 3;
    const ptr = alloc(room);
    const size = String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, ptr);
    return Bytes.at(ptr, <i32>size);
  }

  /** Copies the bytes of an array. */
  static from(array: Uint8Array): Bytes {
    const ptr = alloc(array.length);
    memory.copy(ptr, array.dataStart, array.length);
    return Bytes.at(ptr, array.length);
  }

  /** Whether there is something to view; a header that is not there has nothing. */
  get exists(): bool {
    return this.ptr != 0;
  }

  /** Decodes the bytes, as UTF-8. */
  toString(): string {
    return String.UTF8.decodeUnsafe(this.ptr, this.length);
  }

  /** Copies the bytes to an array, which may be kept. */
  toArray(): Uint8Array {
    const array = new Uint8Array(this.length);
    memory.copy(array.dataStart, this.ptr, this.length);
    return array;
  }

  /** Returns a byte. */
  // @ts-ignore: decorator
  @operator("[]")
  get(index: i32): u8 {
    if (<u32>index >= <u32>this.length) throw new RangeError("index out of range");
    return load<u8>(this.ptr + index);
  }

  /** Views a part, as the method of an array does; end may be left out. */
  slice(start: i32, end: i32 = i32.MAX_VALUE): Bytes {
    start = max(0, min(start, this.length));
    end = max(start, min(end, this.length));
    return Bytes.at(this.ptr + start, end - start);
  }

  /** Says whether the bytes are that text, without decoding them. */
  equals(text: string): bool {
    return this.startsWith(text) && utf8Length(text) == this.length;
  }

  /** Says whether the bytes begin with that text. */
  startsWith(text: string): bool {
    let at = this.ptr;
    const end = at + this.length;
    for (let i = 0, n = text.length; i < n; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x80) { // seldom: encode the rest
        const rest = Bytes.of(text.substring(i));
        return end - at >= <usize>rest.length && memory.compare(at, rest.ptr, rest.length) == 0;
      }
      if (at >= end || load<u8>(at) != c) return false;
      at++;
    }
    return true;
  }

  /** Says whether two views hold the same bytes. */
  same(other: Bytes): bool {
    return this.length == other.length && memory.compare(this.ptr, other.ptr, this.length) == 0;
  }
}

function utf8Length(text: string): i32 {
  return String.UTF8.byteLength(text);
}
