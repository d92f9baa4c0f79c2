import * as host from "./host";
import { Bytes } from "./bytes";

/** Returns the runtime's clock, ns since 1970. It needs the grant "clock": a module that calls it does not load without. */
export function now(): i64 {
  return host.now();
}

/** Fills an array with random bytes. It needs the grant "random". */
export function random(array: Uint8Array): void {
  let at = array.dataStart;
  for (let left = array.length; left > 0;) {
    const n = min(left, 1 << 20); // what the runtime gives at once
    host.random(at, n);
    at += n;
    left -= n;
  }
}

/** Returns the value that [plugins.NAME.secrets] gives that name; null when it has none. It needs the grant "secret". */
export function secret(name: string): string | null {
  const key = Bytes.of(name);
  let buffer = new Uint8Array(256);
  let n = host.secretGet(key.ptr, key.length, buffer.dataStart, buffer.length);
  if (n > buffer.length) {
    buffer = new Uint8Array(<i32>n);
    n = host.secretGet(key.ptr, key.length, buffer.dataStart, buffer.length);
  }
  return n < 0 ? null : String.UTF8.decodeUnsafe(buffer.dataStart, <usize>n);
}

/** What Math.random begins with. `wasmill build` puts it in the standard library's place. It needs the grant "random". */
export function seed(): f64 {
  const bits = memory.data(8);
  host.random(bits, 8);
  return reinterpret<f64>((load<u64>(bits) >> 12) | 0x3ff0000000000000) - 1;
}
