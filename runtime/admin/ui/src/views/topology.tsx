import { Graph, layout } from "@dagrejs/dagre";
import { useEffect, useMemo, useState } from "preact/hooks";
import { blockedWords, lookOf, pipelines, plugins, saturated, topics, worstBlock } from "../store";
import { count, rate, seconds } from "../format";
import { Head, Scroll, State } from "../parts/parts";
import type { Pipeline, Stage } from "../types";

interface Box { id: string; x: number; y: number; w: number; h: number }
interface Way { from: string; to: string; pipeline: string; side: "in" | "out"; points: { x: number; y: number }[] }
interface Plan { boxes: Map<string, Box>; ways: Way[]; w: number; h: number }

const topicSize = { w: 158, h: 50 };
const chip = { w: 104, h: 40, gap: 20 };
const titleHeight = 30;

const topicsOf = (p: Pipeline) => [...new Set(Object.values(p.outputs))].sort();
const widthOf = (p: Pipeline) => Math.max(200, 24 + p.stages.length * chip.w + (p.stages.length - 1) * chip.gap, 46 + p.name.length * 7.6);

// arrange places topics and pipelines; it changes only when the configuration does.
function arrange(shape: string, upright: boolean): Plan {
  const { t, p } = JSON.parse(shape) as { t: string[]; p: { name: string; from: string; to: string[]; w: number }[] };
  const g = new Graph({ multigraph: true });
  g.setGraph({ rankdir: upright ? "TB" : "LR", nodesep: 26, ranksep: upright ? 34 : 64, edgesep: 14, marginx: 12, marginy: 12 });
  g.setDefaultEdgeLabel(() => ({}));
  for (const name of t) g.setNode("t " + name, { width: topicSize.w, height: topicSize.h });
  for (const one of p) g.setNode("p " + one.name, { width: one.w, height: titleHeight + chip.h + 24 });
  for (const one of p) {
    if (t.includes(one.from)) g.setEdge("t " + one.from, "p " + one.name, {}, "in");
    for (const to of one.to) if (t.includes(to)) g.setEdge("p " + one.name, "t " + to, {}, "out");
  }
  layout(g);
  const boxes = new Map<string, Box>();
  for (const id of g.nodes()) {
    const n = g.node(id) as { x: number; y: number; width: number; height: number };
    boxes.set(id, { id, x: n.x - n.width / 2, y: n.y - n.height / 2, w: n.width, h: n.height });
  }
  const ways = g.edges().map((e): Way => ({
    from: e.v, to: e.w, pipeline: (e.v.startsWith("p ") ? e.v : e.w).slice(2), side: e.v.startsWith("p ") ? "out" : "in",
    points: (g.edge(e) as { points: { x: number; y: number }[] }).points,
  }));
  const all = g.graph() as { width?: number; height?: number };
  return { boxes, ways, w: all.width ?? 0, h: all.height ?? 0 };
}

function curve(points: { x: number; y: number }[]): string {
  let d = `M${points[0].x},${points[0].y}`;
  for (let i = 1; i < points.length - 1; i++) {
    const a = points[i], b = points[i + 1];
    d += ` Q${a.x},${a.y} ${i === points.length - 2 ? b.x : (a.x + b.x) / 2},${i === points.length - 2 ? b.y : (a.y + b.y) / 2}`;
  }
  if (points.length === 2) d += ` L${points[1].x},${points[1].y}`;
  return d;
}

function useNarrow(): boolean {
  const query = "(max-width: 760px)";
  const [narrow, set] = useState(matchMedia(query).matches);
  useEffect(() => {
    const m = matchMedia(query), f = () => set(m.matches);
    m.addEventListener("change", f);
    return () => m.removeEventListener("change", f);
  }, []);
  return narrow;
}

export function Topology() {
  const upright = useNarrow();
  const ps = pipelines.value, ts = topics.value;
  // The dead letters are drawn when somebody reads them or something is there.
  const used = new Set(ps.flatMap((p) => [p.from, ...topicsOf(p)]));
  const shape = JSON.stringify({
    t: ts.filter((t) => t.name !== "dead-letters" || used.has(t.name)).map((t) => t.name),
    p: ps.map((p) => ({ name: p.name, from: p.from, to: topicsOf(p), w: widthOf(p) })),
  });
  const plan = useMemo(() => arrange(shape, upright), [shape, upright]);
  const full = new Map(plugins.value.map((g) => [g.name, saturated(g)]));
  return (
    <>
      <Head title="Topology"><span class="dim">{ts.length} topics, {ps.length} pipelines</span></Head>
      <Scroll label="Topology, drawn; the table below has the same">
        <svg class="topology" width={plan.w} style={{ minWidth: `${Math.min(plan.w, upright ? 360 : 820)}px` }} viewBox={`0 0 ${plan.w} ${plan.h}`} role="group" aria-label="Topics and pipelines with what flows between them">
          <defs>
            <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M0,0.5 L8,4 L0,7.5 z" /></marker>
          </defs>
          {plan.ways.map((way) => {
            const p = ps.find((x) => x.name === way.pipeline);
            if (!p) return null;
            const flow = way.side === "in" ? p.rates.in : p.rates.out;
            const stuck = way.side === "out" && worstBlock(p)?.reason === "output";
            const mid = way.points[Math.floor(way.points.length / 2)];
            return (
              <g key={way.from + way.to} class={"way" + (flow > 0 ? " flows" : "") + (stuck ? " stuck" : "")} data-from={way.from} data-to={way.to}>
                <path d={curve(way.points)} stroke-width={1.2 + Math.min(4, Math.log10(1 + flow))} marker-end="url(#arrow)" />
                {flow > 0 && <text x={mid.x} y={mid.y - 6} text-anchor="middle">{rate(flow)}/s</text>}
              </g>
            );
          })}
          {[...plan.boxes.values()].map((b) => {
            const name = b.id.slice(2);
            if (b.id.startsWith("t ")) {
              const t = ts.find((x) => x.name === name);
              if (!t) return null;
              return (
                <a key={b.id} href={`#/tail?w=topic:${encodeURIComponent(name)}`} class="topic" data-topic={name}>
                  <rect x={b.x} y={b.y} width={b.w} height={b.h} rx={b.h / 2} />
                  <text x={b.x + b.w / 2} y={b.y + 21} text-anchor="middle" class="name">{cut(name, 18)}</text>
                  <text x={b.x + b.w / 2} y={b.y + 38} text-anchor="middle" class="small">{count(t.messages)} events · {rate(t.rate)}/s</text>
                </a>
              );
            }
            const p = ps.find((x) => x.name === name);
            return p ? <PipelineBox key={b.id} b={b} p={p} full={full} /> : null;
          })}
        </svg>
      </Scroll>
      <p class="legend">
        <span class="state running">running</span> <span class="state idle">idle</span> <span class="state busy">held back</span> <span class="state paused">paused</span>{" "}
        <span class="state stalled">stalled</span> <span class="state halted">halted</span> <span class="state waiting">waiting</span> <span class="state standby">standby</span>
      </p>
      <section aria-labelledby="top-table">
        <h2 id="top-table">The same as a table</h2>
        <Scroll label="Topology as a table">
          <table class="list">
            <thead><tr><th scope="col">from</th><th scope="col">pipeline</th><th scope="col">state</th><th scope="col">stages</th><th scope="col">to</th><th scope="col" class="num">in/s</th><th scope="col" class="num">out/s</th><th scope="col" class="num">lag</th><th scope="col">held back by</th></tr></thead>
            <tbody>
              {ps.map((p) => {
                const w = worstBlock(p);
                return (
                  <tr key={p.name} data-row={p.name}>
                    <td>{p.from}</td><th scope="row"><a href={`#/pipelines/${encodeURIComponent(p.name)}`}>{p.name}</a></th><td><State p={p} /></td>
                    <td>{p.stage_stats.map((s, i) => <span key={s.name}>{i > 0 && " → "}{full.get(s.plugin) ? <b class="warn-text">{s.name}, saturated</b> : s.name}</span>)}</td>
                    <td>{topicsOf(p).join(", ") || "–"}</td><td class="num">{rate(p.rates.in)}</td><td class="num">{rate(p.rates.out)}</td><td class="num">{count(p.lag)}</td>
                    <td>{w ? <span class="warn-text">{Math.round(w.part * 100)} % {blockedWords[w.reason] ?? w.reason}</span> : "–"}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroll>
      </section>
    </>
  );
}

const cut = (s: string, n: number) => (s.length > n ? s.slice(0, n - 1) + "…" : s);

function chipText(s: Stage, why: string | undefined): string {
  if (why) return "saturated";
  return s.call.count ? `${rate(s.rate_in)}/s · ${seconds(s.call.p50)}` : `${rate(s.rate_in)}/s`;
}

function PipelineBox({ b, p, full }: { b: Box; p: Pipeline; full: Map<string, string> }) {
  const look = lookOf(p);
  const w = worstBlock(p);
  const room = Math.floor((b.w - 30) / 6.2);
  const side = (b.w - p.stages.length * chip.w - (p.stages.length - 1) * chip.gap) / 2;
  const state = look === "busy" ? `held back ${Math.round(w!.part * 100)} %` : look === "running" || look === "idle" ? look : p.state;
  const lag = p.lag > 0 ? `lag ${count(p.lag)}` : "";
  return (
    <g class={"pipeline " + look} data-pipeline={p.name} data-look={look}>
      <a href={`#/pipelines/${encodeURIComponent(p.name)}`}>
        <rect class="frame" x={b.x} y={b.y} width={b.w} height={b.h} rx="8" />
        <circle cx={b.x + 15} cy={b.y + 16} r="5" class="lamp" />
        <text x={b.x + 27} y={b.y + 20} class="name">{cut(p.name, room)}</text>
      </a>
      {p.stage_stats.map((s, i) => {
        const x = b.x + side + i * (chip.w + chip.gap), y = b.y + titleHeight, why = full.get(s.plugin);
        return (
          <g key={s.name}>
            {i > 0 && <line x1={x - chip.gap} y1={y + chip.h / 2} x2={x - 2} y2={y + chip.h / 2} class="hop" marker-end="url(#arrow)" />}
            <a href={`#/tail?w=${encodeURIComponent(`stage:${p.name}/${s.name}`)}`} class={why ? "stage full" : "stage"} data-stage={s.name} data-saturated={why || undefined}>
              <rect x={x} y={y} width={chip.w} height={chip.h} rx="5" />
              <text x={x + chip.w / 2} y={y + 16} text-anchor="middle">{cut(s.name, 14)}</text>
              <text x={x + chip.w / 2} y={y + 31} text-anchor="middle" class="small">{chipText(s, why)}</text>
            </a>
          </g>
        );
      })}
      <text x={b.x + 12} y={b.y + b.h - 8} class="small foot">{cut([state, lag].filter(Boolean).join(" · "), room)}</text>
    </g>
  );
}
