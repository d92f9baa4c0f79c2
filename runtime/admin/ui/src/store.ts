import { computed, signal } from "@preact/signals";
import { subscribe, type Link } from "./api";
import type { Happening, Line, Pipeline, Plugin, Status, Topic } from "./types";

// What the server says of itself, as of its last picture. Everything in the page
// that shows a number reads it from here.

interface Picture { n: number; time: string; full: boolean; parts: Record<string, unknown> }

const parts = new Map<string, unknown>();

export const link = signal<Link>("connecting");
export const linkWhy = signal("");
export const now = signal(Date.now()); // of the server, at its last picture
export const status = signal<Status | undefined>(undefined);
export const topics = signal<Topic[]>([]);
export const plugins = signal<Plugin[]>([]);
export const pipelines = signal<Pipeline[]>([]);

function take(p: Picture): void {
  if (p.full) parts.clear();
  for (const [name, part] of Object.entries(p.parts)) {
    if (part === null) parts.delete(name);
    else parts.set(name, part);
  }
  const all = <T extends { name: string }>(kind: string): T[] => {
    const out: T[] = [];
    for (const [name, part] of parts) if (name.startsWith(kind + " ")) out.push(part as T);
    return out.sort((a, b) => (a.name < b.name ? -1 : 1));
  };
  now.value = Date.parse(p.time);
  status.value = parts.get("status") as Status;
  topics.value = all<Topic>("topic");
  plugins.value = all<Plugin>("plugin");
  pipelines.value = all<Pipeline>("pipeline");
  remember(now.value / 1000);
}

// The last five minutes of each pipeline, for the charts.
export const keep = 300;

export interface Point {
  t: number; in: number; out: number; done: number; lag: number; p50: number | null; p99: number | null;
  call50: number | null; call99: number | null; inFlight: number; limit: number; batch: number | null; dropped: number; retried: number; dead: number;
}

const series = new Map<string, Point[]>();
export const ticks = signal(0);

function remember(t: number): void {
  const last = ticks.value;
  for (const p of pipelines.value) {
    let s = series.get(p.name);
    if (!s) series.set(p.name, (s = []));
    if (s.length > 0 && s[s.length - 1].t >= t) continue;
    const calls = p.stage_stats.filter((x) => x.call.count > 0);
    const busiest = p.stage_stats.find((x) => x.batch > 0);
    s.push({
      t, in: p.rates.in, out: p.rates.out, done: p.rates.done, lag: p.lag,
      p50: p.end_to_end.count ? p.end_to_end.p50 : null, p99: p.end_to_end.count ? p.end_to_end.p99 : null,
      call50: calls.length ? Math.max(...calls.map((x) => x.call.p50)) : null,
      call99: calls.length ? Math.max(...calls.map((x) => x.call.p99)) : null,
      inFlight: p.in_flight, limit: p.max_in_flight, batch: busiest ? busiest.batch : null,
      dropped: p.rates.dropped, retried: p.rates.retried, dead: p.rates.dead_lettered,
    });
    if (s.length > keep) s.splice(0, s.length - keep);
  }
  ticks.value = last + 1;
}

export function pointsOf(pipeline: string): Point[] {
  return series.get(pipeline) ?? [];
}

// Lines and happenings outlive a lost connection and a restart of the server.
export const maxLines = 400;
export const maxHappenings = 200;
export const logLines = signal<Line[]>([]);
export const logMissed = signal(0);
export const happenings = signal<Happening[]>([]);

export function start(): () => void {
  return subscribe("/api/v1/events", {
    onEvent(name, data) {
      switch (name) {
        case "status":
          take(data as Picture);
          break;
        case "logs":
          logLines.value = [...logLines.value, ...(data as Line[])].slice(-maxLines);
          break;
        case "history":
          happenings.value = [...happenings.value, ...(data as Happening[])].slice(-maxHappenings);
          break;
        case "missed":
          logMissed.value += (data as { count: number }).count;
          break;
      }
    },
    onLink(state, why) {
      link.value = state;
      linkWhy.value = why;
    },
  });
}

// What is seen at a glance: the state, and for one that runs whether there is
// anything to do.
export type Look = "running" | "idle" | "busy" | "paused" | "stalled" | "halted" | "waiting" | "standby";

export function lookOf(p: Pipeline): Look {
  switch (p.state) {
    case "running":
      if (worstBlock(p)) return "busy";
      return p.rates.in + p.rates.done + p.rates.out < 0.5 && p.lag === 0 ? "idle" : "running";
    case "stalled": return "stalled";
    case "halted": case "quarantined": return "halted";
    case "paused": return "paused";
    case "standby": return "standby";
    default: return "waiting";
  }
}

export const blockedWords: Record<string, string> = {
  plugin_in_flight: "at a plugin's limit of events in flight",
  plugin_in_flight_bytes: "at a plugin's limit of bytes in flight",
  plugin_rate: "at a plugin's rate",
  partition_full: "one partition is behind",
  output: "an output topic confirms slowly",
  position: "its position is stored slowly",
  paused: "paused",
  plugin_throttled: "a plugin burns time in failing calls",
};

// worstBlock is what holds a pipeline back for more than a fifth of the time.
export function worstBlock(p: Pipeline): { reason: string; part: number } | undefined {
  let worst: { reason: string; part: number } | undefined;
  for (const [reason, part] of Object.entries(p.blocked)) {
    if (reason !== "paused" && part >= 0.2 && (!worst || part > worst.part)) worst = { reason, part };
  }
  return worst;
}

// saturated says by which limit a plugin holds pipelines back, or "".
export function saturated(g: Plugin): string {
  const users = pipelines.value.filter((p) => g.pipelines.includes(p.name));
  const blocked = (reason: string) => users.some((p) => (p.blocked[reason] ?? 0) >= 0.2);
  if (g.max_rate && blocked("plugin_rate")) {
    const rate = users.flatMap((p) => p.stage_stats).filter((s) => s.plugin === g.name).reduce((n, s) => n + s.rate_in, 0);
    if (rate >= 0.4 * g.max_rate) return "rate"; // a burst is over before it shows in full
  }
  if (blocked("plugin_in_flight") && g.in_flight >= 0.75 * g.max_in_flight) return "events in flight";
  if (blocked("plugin_in_flight_bytes") && g.in_flight_bytes >= 0.75 * g.max_in_flight_bytes) return "bytes in flight";
  return "";
}

export interface Problem { level: "bad" | "warn"; what: string; text: string; href: string }

// Problems, the worst first.
export const problems = computed<Problem[]>(() => {
  const out: Problem[] = [];
  const st = status.value;
  if (!st) return out;
  const named = new Set<string>();
  for (const p of pipelines.value) {
    const href = `#/pipelines/${encodeURIComponent(p.name)}`;
    const look = lookOf(p);
    if (look === "halted" || look === "stalled" || p.state === "backoff") {
      named.add(p.name);
      out.push({ level: "bad", what: `pipeline ${p.name}`, text: `is ${p.state}${p.reason ? ": " + p.reason : ""}`, href });
    }
    if (p.lost > 0) out.push({ level: "bad", what: `pipeline ${p.name}`, text: `${p.lost} events were lost from its topic before it had finished them`, href });
  }
  for (const text of st.problems ?? []) {
    if (![...named].some((n) => text.includes(`pipeline "${n}"`))) out.push({ level: "bad", what: "instance", text, href: "#/" });
  }
  if (st.server.storage_trouble) out.push({ level: "bad", what: "store", text: st.server.storage_trouble, href: "#/config" });
  for (const t of topics.value) {
    if (t.lost > 0) out.push({ level: "bad", what: `topic ${t.name}`, text: `has lost ${t.lost} events`, href: "#/topology" });
  }
  for (const p of pipelines.value) {
    const href = `#/pipelines/${encodeURIComponent(p.name)}`;
    const w = worstBlock(p);
    if (w) out.push({ level: "warn", what: `pipeline ${p.name}`, text: `waits ${Math.round(w.part * 100)} % of the time: ${blockedWords[w.reason] ?? w.reason}`, href });
    if (p.rates.dead_lettered > 0) out.push({ level: "warn", what: `pipeline ${p.name}`, text: "sends events to the dead letters", href: `#/dead-letters?pipeline=${encodeURIComponent(p.name)}` });
  }
  for (const g of plugins.value) {
    const newest = g.history?.[0];
    if (newest && newest.state === "refused") {
      out.push({ level: "warn", what: `plugin ${g.name}`, text: `its newest version was refused: ${newest.reason ?? ""}`, href: `#/plugins/${encodeURIComponent(g.name)}` });
    }
  }
  return out;
});
