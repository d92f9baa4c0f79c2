import { signal } from "@preact/signals";

// The token lives as long as the tab, and travels in a header only.
const key = "wasmill-token";
export const token = signal(sessionStorage.getItem(key) ?? "");
export const tokenWanted = signal(false);

export function useToken(value: string): void {
  token.value = value;
  tokenWanted.value = false;
  sessionStorage.setItem(key, value);
}

export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

function headers(more: Record<string, string> = {}): Record<string, string> {
  return token.value ? { ...more, Authorization: `Bearer ${token.value}` } : more;
}

async function failed(res: Response): Promise<ApiError> {
  if (res.status === 401) tokenWanted.value = true;
  let message = `${res.status} ${res.statusText}`;
  try {
    message = ((await res.json()) as { error?: string }).error ?? message;
  } catch {
    // the status line has to do
  }
  return new ApiError(message, res.status);
}

export async function get<T>(path: string): Promise<T> {
  const res = await fetch(path, { headers: headers() });
  if (!res.ok) throw await failed(res);
  return (await res.json()) as T;
}

export async function post<T>(path: string, body: unknown = {}): Promise<T> {
  const res = await fetch(path, {
    method: "POST",
    headers: headers({ "Content-Type": "application/json", "Wasmill-Request": "1" }),
    body: JSON.stringify(body),
  });
  if (!res.ok) throw await failed(res);
  return (await res.json()) as T;
}

// lines reads an answer of one JSON value a line.
export async function lines<T>(path: string): Promise<T[]> {
  const res = await fetch(path, { headers: headers() });
  if (!res.ok) throw await failed(res);
  return (await res.text()).split("\n").filter(Boolean).map((l) => JSON.parse(l) as T);
}

export type Link = "connecting" | "live" | "lost";

export interface Subscription {
  onEvent(name: string, data: unknown): void;
  onLink?(state: Link, why: string): void;
  // idle closes the stream some time after the tab is hidden.
  idle?: boolean;
}

// A stream without a sign of life for so long is dead: the server sends one every 15 s.
const silence = 40_000;
const hiddenFor = 30_000;

// subscribe follows a stream of server-sent events and comes back to it for as
// long as it takes, with the id of the last event. EventSource cannot send a
// token in a header, so the stream is read here.
export function subscribe(path: string, s: Subscription): () => void {
  let stopped = false;
  let lastId = "";
  let delay = 250;
  let abort = new AbortController();
  let wake: (() => void) | undefined;
  let asleep = false;
  let hideTimer = 0;

  const wait = (ms: number) =>
    new Promise<void>((done) => {
      const t = setTimeout(done, ms);
      wake = () => { clearTimeout(t); done(); };
    });

  const visibility = () => {
    clearTimeout(hideTimer);
    if (document.hidden) {
      hideTimer = window.setTimeout(() => { asleep = true; abort.abort(); }, hiddenFor);
    } else if (asleep) {
      asleep = false;
      wake?.();
    }
  };
  if (s.idle) document.addEventListener("visibilitychange", visibility);

  async function once(): Promise<void> {
    abort = new AbortController();
    const dead = { timer: 0 };
    const alive = () => { clearTimeout(dead.timer); dead.timer = window.setTimeout(() => abort.abort(), silence); };
    try {
      alive();
      const res = await fetch(path, { headers: headers(lastId ? { "Last-Event-ID": lastId } : {}), signal: abort.signal });
      if (!res.ok || !res.body) throw await failed(res);
      s.onLink?.("live", "");
      delay = 250;
      const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        rest += value;
        for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
          const block = rest.slice(0, end);
          rest = rest.slice(end + 2);
          let name = "", data = "", id = "";
          for (const line of block.split("\n")) {
            if (line.startsWith("event: ")) name = line.slice(7);
            else if (line.startsWith("data: ")) data = line.slice(6);
            else if (line.startsWith("id: ")) id = line.slice(4);
          }
          if (name) s.onEvent(name, JSON.parse(data));
          if (id) lastId = id; // only what was taken in is not asked for again
        }
      }
    } finally {
      clearTimeout(dead.timer);
    }
  }

  void (async () => {
    while (!stopped) {
      let why = "the connection ended";
      try {
        if (!asleep) await once();
      } catch (e) {
        why = e instanceof Error ? e.message : String(e);
      }
      if (stopped) return;
      s.onLink?.(asleep ? "connecting" : "lost", asleep ? "the tab is hidden" : why);
      await wait(asleep ? 3_600_000 : tokenWanted.value ? 1000 : delay);
      delay = Math.min(delay * 2, 3000);
    }
  })();

  return () => {
    stopped = true;
    document.removeEventListener("visibilitychange", visibility);
    clearTimeout(hideTimer);
    abort.abort();
    wake?.();
  };
}
