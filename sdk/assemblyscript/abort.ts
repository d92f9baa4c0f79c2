import * as host from "./host";

/**
 * What `throw`, assert and the standard library's own checks end in: it logs the
 * message and the place, and traps. The event at hand fails with both; the others
 * go on, on a fresh instance. It allocates nothing: memory may be used up.
 */
export function abort(message: string | null, fileName: string | null, line: u32, column: u32): void {
  const buffer = memory.data(1024);
  let at = add(buffer, "panic: ");
  if (message) at = add(at, message);
  at = add(at, "; at ");
  if (fileName) at = add(at, fileName);
  at = addNumber(addByte(at, 0x3a), line);
  at = addNumber(addByte(at, 0x3a), column);
  host.log(8, buffer, at - buffer);
  unreachable();
}

// add adds at most 120 characters, of up to three bytes each.
function add(at: usize, text: string): usize {
  return at + String.UTF8.encodeUnsafe(changetype<usize>(text), min(text.length, 120), at);
}

function addByte(at: usize, c: u8): usize {
  store<u8>(at, c);
  return at + 1;
}

function addNumber(at: usize, n: u32): usize {
  let unit: u32 = 1;
  while (n / unit >= 10) unit *= 10;
  for (; unit > 0; unit /= 10) at = addByte(at, <u8>(0x30 + n / unit % 10));
  return at;
}
