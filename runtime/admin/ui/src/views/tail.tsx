import { useEffect, useRef, useState } from "preact/hooks";
import { get, subscribe, type Link } from "../api";
import { clock, count, bytes, pretty } from "../format";
import { diff } from "../diff";
import { go, route } from "../route";
import { pipelines, topics } from "../store";
import { Head } from "../parts/parts";
import type { Row, StageRow } from "../types";

// Rows of one tail; three of them stay below the five hundred of the page.
const most = 150;
const tails = 3;

interface Item { n: number; row?: Row; stage?: StageRow }

export function Tail() {
  const watched = route.value.query.getAll("w").slice(0, tails);
  const set = (list: string[]) => {
    location.hash = "#/tail" + (list.length ? "?" + list.map((w) => "w=" + encodeURIComponent(w)).join("&") : "");
  };
  const sources = [
    ...topics.value.map((t) => `topic:${t.name}`),
    ...pipelines.value.flatMap((p) => p.stages.map((s) => `stage:${p.name}/${s}`)),
  ];
  if (watched.length === 0 && sources.length > 0) {
    return (
      <>
        <Head title="Live tail" />
        <p class="lead">Watch the events of a topic, or what goes into a stage and what becomes of it. Watching reads by direct get, or copies of samples: it takes part in no delivery and holds nothing up.</p>
        <div class="columns">
          <section><h2>Topics</h2><ul class="picks">{topics.value.map((t) => <li key={t.name}><a href={`#/tail?w=topic:${encodeURIComponent(t.name)}`}>{t.name}</a> <span class="dim">{count(t.messages)} events</span></li>)}</ul></section>
          <section><h2>Stages</h2><ul class="picks">{pipelines.value.flatMap((p) => p.stages.map((s) => <li key={p.name + s}><a href={`#/tail?w=${encodeURIComponent(`stage:${p.name}/${s}`)}`}>{p.name} / {s}</a></li>))}</ul></section>
        </div>
      </>
    );
  }
  return (
    <>
      <Head title="Live tail">
        {watched.length < tails && (
          <label class="inline">Beside it<select value="" onChange={(e) => { const v = e.currentTarget.value; e.currentTarget.value = ""; if (v) set([...watched, v]); }}>
            <option value="">another tail…</option>{sources.filter((s) => !watched.includes(s)).map((s) => <option key={s} value={s}>{label(s)}</option>)}
          </select></label>
        )}
      </Head>
      <div class={"tails n" + watched.length}>
        {watched.map((w, i) => (
          <Pane key={w} source={w} sources={sources} first={i === 0}
            change={(to) => set(watched.map((x) => (x === w ? to : x)))} close={() => (watched.length > 1 ? set(watched.filter((x) => x !== w)) : go(["tail"]))} />
        ))}
      </div>
    </>
  );
}

function label(source: string): string {
  const [kind, name] = [source.slice(0, 5), source.slice(6)];
  return kind === "topic" ? `topic ${name}` : `stage ${name}`;
}

function pathOf(source: string, find: string): string {
  const q = find ? `?find=${encodeURIComponent(find)}` : "";
  if (source.startsWith("topic:")) return `/api/v1/topics/${encodeURIComponent(source.slice(6))}/watch${q}`;
  const [pipeline, stage] = source.slice(6).split("/");
  return `/api/v1/pipelines/${encodeURIComponent(pipeline)}/watch?stage=${encodeURIComponent(stage ?? "")}${find ? "&" + q.slice(1) : ""}`;
}

interface PaneProps { source: string; sources: string[]; first: boolean; change(to: string): void; close(): void }

function Pane({ source, sources, first, change, close }: PaneProps) {
  const [items, setItems] = useState<Item[]>([]);
  const [frozen, setFrozen] = useState(false);
  const [waiting, setWaiting] = useState(0);
  const [skipped, setSkipped] = useState(0);
  const [state, setState] = useState<Link>("connecting");
  const [why, setWhy] = useState("");
  const [text, setText] = useState("");
  const [find, setFind] = useState("");
  const held = useRef({ items: [] as Item[], frozen: false, n: 0, last: 0 });

  useEffect(() => { // what is typed is searched for a moment later
    const t = setTimeout(() => setFind(text.trim()), 400);
    return () => clearTimeout(t);
  }, [text]);

  useEffect(() => {
    const h = held.current;
    return subscribe(pathOf(source, find), {
      idle: true,
      onLink: (s, reason) => { setState(s); setWhy(reason); },
      onEvent: (name, data) => {
        if (name === "broken") { setWhy((data as { error: string }).error); return; }
        if (name !== "rows") return;
        const got = data as { rows: (Row & StageRow)[]; skipped: number };
        const fresh: Item[] = [];
        for (const r of got.rows) {
          if (source.startsWith("topic:")) {
            if ((r.seq ?? 0) <= h.last && h.items.some((x) => x.row?.seq === r.seq)) continue;
            h.last = Math.max(h.last, r.seq ?? 0);
            fresh.push({ n: ++h.n, row: r });
          } else {
            fresh.push({ n: ++h.n, stage: r });
          }
        }
        setSkipped((n) => n + got.skipped);
        h.items = [...fresh.reverse(), ...h.items].slice(0, most);
        if (h.frozen) setWaiting((n) => n + fresh.length);
        else setItems(h.items);
      },
    });
  }, [source, find]);

  const freeze = () => {
    const h = held.current;
    h.frozen = !h.frozen;
    setFrozen(h.frozen);
    if (!h.frozen) { setItems(h.items); setWaiting(0); }
  };
  const stop = () => { if (!held.current.frozen) freeze(); }; // who reads one does not want it to move
  const clear = () => { held.current.items = []; setItems([]); setSkipped(0); setWaiting(0); };
  const shown = find ? items.filter((i) => matches(i, find)) : items;
  return (
    <section class="panel tail" aria-label={`Tail of ${label(source)}`} data-tail={source}>
      <div class="bar">
        <label class="sr" for={"src-" + source}>Source</label>
        <select id={"src-" + source} value={source} onChange={(e) => change(e.currentTarget.value)}>
          {(sources.includes(source) ? sources : [source, ...sources]).map((s) => <option key={s} value={s}>{label(s)}</option>)}
        </select>
        <input type="search" placeholder="Search headers and payloads" aria-label="Search headers and payloads" data-search={first || undefined} value={text} onInput={(e) => setText(e.currentTarget.value)} maxLength={200} />
        <button onClick={freeze} aria-pressed={frozen} data-freeze={first || undefined}>{frozen ? "Go on" : "Freeze"}</button>
        <button onClick={clear}>Clear</button>
        <button class="quiet" onClick={close} aria-label={`Close the tail of ${label(source)}`}>×</button>
      </div>
      <p class="meta">
        <span class={"link " + state}><span class="pulse" aria-hidden="true" />{frozen ? "frozen" : state === "live" ? "live" : state === "lost" ? "connection lost" : "connecting"}</span>
        {" · "}<span>{shown.length} rows</span>{waiting > 0 && <> · <b data-waiting={waiting}>{count(waiting)} new</b></>}
        {" · "}<span data-skipped={skipped} title="Events that came faster than they can be read; the topic has them all">{count(skipped)} passed over</span>
        {state === "lost" && why && <span class="warn-text"> · {why}</span>}
      </p>
      {shown.length === 0 ? <p class="empty">{find ? `Nothing with “${find}” has come by yet.` : "Nothing has come by yet."}</p> : (
        <ol class="rows" tabIndex={0} aria-label={`Events of ${label(source)}, newest first`}>
          {shown.map((i) => <li key={i.n}>{i.row ? <TopicItem r={i.row} topic={source.slice(6)} opened={stop} /> : <StageItem r={i.stage!} opened={stop} />}</li>)}
        </ol>
      )}
    </section>
  );
}

function textOf(r: Row): string {
  return [r.subject, r.key ?? "", ...(r.headers ?? []).flat(), r.payload_base64 ? pretty("", r.payload_base64) : r.payload].join("\n");
}

function matches(i: Item, find: string): boolean {
  if (i.row) return textOf(i.row).includes(find);
  return textOf(i.stage!.before).includes(find) || i.stage!.after.some((a) => textOf(a).includes(find));
}

function line(r: Row): string {
  return r.payload_base64 ? `binary, ${bytes(r.bytes)}` : r.payload.slice(0, 300);
}

function TopicItem({ r, topic, opened }: { r: Row; topic: string; opened(): void }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(e) => { setOpen(e.currentTarget.open); if (e.currentTarget.open) opened(); }}>
      <summary><time>{clock(r.time)}</time> <span class="seq">{r.seq}</span> <span class="subject">{r.subject}</span> <span class="payload">{line(r)}</span></summary>
      {open && <EventDetail r={r} topic={topic} />}
    </details>
  );
}

function EventDetail({ r, topic }: { r: Row; topic?: string }) {
  const [whole, setWhole] = useState<Row | undefined>();
  const [error, setError] = useState("");
  const shownBytes = (r.payload_base64 ? atob(r.payload_base64).length : new Blob([r.payload]).size);
  const load = async () => {
    try {
      const m = await get<{ payload: string; payload_base64?: string }>(`/api/v1/topics/${encodeURIComponent(topic!)}/messages/${r.seq}`);
      setWhole({ ...r, ...m });
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
  };
  const v = whole ?? r;
  return (
    <div class="detail">
      <HeadersTable headers={r.headers ?? []} />
      <pre tabIndex={0}>{pretty(v.payload, v.payload_base64)}</pre>
      <p class="dim">{bytes(r.bytes)}{!whole && shownBytes < r.bytes && <>, the first {bytes(shownBytes)} shown. {topic && <button onClick={() => void load()}>Load it all</button>}</>} {error && <span class="warn-text">{error}</span>}</p>
    </div>
  );
}

export function HeadersTable({ headers }: { headers: [string, string][] }) {
  if (headers.length === 0) return <p class="dim">No headers.</p>;
  return <table class="plain headers"><tbody>{headers.map(([k, v], i) => <tr key={i}><th scope="row">{k}</th><td>{v}</td></tr>)}</tbody></table>;
}

function asText(r: Row): string {
  const head = [`subject: ${r.subject}`, ...(r.key ? [`key: ${r.key}`] : []), ...(r.headers ?? []).map(([k, v]) => `${k}: ${v}`)];
  return head.join("\n") + "\n\n" + pretty(r.payload, r.payload_base64);
}

function StageItem({ r, opened }: { r: StageRow; opened(): void }) {
  const [open, setOpen] = useState(false);
  const mark = { emitted: "running", dropped: "idle", retried: "waiting", "dead-lettered": "halted", fault: "halted" }[r.outcome] ?? "idle";
  return (
    <details onToggle={(e) => { setOpen(e.currentTarget.open); if (e.currentTarget.open) opened(); }} data-outcome={r.outcome}>
      <summary>
        <time>{clock(r.time)}</time> <span class="seq">{r.before.seq ?? "–"}</span> <span class={"state " + mark}>{r.outcome}{r.outputs > 1 ? ` ×${r.outputs}` : ""}</span>{" "}
        <span class="subject">{r.before.subject}</span> <span class="payload">{r.reason ? <em>{r.reason}</em> : line(r.before)}</span>
      </summary>
      {open && (
        <div class="detail">
          <p class="dim">partition {r.partition}, attempt {r.attempt}, {bytes(r.before.bytes)} in{r.after.map((a) => `, ${bytes(a.bytes)} out`).join("")}</p>
          {r.reason && <p class="warn-text wrap">{r.reason}</p>}
          {r.after.length === 0 ? <><h3>Before; nothing came after</h3><pre tabIndex={0}>{asText(r.before)}</pre></> : r.after.map((a, i) => (
            <div key={i}>
              <h3>Before → after{a.topic ? `, to topic ${a.topic}` : ""}{a.output && a.output !== "default" ? ` (${a.output})` : ""}{a.refused ? `: refused, ${a.refused}` : ""}</h3>
              <pre class="diff" tabIndex={0}>{diff(asText(r.before), asText(a)).map((l, j) => l.kind === " " ? <span key={j}>{"  " + l.text + "\n"}</span> : l.kind === "-" ? <del key={j}>{"− " + l.text + "\n"}</del> : <ins key={j}>{"+ " + l.text + "\n"}</ins>)}</pre>
            </div>
          ))}
          {r.outputs > r.after.length && r.after.length > 0 && <p class="dim">{r.outputs - r.after.length} outputs more.</p>}
        </div>
      )}
    </details>
  );
}
