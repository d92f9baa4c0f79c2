import { post } from "../api";
import { blockedWords, lookOf, now, pipelines, plugins, pointsOf, saturated, ticks } from "../store";
import { ago, bytes, count, rate, seconds, short } from "../format";
import { Chart } from "../parts/chart";
import { confirm, doing } from "../parts/dialog";
import { Field, Head, Meter, Scroll, State } from "../parts/parts";
import type { Pipeline } from "../types";

export function PipelineView({ name }: { name: string }) {
  const list = pipelines.value;
  if (!name) return <PipelineList />;
  const p = list.find((x) => x.name === name);
  if (!p) return <p class="empty">There is no pipeline {name}. <a href="#/pipelines">See all pipelines.</a></p>;
  return <One p={p} />;
}

function PipelineList() {
  const list = pipelines.value;
  return (
    <>
      <Head title="Pipelines" />
      {list.length === 0 ? <p class="empty">No pipelines are configured.</p> : (
        <ul class="cards">
          {list.map((p) => (
            <li key={p.name} class="panel">
              <h2><a href={`#/pipelines/${encodeURIComponent(p.name)}`}>{p.name}</a> <State p={p} /></h2>
              <p class="flow">{p.from} <i>→</i> {p.stages.map((s, i) => <span key={s}>{i > 0 && <i> → </i>}<b>{s}</b></span>)} <i>→</i> {[...new Set(Object.values(p.outputs))].join(", ") || "–"}</p>
              <p class="dim">{rate(p.rates.in)} in/s · {rate(p.rates.out)} out/s · lag {count(p.lag)} · p99 {seconds(p.end_to_end.p99)}</p>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

async function change(p: Pipeline, verb: "pause" | "resume"): Promise<void> {
  const text = verb === "pause"
    ? `${p.name} finishes what is in flight and reads nothing more until it is resumed, also over restarts. Its topic keeps the events.`
    : `${p.name} reads on behind the last event it has finished.`;
  if (!(await confirm(`${verb === "pause" ? "Pause" : "Resume"} ${p.name}?`, text, verb === "pause" ? "Pause" : "Resume"))) return;
  await doing(async () => {
    await post(`/api/v1/pipelines/${encodeURIComponent(p.name)}/${verb}`);
    return `pipeline ${p.name} is ${verb}d`;
  });
}

function One({ p }: { p: Pipeline }) {
  void ticks.value;
  const points = pointsOf(p.name);
  const times = points.map((x) => x.t);
  const look = lookOf(p);
  const resting = look === "paused" || look === "halted" || p.state === "backoff";
  const faults = Object.entries(p.faults).sort((a, b) => b[1] - a[1]);
  const blocked = Object.entries(p.blocked).sort((a, b) => b[1] - a[1]);
  return (
    <>
      <Head title={p.name}>
        <State p={p} />
        <a class="button" href={`#/tail?w=${encodeURIComponent(`stage:${p.name}/${p.stages[0]}`)}`}>Watch</a>
        {resting ? <button onClick={() => void change(p, "resume")}>Resume</button> : <button onClick={() => void change(p, "pause")}>Pause</button>}
      </Head>
      {p.reason && <p class={"banner " + (look === "halted" || look === "stalled" ? "bad" : "warn")}>{p.reason}</p>}
      <p class="flow">
        <a href={`#/tail?w=topic:${encodeURIComponent(p.from)}`}>{p.from}</a> <i>→</i> {p.stages.map((s, i) => <span key={s}>{i > 0 && <i> → </i>}<b>{s}</b></span>)} <i>→</i>{" "}
        {Object.entries(p.outputs).map(([out, t], i) => <span key={out}>{i > 0 && ", "}<a href={`#/tail?w=topic:${encodeURIComponent(t)}`}>{t}</a>{out !== "default" && <span class="dim"> ({out})</span>}</span>)}
        <span class="dim"> · {p.delivery} · {p.partitions} {p.partitions === 1 ? "partition" : "partitions"}</span>
      </p>
      <div class="charts">
        <Chart title="Throughput, events/s" times={times} format={rate} lines={[
          { label: "in", color: "--c1", values: points.map((x) => x.in) },
          { label: "out", color: "--c2", values: points.map((x) => x.out) },
          { label: "done", color: "--c3", values: points.map((x) => x.done), dash: true },
        ]} />
        <Chart title="Time from stored to finished" times={times} format={seconds} lines={[
          { label: "p50", color: "--c1", values: points.map((x) => x.p50) },
          { label: "p99", color: "--c4", values: points.map((x) => x.p99) },
        ]} />
        <Chart title="Time of a call, slowest stage" times={times} format={seconds} lines={[
          { label: "p50", color: "--c1", values: points.map((x) => x.call50) },
          { label: "p99", color: "--c4", values: points.map((x) => x.call99) },
        ]} />
        <Chart title="In flight and lag, events" times={times} format={count} lines={[
          { label: "in flight", color: "--c2", values: points.map((x) => x.inFlight) },
          { label: "limit", color: "--c5", values: points.map((x) => x.limit), dash: true },
          { label: "lag", color: "--c1", values: points.map((x) => x.lag) },
        ]} />
        <Chart title="Events a call, first busy stage" times={times} format={(v) => (v < 10 ? v.toFixed(1) : count(v))} lines={[
          { label: "batch", color: "--c2", values: points.map((x) => x.batch) },
        ]} />
        <Chart title="Not passed on, events/s" times={times} format={rate} lines={[
          { label: "dropped", color: "--c3", values: points.map((x) => x.dropped) },
          { label: "retried", color: "--c2", values: points.map((x) => x.retried) },
          { label: "dead-lettered", color: "--c4", values: points.map((x) => x.dead) },
        ]} />
      </div>
      <section aria-labelledby="pl-stages">
        <h2 id="pl-stages">Stages</h2>
        <Scroll label="Stages">
          <table class="list">
            <thead><tr>
              <th scope="col">stage</th><th scope="col">plugin</th><th scope="col" class="num">in/s</th><th scope="col" class="num">out/s</th><th scope="col" class="num">batch</th>
              <th scope="col" class="num">call p50</th><th scope="col" class="num">p99</th><th scope="col" class="num">busy</th><th scope="col">in flight</th>
              <th scope="col" class="num">in</th><th scope="col" class="num">out</th><th scope="col" class="num">dropped</th><th scope="col" class="num">retried</th><th scope="col" class="num">dead</th><th scope="col">faults</th>
            </tr></thead>
            <tbody>
              {p.stage_stats.map((s) => {
                const g = plugins.value.find((x) => x.name === s.plugin);
                const why = g ? saturated(g) : "";
                return (
                  <tr key={s.name} data-stage={s.name}>
                    <th scope="row"><a href={`#/tail?w=${encodeURIComponent(`stage:${p.name}/${s.name}`)}`} title="Watch before and after">{s.name}</a></th>
                    <td class="nowrap"><a href={`#/plugins/${encodeURIComponent(s.plugin)}`}>{s.plugin}</a>{g && <span class="dim mono"> {short(g.generation.digest).slice(0, 8)}</span>}{why && <span class="tag warn" data-saturated={why}>saturated</span>}</td>
                    <td class="num">{rate(s.rate_in)}</td><td class="num">{rate(s.rate_out)}</td><td class="num">{s.batch ? s.batch.toFixed(s.batch < 10 ? 1 : 0) : "–"}</td>
                    <td class="num">{seconds(s.call.p50)}</td><td class="num">{seconds(s.call.p99)}</td><td class="num">{(s.busy * 100).toFixed(s.busy < 0.1 ? 1 : 0)} %</td>
                    <td class="nowrap">{g ? <><Meter value={g.in_flight} most={g.max_in_flight} label={`${g.in_flight} of ${g.max_in_flight} events`} /> {count(g.in_flight)} of {count(g.max_in_flight)}{g.max_rate ? `, ${count(g.max_rate)}/s` : ""}</> : "–"}</td>
                    <td class="num">{count(s.events_in)}</td><td class="num">{count(s.events_out)}</td><td class="num">{count(s.dropped)}</td><td class="num">{count(s.retried)}</td><td class="num">{count(s.dead_lettered)}</td>
                    <td>{Object.entries(s.faults ?? {}).map(([k, n]) => `${k} ${count(n)}`).join(", ") || <span class="dim">none</span>}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroll>
      </section>
      <div class="columns">
        <section aria-labelledby="pl-held">
          <h2 id="pl-held">Held back, last seconds</h2>
          {blocked.length === 0 ? <p class="empty">By nothing.</p> : (
            <table class="list"><thead><tr><th scope="col">by</th><th scope="col" class="num">of the time</th><th scope="col" class="num">in all</th></tr></thead>
              <tbody>{blocked.map(([r, part]) => <tr key={r}><th scope="row">{blockedWords[r] ?? r}</th><td class="num">{Math.round(part * 100)} %</td><td class="num">{seconds(p.backpressure_seconds[r])}</td></tr>)}</tbody></table>
          )}
          <h2>Faults since the start</h2>
          {faults.length === 0 ? <p class="empty">None.</p> : (
            <table class="list"><thead><tr><th scope="col">kind</th><th scope="col" class="num">times</th></tr></thead>
              <tbody>{faults.map(([k, n]) => <tr key={k}><th scope="row">{k}</th><td class="num">{count(n)}</td></tr>)}</tbody></table>
          )}
          {p.last_fault && <p class="wrap"><span class="dim">last {ago(p.last_fault.time, now.value)} ago, {p.last_fault.stage}: </span>{p.last_fault.message}</p>}
        </section>
        <section aria-labelledby="pl-counts">
          <h2 id="pl-counts">Since the start</h2>
          <dl class="fields">
            <Field name="in">{count(p.events_in)}</Field><Field name="out">{count(p.events_out)}</Field><Field name="dropped">{count(p.dropped)}</Field>
            <Field name="retried">{count(p.retried)}</Field>
            <Field name="dead letters">{p.dead_lettered > 0 ? <a href={`#/dead-letters?pipeline=${encodeURIComponent(p.name)}`}>{count(p.dead_lettered)}</a> : "0"}</Field>
            <Field name="lag">{count(p.lag)}</Field><Field name="finished up to">{p.acked_seq}</Field>
            <Field name="in flight">{count(p.in_flight)} events, {bytes(p.in_flight_bytes)}</Field>
            <Field name="restarts">{p.restarts}</Field><Field name="quarantines">{p.quarantines}</Field>
            {p.last_error && <Field name="last error"><span class="wrap">{p.last_error}</span></Field>}
          </dl>
        </section>
      </div>
    </>
  );
}
