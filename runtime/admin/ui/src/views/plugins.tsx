import { post } from "../api";
import { ago, bytes, count, dateTime, seconds, short } from "../format";
import { now, plugins, saturated, status } from "../store";
import { confirm, doing } from "../parts/dialog";
import { Field, Head, Meter, Scroll } from "../parts/parts";
import { Happenings } from "./overview";
import type { Generation, Plugin } from "../types";

async function reload(): Promise<void> {
  await doing(async () => {
    const r = await post<{ changes: unknown[] | null }>("/api/v1/reload");
    const n = r.changes?.length ?? 0;
    return n > 0 ? `the configuration was read again: ${n} ${n === 1 ? "change" : "changes"}` : "every file was read again: nothing in the configuration has changed";
  });
}

// nearby is a path as the configuration, whose directory it starts from, has it.
function nearby(path: string): string {
  const dir = (status.value?.config ?? "").replace(/[^/]*$/, "");
  return dir && path.startsWith(dir) ? path.slice(dir.length) : path;
}

export function Plugins({ name }: { name: string }) {
  const list = plugins.value;
  if (name) {
    const g = list.find((x) => x.name === name);
    return g ? <One g={g} /> : <p class="empty">There is no plugin {name}. <a href="#/plugins">See all plugins.</a></p>;
  }
  return (
    <>
      <Head title="Plugins"><button onClick={() => void reload()}>Read the files again</button></Head>
      <Scroll label="Plugins">
        <table class="list">
          <thead><tr><th scope="col">plugin</th><th scope="col">source</th><th scope="col">used by</th><th scope="col" class="num">generation</th><th scope="col">digest</th><th scope="col" class="num">loaded</th><th scope="col" class="num">memory</th><th scope="col">in flight</th></tr></thead>
          <tbody>
            {list.map((g) => {
              const why = saturated(g);
              return (
                <tr key={g.name} data-plugin={g.name}>
                  <th scope="row"><a href={`#/plugins/${encodeURIComponent(g.name)}`}>{g.name}</a>{why && <span class="tag warn" data-saturated={why}>saturated</span>}</th>
                  <td class="source" title={g.source}>{nearby(g.source)}</td>
                  <td>{g.pipelines.map((p, i) => <span key={p}>{i > 0 && ", "}<a href={`#/pipelines/${encodeURIComponent(p)}`}>{p}</a></span>)}</td>
                  <td class="num">{g.generation.number}</td><td class="mono">{short(g.generation.digest)}</td><td class="num">{ago(g.generation.loaded, now.value)} ago</td>
                  <td class="num">{bytes(g.generation.memory)}</td>
                  <td class="nowrap"><Meter value={g.in_flight} most={g.max_in_flight} label={`${g.in_flight} of ${g.max_in_flight} events`} /> {count(g.in_flight)} of {count(g.max_in_flight)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
      <section aria-labelledby="pg-lately"><h2 id="pg-lately">Lately</h2><Happenings most={20} /></section>
    </>
  );
}

const states: Record<string, string> = { active: "running", retired: "idle", refused: "halted", "rolled back": "waiting" };

function One({ g }: { g: Plugin }) {
  const history = g.history ?? [];
  const back = history.find((h) => h.state === "retired" && h.digest !== g.generation.digest);
  const rollback = async () => {
    const text = back
      ? `The pipelines go back to the version before, between two batches${` (${short(back.digest)}, loaded ${dateTime(back.loaded)})`}. The file's present version is not loaded again until the file changes.`
      : "The pipelines go back to the version before, between two batches.";
    if (!(await confirm(`Roll back ${g.name}?`, text, "Roll back"))) return;
    await doing(async () => {
      const n = await post<Generation>(`/api/v1/plugins/${encodeURIComponent(g.name)}/rollback`);
      return `plugin ${g.name} runs ${short(n.digest)} again, as generation ${n.number}`;
    });
  };
  const why = saturated(g);
  return (
    <>
      <Head title={g.name}>
        {why && <span class="tag warn">saturated: {why}</span>}
        <a class="button" href={`#/logs?plugin=${encodeURIComponent(g.name)}`}>Logs</a>
        <button onClick={() => void reload()}>Read the files again</button>
        <button class="primary" disabled={!back} title={back ? "" : "There is no earlier version to go back to"} onClick={() => void rollback()}>Roll back</button>
      </Head>
      <dl class="fields two">
        <Field name="source"><span class="wrap">{g.source}</span></Field>
        <Field name="used by">{g.pipelines.map((p, i) => <span key={p}>{i > 0 && ", "}<a href={`#/pipelines/${encodeURIComponent(p)}`}>{p}</a></span>)}</Field>
        <Field name="digest"><span class="mono wrap" data-digest>{g.generation.digest}</span></Field>
        <Field name="module">{bytes(g.generation.size)}, loaded in {seconds(g.generation.load_seconds)}</Field>
        <Field name="memory">{bytes(g.generation.memory)}</Field>
        <Field name="in flight"><Meter value={g.in_flight} most={g.max_in_flight} label={`${g.in_flight} of ${g.max_in_flight} events`} /> {count(g.in_flight)} of {count(g.max_in_flight)} events, {bytes(g.in_flight_bytes)} of {bytes(g.max_in_flight_bytes)}{g.max_rate ? `, at most ${count(g.max_rate)} events/s` : ""}</Field>
      </dl>
      <section aria-labelledby="pg-history">
        <h2 id="pg-history">Generations</h2>
        <Scroll label="Generations">
          <table class="list">
            <thead><tr><th scope="col" class="num">no.</th><th scope="col">state</th><th scope="col">digest</th><th scope="col">loaded</th><th scope="col">because of</th><th scope="col" class="num">size</th><th scope="col" class="num">load</th><th scope="col">reason</th></tr></thead>
            <tbody>
              {history.map((h) => (
                <tr key={h.number} data-generation={h.number}>
                  <th scope="row" class="num">{h.number}</th><td><span class={"state " + (states[h.state] ?? "idle")}>{h.state}</span></td><td class="mono">{short(h.digest)}</td>
                  <td class="nowrap">{dateTime(h.loaded)}</td><td>{h.origin}</td><td class="num">{bytes(h.size)}</td><td class="num">{seconds(h.load_seconds)}</td><td class="cause">{h.reason || <span class="dim">–</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      </section>
      <section aria-labelledby="pg-lately"><h2 id="pg-lately">Lately</h2><Happenings most={20} plugin={g.name} /></section>
    </>
  );
}
