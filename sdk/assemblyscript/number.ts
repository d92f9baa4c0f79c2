// Reading numbers: the nearest f64, always.

// 0.d1d2d3… × 10^point: as many digits as it takes to round any f64 correctly; more
// says that digits that are not zero follow.
const DIGITS = 800;
const SLACK = 20;
let count = 0;
let point = 0;
let more = false;

// @ts-ignore: decorator
@inline
function digitsAt(): usize {
  return memory.data(DIGITS + SLACK);
}

let digits: usize = 0;

function trim(): void {
  while (count > 0 && load<u8>(digits + count - 1) == 0) count--;
  if (count == 0) point = 0;
}

/** Multiplies by 2^k, 0 < k ≤ 60. */
function multiply(k: i32): void {
  if (count == 0) return;
  // From the last digit, to the right end of the array and back.
  let w = count + SLACK;
  let n: u64 = 0;
  for (let r = count; r > 0 || n > 0;) {
    if (r > 0) n += <u64>load<u8>(digits + --r) << k;
    store<u8>(digits + --w, <u8>(n % 10));
    n /= 10;
  }
  const size = count + SLACK - w;
  point += size - count;
  for (let i = DIGITS; i < size; i++) more = more || load<u8>(digits + w + i) != 0;
  count = min(size, DIGITS);
  memory.copy(digits, digits + w, count);
  trim();
}

/** Divides by 2^k, 0 < k ≤ 60. */
function divide(k: i32): void {
  if (count == 0) return;
  const mask = (<u64>1 << k) - 1;
  let r = 0;
  let w = 0;
  let n: u64 = 0;
  for (; n >> k == 0; r++) n = n * 10 + (r < count ? load<u8>(digits + r) : 0);
  point -= r - 1;
  for (; r < count; r++) {
    const next = load<u8>(digits + r);
    store<u8>(digits + w++, <u8>(n >> k));
    n = (n & mask) * 10 + next;
  }
  for (; n > 0; n = (n & mask) * 10) {
    if (w < DIGITS) store<u8>(digits + w++, <u8>(n >> k));
    else more = more || n >> k > 0;
  }
  count = w;
  trim();
}

/** How far a shift by one place of the decimal point goes. */
function step(places: i32): i32 {
  if (places >= 9) return 27;
  return load<u8>(memory.data<u8>([1, 3, 6, 9, 13, 16, 19, 23, 26]) + places);
}

/** Rounds the digits to the nearest f64; NaN when it is too large. */
function nearest(negative: bool): f64 {
  if (point > 310) return NaN;
  let exp = 0;
  let bits: u64 = 0;
  if (count > 0 && point >= -330) {
    while (point > 0) {
      const k = step(point);
      divide(k);
      exp += k;
    }
    while (point < 0 || (point == 0 && load<u8>(digits) < 5)) {
      const k = step(-point);
      multiply(k);
      exp -= k;
    }
    exp--; // from 0.5 to 1 to 1 to 2
    while (exp < -1022) { // denormal
      const k = min(60, -1022 - exp);
      divide(k);
      exp += k;
    }
    if (exp > 1023) return NaN;
    multiply(53);
    for (let i = 0; i < point; i++) bits = bits * 10 + (i < count ? load<u8>(digits + i) : 0);
    if (up(point)) bits++;
    if (bits == <u64>1 << 53) {
      bits >>= 1;
      if (++exp > 1023) return NaN;
    }
    if (bits & (<u64>1 << 52)) bits = (bits & ((<u64>1 << 52) - 1)) | (<u64>(exp + 1023) << 52);
  }
  return reinterpret<f64>(bits | (<u64>negative << 63));
}

/** Says whether to round up at a digit: to even when exactly half-way. */
function up(at: i32): bool {
  if (at < 0 || at >= count) return false;
  const d = load<u8>(digits + at);
  if (d == 5 && at + 1 == count) return more || (at > 0 && load<u8>(digits + at - 1) % 2 != 0);
  return d >= 5;
}

/** Returns the power of ten, up to the largest that an f64 holds exactly. */
function ten(exp: i32): f64 {
  return load<f64>(memory.data<f64>([
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
  ]) + (<usize>exp << 3));
}

/** Reads a number whose grammar has been checked; NaN when it is too large for an f64. */
export function parse(p: usize, size: i32): f64 {
  const end = p + size;
  const negative = load<u8>(p) == 0x2d;
  let n: u64 = 0; // of at most 15 digits, which an f64 holds
  let seen = 0;
  let exp = 0;
  let fraction = false;
  let places = 0;
  count = 0;
  more = false;
  digits = digitsAt();
  for (p += negative ? 1 : 0; p < end; p++) {
    const c = load<u8>(p);
    if ((c | 0x20) == 0x65) break;
    if (c == 0x2e) {
      fraction = true;
    } else if (c != 0x30 || seen > 0) {
      if (++seen <= 15) n = n * 10 + (c - 0x30);
      if (seen <= DIGITS) store<u8>(digits + count++, c - 0x30);
      else more = more || c != 0x30;
      if (!fraction) places++;
    } else if (fraction) {
      places--;
    }
  }
  if (p < end) {
    p++;
    const down = load<u8>(p) == 0x2d;
    if (down || load<u8>(p) == 0x2b) p++;
    for (; p < end; p++) if (exp < 100000) exp = exp * 10 + (load<u8>(p) - 0x30);
    if (down) exp = -exp;
  }
  exp += places - seen; // n × 10^exp
  if (seen <= 15 && exp >= -22 && exp <= 22) { // both exact: one rounding
    const f = exp < 0 ? <f64>n / ten(-exp) : <f64>n * ten(exp);
    return negative ? -f : f;
  }
  point = exp + seen;
  trim();
  return nearest(negative);
}

/** Where duration stands: what it read, in ns. */
export let nanoseconds: i64 = 0;

/** Reads "1h30m", "1.5s", "-100ms"; leaves ns in nanoseconds. */
export function duration(s: string): bool {
  let i = 0;
  let sum: i64 = 0;
  const negative = s.startsWith("-");
  if (negative || s.startsWith("+")) i++;
  if (i == s.length) return false;
  if (s.substring(i) == "0") {
    nanoseconds = 0;
    return true;
  }
  while (i < s.length) {
    let n: i64 = 0;
    let part: i64 = 0;
    let scale: i64 = 1;
    let seen = 0;
    for (; i < s.length && isDigit(s.charCodeAt(i)); i++, seen++) {
      if (n > i64.MAX_VALUE / 10 - 1) return false;
      n = n * 10 + (s.charCodeAt(i) - 0x30);
    }
    if (i < s.length && s.charCodeAt(i) == 0x2e) {
      for (i++; i < s.length && isDigit(s.charCodeAt(i)); i++, seen++) {
        if (scale >= 100000) continue;
        part = part * 10 + (s.charCodeAt(i) - 0x30);
        scale *= 10;
      }
    }
    if (seen == 0) return false;
    const start = i;
    while (i < s.length && !isDigit(s.charCodeAt(i)) && s.charCodeAt(i) != 0x2e) i++;
    const unit = unitOf(s.substring(start, i));
    if (unit == 0 || n > i64.MAX_VALUE / unit - 1) return false;
    n = n * unit + part * unit / scale;
    if (n > i64.MAX_VALUE - sum) return false;
    sum += n;
  }
  nanoseconds = negative ? -sum : sum;
  return true;
}

function isDigit(c: i32): bool {
  return c >= 0x30 && c <= 0x39;
}

function unitOf(name: string): i64 {
  if (name == "ns") return 1;
  if (name == "us") return 1000;
  if (name == "ms") return 1000000;
  if (name == "s") return 1000000000;
  if (name == "m") return 60000000000;
  if (name == "h") return 3600000000000;
  return 0;
}
