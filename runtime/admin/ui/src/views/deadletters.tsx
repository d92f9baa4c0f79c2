import { useEffect, useRef, useState } from "preact/hooks";
import { get, post } from "../api";
import { ago, bytes, dateTime, hex, pretty, short } from "../format";
import { go, route } from "../route";
import { now, pipelines, plugins, topics } from "../store";
import { confirm, doing } from "../parts/dialog";
import { Field, Head, Scroll } from "../parts/parts";
import { HeadersTable } from "./tail";
import type { DeadLetter } from "../types";

const page = 50;

interface Filter { pipeline: string; plugin: string; fault: string }

function filterOf(q: URLSearchParams): Filter {
  return { pipeline: q.get("pipeline") ?? "", plugin: q.get("plugin") ?? "", fault: q.get("fault") ?? "" };
}

export function DeadLetters({ id }: { id: string }) {
  const q = route.value.query;
  const filter = filterOf(q);
  const before = q.get("before") ?? "";
  const [list, setList] = useState<DeadLetter[] | undefined>();
  const [error, setError] = useState("");
  const [chosen, setChosen] = useState<Set<number>>(new Set());
  const [version, setVersion] = useState(0);
  const topic = topics.value.find((t) => t.name === "dead-letters");
  const seen = useRef(0);
  const key = JSON.stringify([filter, before, version]);

  useEffect(() => {
    let gone = false;
    const params = new URLSearchParams({ limit: String(page) });
    for (const [k, v] of Object.entries(filter)) if (v) params.set(k, v);
    if (before) params.set("before", before);
    seen.current = topic?.last_seq ?? 0;
    get<DeadLetter[]>("/api/v1/dead-letters?" + params).then(
      (l) => { if (!gone) { setList(l); setError(""); setChosen(new Set()); } },
      (e: unknown) => { if (!gone) setError(e instanceof Error ? e.message : String(e)); },
    );
    return () => { gone = true; };
  }, [key]);

  const reload = () => setVersion((v) => v + 1);
  const set = (f: Partial<Filter>) => go(["dead-letters"], { ...filter, ...f });
  const filtered = Object.values(filter).some(Boolean);
  const what = filtered ? "all that match" : "all";
  const named = Object.entries(filter).filter(([, v]) => v).map(([k, v]) => `${k} ${v}`).join(", ");
  const bulk = async (verb: "redrive" | "purge", ids: number[]) => {
    const which = ids.length > 0 ? `${ids.length} dead ${ids.length === 1 ? "letter" : "letters"}` : filtered ? `every dead letter of ${named}` : `all ${topic?.messages ?? ""} dead letters`;
    const text = verb === "redrive"
      ? `${which}: the original events are published to their topics again, and the records removed. Every pipeline that reads the topic gets them.`
      : `${which}: the events are removed for good.`;
    if (!(await confirm(verb === "redrive" ? "Redrive?" : "Purge?", text[0].toUpperCase() + text.slice(1), verb === "redrive" ? "Redrive" : "Purge", verb === "purge"))) return;
    const selection = ids.length > 0 ? { ids } : filtered ? Object.fromEntries(Object.entries(filter).filter(([, v]) => v)) : { all: true };
    await doing(async () => {
      const { count } = await post<{ count: number }>(`/api/v1/dead-letters/${verb}`, selection);
      return `${count} ${count === 1 ? "event was" : "events were"} ${verb === "redrive" ? "redriven" : "purged"}`;
    });
    if (id) go(["dead-letters"], { ...filter });
    reload();
  };
  if (id) return <One id={id} key={id} back={() => { go(["dead-letters"], { ...filter }); reload(); }} />;
  const faults = [...new Set(pipelines.value.flatMap((p) => p.stage_stats.flatMap((s) => Object.keys(s.faults ?? {}))).concat("handler_error", "panic", "trap", "deadline"))].sort();
  // The last sequence of an empty topic may be 0: never more are new than are stored.
  const fresh = topic && list ? Math.min((topic.last_seq ?? 0) - seen.current, topic.messages) : 0;
  const all = list && list.length > 0 && list.every((d) => chosen.has(d.id));
  return (
    <>
      <Head title="Dead letters"><span class="dim">{topic ? topic.messages.toLocaleString("en") : "–"} stored</span></Head>
      <div class="bar">
        <label class="inline">Pipeline<Pick value={filter.pipeline} options={pipelines.value.map((p) => p.name)} onChange={(v) => set({ pipeline: v })} /></label>
        <label class="inline">Plugin<Pick value={filter.plugin} options={plugins.value.map((p) => p.name)} onChange={(v) => set({ plugin: v })} /></label>
        <label class="inline">Fault<Pick value={filter.fault} options={faults} onChange={(v) => set({ fault: v })} /></label>
        <span class="grow" />
        {fresh > 0 && <button onClick={reload} data-fresh={fresh}>{fresh} new</button>}
        <button disabled={!list?.length} onClick={() => void bulk("redrive", [...chosen])}>Redrive {chosen.size || what}</button>
        <button class="danger" disabled={!list?.length} onClick={() => void bulk("purge", [...chosen])}>Purge {chosen.size || what}</button>
      </div>
      {error && <p class="banner bad" role="alert">{error}</p>}
      {!list ? <p class="empty">Loading…</p> : list.length === 0 ? <p class="empty">{filtered || before ? "No dead letters match." : "There are no dead letters: every event was processed."}</p> : (
        <Scroll label="Dead letters">
          <table class="list letters">
            <thead><tr>
              <th scope="col"><input type="checkbox" aria-label="Choose all on this page" checked={!!all} onChange={() => setChosen(all ? new Set() : new Set(list.map((d) => d.id)))} /></th>
              <th scope="col" class="num">id</th><th scope="col" class="num">age</th><th scope="col">pipeline / stage</th><th scope="col">fault</th><th scope="col">source</th><th scope="col">cause</th>
            </tr></thead>
            <tbody>
              {list.map((d) => (
                <tr key={d.id} data-letter={d.id}>
                  <td><input type="checkbox" aria-label={`Choose ${d.id}`} checked={chosen.has(d.id)} onChange={() => { const c = new Set(chosen); if (!c.delete(d.id)) c.add(d.id); setChosen(c); }} /></td>
                  <td class="num"><a href={`#/dead-letters/${d.id}`}>{d.id}</a></td><td class="num">{ago(d.time, now.value || Date.now())}</td>
                  <td>{d.pipeline} / {d.stage}</td><td>{d.fault}</td><td class="mono">{d.source_topic}/{d.source_seq}</td><td class="cause">{d.cause}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      <div class="bar pages">
        <button disabled={!before} onClick={() => go(["dead-letters"], { ...filter })}>Newest</button>
        <button disabled={!list || list.length < page} onClick={() => go(["dead-letters"], { ...filter, before: String(list![list!.length - 1].id) })}>Older</button>
        {list && list.length > 0 && <span class="dim">{list[0].id} to {list[list.length - 1].id}</span>}
      </div>
    </>
  );
}

function Pick({ value, options, onChange }: { value: string; options: string[]; onChange(v: string): void }) {
  return (
    <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
      <option value="">any</option>{(options.includes(value) || !value ? options : [value, ...options]).map((o) => <option key={o} value={o}>{o}</option>)}
    </select>
  );
}

function One({ id, back }: { id: string; back(): void }) {
  const [d, setD] = useState<DeadLetter | undefined>();
  const [error, setError] = useState("");
  const [editing, setEditing] = useState(false);
  useEffect(() => {
    get<DeadLetter>(`/api/v1/dead-letters/${encodeURIComponent(id)}`).then(setD, (e: unknown) => setError(e instanceof Error ? e.message : String(e)));
  }, [id]);
  if (error) return <><Head title={`Dead letter ${id}`} /><p class="banner bad" role="alert">{error}</p><p><a href="#/dead-letters">All dead letters</a></p></>;
  if (!d) return <p class="empty">Loading…</p>;
  const headers = Object.entries(d.headers ?? {}).flatMap(([k, vs]) => vs.map((v): [string, string] => [k, v]));
  const act = async (verb: "redrive" | "purge") => {
    const text = verb === "redrive" ? `The event is published to ${d.source_topic} as ${d.source_subject} again, and this record removed.` : "The event is removed for good.";
    if (!(await confirm(verb === "redrive" ? `Redrive ${id}?` : `Purge ${id}?`, text, verb === "redrive" ? "Redrive" : "Purge", verb === "purge"))) return;
    if (await doing(async () => {
      const { count } = await post<{ count: number }>(`/api/v1/dead-letters/${verb}`, { ids: [d.id] });
      return count === 1 ? `dead letter ${id} was ${verb === "redrive" ? "redriven" : "purged"}` : `dead letter ${id} stays: no topic takes it`;
    })) back();
  };
  return (
    <>
      <Head title={`Dead letter ${d.id}`}>
        <a class="button" href="#/dead-letters">All</a>
        {!editing && <button onClick={() => setEditing(true)}>Edit and redrive</button>}
        <button class="primary" onClick={() => void act("redrive")}>Redrive</button>
        <button class="danger" onClick={() => void act("purge")}>Purge</button>
      </Head>
      <p class="banner bad"><b>{d.fault}</b> {d.cause.startsWith(d.fault + ": ") ? d.cause.slice(d.fault.length + 2) : d.cause}</p>
      {d.quarantine && <p class="banner warn">After this event the pipeline was set aside: {d.quarantine}</p>}
      {editing && <Edit d={d} headers={headers} close={() => setEditing(false)} done={back} />}
      <div class="columns">
        <section aria-labelledby="dl-event">
          <h2 id="dl-event">The event</h2>
          <dl class="fields">
            <Field name="subject"><span class="mono">{d.source_subject}</span></Field>
            <Field name="source"><a href={`#/tail?w=topic:${encodeURIComponent(d.source_topic)}`}>{d.source_topic}</a>, sequence {d.source_seq}</Field>
          </dl>
          <HeadersTable headers={headers} />
          <pre tabIndex={0} data-payload>{d.payload_base64 ? hex(d.payload_base64) : pretty(d.payload.slice(0, 64 << 10))}</pre>
          {d.payload.length > 64 << 10 && <p class="dim">The first 64 KiB of {bytes(new Blob([d.payload]).size)}.</p>}
        </section>
        <section aria-labelledby="dl-why">
          <h2 id="dl-why">What happened</h2>
          <dl class="fields">
            <Field name="when">{dateTime(d.time)}</Field>
            <Field name="pipeline"><a href={`#/pipelines/${encodeURIComponent(d.pipeline)}`}>{d.pipeline}</a> / {d.stage}</Field>
            <Field name="plugin"><a href={`#/plugins/${encodeURIComponent(d.plugin)}`}>{d.plugin}</a> <span class="mono dim">{short(d.digest)}</span></Field>
            <Field name="attempts">{d.attempts}</Field>
          </dl>
          <h3>Guest stack</h3>
          {d.detail ? <pre class="stack" tabIndex={0}>{d.detail.split(" | ").join("\n")}</pre> : <p class="empty">There is none: no call ended in a fault of the module.</p>}
        </section>
      </div>
    </>
  );
}

function Edit({ d, headers, close, done }: { d: DeadLetter; headers: [string, string][]; close(): void; done(): void }) {
  const [subject, setSubject] = useState(d.source_subject);
  const [head, setHead] = useState(headers.map(([k, v]) => `${k}: ${v}`).join("\n"));
  const [payload, setPayload] = useState(d.payload_base64 ?? d.payload);
  const binary = !!d.payload_base64;
  const send = async () => {
    const map: Record<string, string[]> = {};
    for (const l of head.split("\n").filter((x) => x.trim())) {
      const at = l.indexOf(":");
      if (at < 1) throw new Error(`header “${l}” is not “Name: value”`);
      (map[l.slice(0, at).trim()] ??= []).push(l.slice(at + 1).trim());
    }
    const r = await post<{ topic: string; seq: number }>(`/api/v1/dead-letters/${d.id}/redrive`, {
      subject, headers: map, ...(binary ? { payload_base64: payload.replace(/\s/g, "") } : { payload }),
    });
    return `redriven as event ${r.seq} of topic ${r.topic}`;
  };
  return (
    <form class="panel edit" onSubmit={(e) => { e.preventDefault(); void doing(send).then((ok) => { if (ok) done(); }); }}>
      <h2>Edit and redrive</h2>
      <label>Subject<input value={subject} onInput={(e) => setSubject(e.currentTarget.value)} required class="mono" /></label>
      <label>Headers, one “Name: value” a line<textarea rows={Math.min(6, 1 + headers.length)} value={head} onInput={(e) => setHead(e.currentTarget.value)} class="mono" spellcheck={false} /></label>
      <label>{binary ? "Payload in Base64: it is no text" : "Payload"}<textarea rows={10} value={payload} onInput={(e) => setPayload(e.currentTarget.value)} class="mono" spellcheck={false} data-edit-payload /></label>
      <p class="dim">It goes to topic {d.source_topic}; every pipeline that reads it gets the event. The record is removed when it is stored.</p>
      <div class="actions"><button type="button" onClick={close}>Cancel</button><button class="primary" data-send>Redrive</button></div>
    </form>
  );
}
