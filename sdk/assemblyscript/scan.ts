// The reader of JSON text. The functions take the text (its address and size) and
// an offset, and return the offset behind what they read, or -1 when it does not
// follow the grammar. They accept an offset at or beyond the end of the text. Each
// byte that is read is inside.

/** How deeply arrays and objects may nest; a text that nests deeper counts as malformed. */
export const MAX_DEPTH = 1024;

// @ts-ignore: decorator
@inline
export function is(d: usize, n: i32, i: i32, c: u8): bool {
  return i < n && load<u8>(d + i) == c;
}

/** Skips white space. */
// @ts-ignore: decorator
@inline
export function space(d: usize, n: i32, i: i32): i32 {
  while (i < n) {
    const c = load<u8>(d + i);
    if (c > 0x20 || (c != 0x20 && c != 0x0a && c != 0x0d && c != 0x09)) break;
    i++;
  }
  return i;
}

/** Skips white space, a colon or comma, and white space. */
export function mark(d: usize, n: i32, i: i32, c: u8): i32 {
  i = space(d, n, i);
  return is(d, n, i, c) ? space(d, n, i + 1) : -1;
}

export function hex4(d: usize, n: i32, i: i32): i32 {
  if (i + 4 > n) return -1;
  let r = 0;
  for (const end = i + 4; i < end; i++) {
    let c: i32 = load<u8>(d + i);
    const low = c | 0x20;
    if (c >= 0x30 && c <= 0x39) c -= 0x30;
    else if (low >= 0x61 && low <= 0x66) c = low - 0x61 + 10;
    else return -1;
    r = (r << 4) | c;
  }
  return r;
}

/** Reads an escape sequence; a control character is none. */
function escape(d: usize, n: i32, i: i32): i32 {
  if (i + 1 >= n || load<u8>(d + i) != 0x5c) return -1;
  switch (load<u8>(d + i + 1)) {
    case 0x22: case 0x5c: case 0x2f: case 0x62: case 0x66: case 0x6e: case 0x72: case 0x74:
      return i + 2;
    case 0x75:
      return hex4(d, n, i + 2) >= 0 ? i + 6 : -1;
  }
  return -1;
}

/** Whether the string that text has read has no escapes. */
export let plain: bool = false;

const ONES: u64 = 0x0101010101010101;
const HIGHS: u64 = 0x8080808080808080;

/**
 * Reads the string at i. Eight bytes at a time are tested for what ends a run:
 * quote, backslash, control characters.
 */
export function text(d: usize, n: i32, i: i32): i32 {
  plain = true;
  i++;
  while (true) {
    while (i + 8 <= n) {
      const w = load<u64>(d + i);
      const quote = w ^ (0x22 * ONES);
      const slash = w ^ (0x5c * ONES);
      const hit = (((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) | ((w - 0x20 * ONES) & ~w)) & HIGHS;
      if (hit) {
        i += <i32>(ctz(hit) >> 3);
        break;
      }
      i += 8;
    }
    while (i < n) {
      const c = load<u8>(d + i);
      if (c == 0x22 || c == 0x5c || c < 0x20) break;
      i++;
    }
    if (i >= n) return -1;
    if (load<u8>(d + i) == 0x22) return i + 1;
    plain = false;
    i = escape(d, n, i);
    if (i < 0) break;
  }
  return -1;
}

function digits(d: usize, n: i32, i: i32): i32 {
  const start = i;
  while (i < n && <u8>(load<u8>(d + i) - 0x30) <= 9) i++;
  return i == start ? -1 : i;
}

function number(d: usize, n: i32, i: i32): i32 {
  if (is(d, n, i, 0x2d)) i++;
  if (is(d, n, i, 0x30)) i++;
  else if ((i = digits(d, n, i)) < 0) return -1;
  if (is(d, n, i, 0x2e) && (i = digits(d, n, i + 1)) < 0) return -1;
  if (i < n && (load<u8>(d + i) | 0x20) == 0x65) {
    i++;
    if (is(d, n, i, 0x2b) || is(d, n, i, 0x2d)) i++;
    return digits(d, n, i);
  }
  return i;
}

function word(d: usize, n: i32, i: i32, letters: u32): i32 {
  return i + 4 <= n && load<u32>(d + i) == letters ? i + 4 : -1;
}

function scalar(d: usize, n: i32, i: i32): i32 {
  switch (load<u8>(d + i)) {
    case 0x74: return word(d, n, i, 0x65757274); // true
    case 0x6e: return word(d, n, i, 0x6c6c756e); // null
    case 0x66: return word(d, n, i + 1, 0x65736c61); // false
  }
  return number(d, n, i);
}

/** Reads the name of a member and its colon. */
function name(d: usize, n: i32, i: i32): i32 {
  if (!is(d, n, i, 0x22) || (i = text(d, n, i)) < 0) return -1;
  return mark(d, n, i, 0x3a);
}

/**
 * Reads one value. It does not recurse: each open container takes one bit of the
 * stack, 1 for an object.
 */
export function skip(d: usize, n: i32, i: i32): i32 {
  const stack = memory.data(MAX_DEPTH / 8, 8);
  let depth = 0;
  let object = false; // what the innermost open container is
  while (true) {
    if (i >= n) return -1;
    const c = load<u8>(d + i);
    if (c == 0x7b || c == 0x5b) {
      if (depth == MAX_DEPTH) return -1;
      object = c == 0x7b;
      const cell = stack + (depth >> 3);
      const bit: u8 = 1 << <u8>(depth & 7);
      store<u8>(cell, object ? load<u8>(cell) | bit : load<u8>(cell) & ~bit);
      depth++;
      i = space(d, n, i + 1);
      if (!is(d, n, i, c + 2)) { // c + 2 closes what c opens
        if (object && (i = name(d, n, i)) < 0) return -1;
        continue;
      }
    } else {
      i = c == 0x22 ? text(d, n, i) : scalar(d, n, i);
      if (i < 0) return -1;
    }
    // A value ended before i: close containers until a comma follows.
    for (;;) {
      if (depth == 0) return i;
      i = space(d, n, i);
      if (is(d, n, i, 0x2c)) {
        i = space(d, n, i + 1);
        if (object && (i = name(d, n, i)) < 0) return -1;
        break;
      }
      if (!is(d, n, i, object ? 0x7d : 0x5d)) return -1;
      i++;
      if (--depth > 0) object = ((load<u8>(stack + ((depth - 1) >> 3)) >> <u8>((depth - 1) & 7)) & 1) != 0;
    }
  }
}

/** Where unescape stands: behind the sequence it read. */
export let behind: i32 = 0;

/**
 * Writes what the escape sequence at i, which has been checked, stands for, and
 * returns the number of bytes, at most four. A surrogate without its other half
 * becomes U+FFFD.
 */
export function unescape(d: usize, n: i32, i: i32, to: usize): i32 {
  let c = load<u8>(d + i + 1);
  behind = i + 2;
  switch (c) {
    case 0x62: c = 0x08; break;
    case 0x66: c = 0x0c; break;
    case 0x6e: c = 0x0a; break;
    case 0x72: c = 0x0d; break;
    case 0x74: c = 0x09; break;
    case 0x75: {
      let r: u32 = hex4(d, n, i + 2);
      behind = i + 6;
      if (r >= 0xd800 && r < 0xe000) {
        const low = is(d, n, i + 6, 0x5c) && is(d, n, i + 7, 0x75) ? hex4(d, n, i + 8) : -1;
        if (r < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
          r = 0x10000 + ((r - 0xd800) << 10) + (<u32>low - 0xdc00);
          behind = i + 12;
        } else {
          r = 0xfffd;
        }
      }
      return rune(r, to);
    }
  }
  store<u8>(to, c); // quote, backslash, slash as they are
  return 1;
}

/** Writes a code point as UTF-8. */
export function rune(r: u32, to: usize): i32 {
  if (r < 0x80) {
    store<u8>(to, <u8>r);
    return 1;
  }
  if (r < 0x800) {
    store<u8>(to, <u8>(0xc0 | (r >> 6)));
    store<u8>(to, <u8>(0x80 | (r & 63)), 1);
    return 2;
  }
  if (r < 0x10000) {
    store<u8>(to, <u8>(0xe0 | (r >> 12)));
    store<u8>(to, <u8>(0x80 | ((r >> 6) & 63)), 1);
    store<u8>(to, <u8>(0x80 | (r & 63)), 2);
    return 3;
  }
  store<u8>(to, <u8>(0xf0 | (r >> 18)));
  store<u8>(to, <u8>(0x80 | ((r >> 12) & 63)), 1);
  store<u8>(to, <u8>(0x80 | ((r >> 6) & 63)), 2);
  store<u8>(to, <u8>(0x80 | (r & 63)), 3);
  return 4;
}

/** Compares the text between the quotes of a JSON string with a token of a pointer, undoing the escapes of both. */
function equal(d: usize, n: i32, t: usize, tn: i32): bool {
  const part = memory.data(4);
  let k = 0;
  for (let i = 0; i < n;) {
    let size = 1;
    if (load<u8>(d + i) == 0x5c) {
      size = unescape(d, n, i, part);
      i = behind;
    } else {
      store<u8>(part, load<u8>(d + i++));
    }
    for (let j = 0; j < size; j++) {
      if (k >= tn) return false;
      let want = load<u8>(t + k++);
      if (want == 0x7e) want = load<u8>(t + k++) == 0x31 ? 0x2f : 0x7e;
      if (load<u8>(part + j) != want) return false;
    }
  }
  return k == tn;
}

function same(a: usize, b: usize, n: i32): bool {
  for (let i = 0; i < n; i++) if (load<u8>(a + i) != load<u8>(b + i)) return false;
  return true;
}

/** Returns the offset of the value that the token t names in the object at i. */
function member(d: usize, n: i32, i: i32, t: usize, tn: i32, escaped: bool): i32 {
  i = space(d, n, i + 1);
  while (is(d, n, i, 0x22)) {
    const end = text(d, n, i);
    if (end < 0) return -1;
    const asIs = plain;
    const start = d + i + 1;
    const size = end - i - 2;
    i = mark(d, n, end, 0x3a);
    if (i < 0) return -1;
    if (asIs && !escaped ? size == tn && same(start, t, tn) : equal(start, size, t, tn)) return i;
    if ((i = skip(d, n, i)) < 0 || (i = mark(d, n, i, 0x2c)) < 0) return -1;
  }
  return -1;
}

/** Returns the offset of the element that the token t counts in the array at i: 0, or digits without a leading 0. */
function element(d: usize, n: i32, i: i32, t: usize, tn: i32): i32 {
  if (tn == 0 || tn > 9 || (tn > 1 && load<u8>(t) == 0x30)) return -1;
  let count = 0;
  for (let k = 0; k < tn; k++) {
    const c = load<u8>(t + k);
    if (c < 0x30 || c > 0x39) return -1;
    count = count * 10 + (c - 0x30);
  }
  i = space(d, n, i + 1);
  if (is(d, n, i, 0x5d)) return -1;
  for (; count > 0; count--) {
    if ((i = skip(d, n, i)) < 0 || (i = mark(d, n, i, 0x2c)) < 0) return -1;
  }
  return i;
}

/** Where find found the value: its offset behind the start. */
export let found: i32 = 0;

/** Looks the pointer p, in UTF-8, up; returns the end of the value and leaves its start in found. */
export function find(d: usize, n: i32, p: usize, pn: i32): i32 {
  let i = space(d, n, 0);
  for (let k = 0; k < pn;) {
    if (load<u8>(p + k) != 0x2f || i >= n) return -1;
    const start = ++k;
    let escaped = false;
    for (; k < pn && load<u8>(p + k) != 0x2f; k++) {
      if (load<u8>(p + k) != 0x7e) continue;
      escaped = true;
      if (!is(p, pn, k + 1, 0x30) && !is(p, pn, k + 1, 0x31)) return -1;
    }
    const c = load<u8>(d + i);
    if (c == 0x7b) i = member(d, n, i, p + start, k - start, escaped);
    else if (c == 0x5b) i = element(d, n, i, p + start, k - start);
    else return -1;
    if (i < 0) return -1;
  }
  found = i;
  const end = skip(d, n, i);
  return end >= 0 && pn == 0 && space(d, n, end) != n ? -1 : end;
}
