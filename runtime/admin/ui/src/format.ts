const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function count(n: number): string {
  return Math.abs(n) < 100_000 ? whole.format(n) : compact.format(n);
}

export function rate(n: number | undefined): string {
  if (n === undefined) return "–";
  if (n > 0 && n < 10) return n.toFixed(1);
  return count(n);
}

export function bytes(n: number): string {
  let unit = 0;
  while (n >= 1024 && unit < 4) { n /= 1024; unit++; }
  const digits = unit === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${n.toFixed(digits).replace(/\.0+$/, "")} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined || s === 0) return "–";
  const of = (v: number, unit: string) => `${v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2)} ${unit}`;
  if (s < 1e-3) return of(s * 1e6, "µs");
  if (s < 1) return of(s * 1e3, "ms");
  if (s < 120) return of(s, "s");
  return `${Math.round(s / 60)} min`;
}

export function ago(time: string, now: number): string {
  const t = Date.parse(time);
  if (!t || t < 0) return "never";
  const s = Math.max(0, Math.round((now - t) / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

export function clock(time: string): string {
  const d = new Date(time);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

export function dateTime(time: string): string {
  const d = new Date(time);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const short = (digest: string) => digest.slice(0, 12);

function unpack(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// hex shows bytes that are no text, as hexdump does.
export function hex(base64: string, most = 512): string {
  const b = unpack(base64);
  const out: string[] = [];
  for (let at = 0; at < Math.min(b.length, most); at += 16) {
    const row = b.subarray(at, at + 16);
    const codes = Array.from(row, (x) => x.toString(16).padStart(2, "0")).join(" ");
    const text = Array.from(row, (x) => (x >= 32 && x < 127 ? String.fromCharCode(x) : "·")).join("");
    out.push(`${at.toString(16).padStart(6, "0")}  ${codes.padEnd(47)}  ${text}`);
  }
  if (b.length > most) out.push(`… ${b.length - most} bytes more`);
  return out.join("\n");
}

// pretty is a payload for reading: JSON is laid out, anything else is as it is.
export function pretty(payload: string, base64?: string): string {
  if (base64) return hex(base64);
  const first = payload.trimStart()[0];
  if (first === "{" || first === "[") {
    try {
      return JSON.stringify(JSON.parse(payload), null, 2);
    } catch {
      // cut, or not JSON after all
    }
  }
  return payload;
}
