import { effect, signal } from "@preact/signals";

// A session stands for the token, which is sent once and not kept. It lives as
// long as the tab, travels in a header only, and ends after a while.
const key = "wasmill-session";
let session = sessionStorage.getItem(key) ?? "";

export interface Who { session?: string; name: string; role: string; expires?: string }
export const who = signal<Who | undefined>(undefined);

// Why a token is wanted: none was given yet, or the session has ended.
export const wanted = signal<"" | "first" | "ended">("");

// signIn begins a session with a token; what waits for one goes on.
export async function signIn(token: string): Promise<void> {
  const res = await fetch("/api/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}`, "Wasmill-Request": "1" } });
  if (!res.ok) throw await failed(res);
  begin((await res.json()) as Who);
}

function begin(w: Who): void {
  session = w.session ?? "";
  sessionStorage.setItem(key, session);
  who.value = w;
  wanted.value = "";
}

// signOut ends the session for good.
export async function signOut(): Promise<void> {
  await fetch("/api/v1/session", { method: "DELETE", headers: headers({ "Wasmill-Request": "1" }) });
  session = "";
  sessionStorage.removeItem(key);
  location.reload(); // nothing that was shown stays
}

// recall finds out whose session it is, after the page was loaded again.
export function recall(): void {
  if (session) get<Who>("/api/v1/session").then((w) => { who.value = w; }, () => undefined);
}

function signedIn(): Promise<void> {
  return new Promise((done) => {
    const stop = effect(() => { if (wanted.value === "") queueMicrotask(() => { stop(); done(); }); });
  });
}

export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

function headers(more: Record<string, string> = {}): Record<string, string> {
  return session ? { ...more, Authorization: `Bearer ${session}` } : more;
}

async function failed(res: Response): Promise<ApiError> {
  let message = `${res.status} ${res.statusText}`;
  try {
    message = ((await res.json()) as { error?: string }).error ?? message;
  } catch {
    // the status line has to do
  }
  return new ApiError(message, res.status);
}

// ask sends a request, and when a token is wanted sends it again once there is a
// session: what was begun is not lost when a session ends.
async function ask(path: string, more: Record<string, string> = {}, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const used = session;
    const res = await fetch(path, { ...init, headers: headers(more) });
    if (res.status !== 401) return res;
    if (used === session) {
      wanted.value = used ? "ended" : "first";
      await signedIn();
    }
  }
}

export async function get<T>(path: string): Promise<T> {
  const res = await ask(path);
  if (!res.ok) throw await failed(res);
  return (await res.json()) as T;
}

export async function post<T>(path: string, body: unknown = {}): Promise<T> {
  const res = await ask(path, { "Content-Type": "application/json", "Wasmill-Request": "1" }, { method: "POST", body: JSON.stringify(body) });
  if (!res.ok) throw await failed(res);
  return (await res.json()) as T;
}

// lines reads an answer of one JSON value a line.
export async function lines<T>(path: string): Promise<T[]> {
  const res = await ask(path);
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
      const res = await ask(path, lastId ? { "Last-Event-ID": lastId } : {}, { signal: abort.signal });
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
      await wait(asleep ? 3_600_000 : delay);
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
