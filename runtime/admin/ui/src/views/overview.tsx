import { blockedWords, happenings, keep, now, pipelines, pointsOf, problems, status, ticks, topics, worstBlock } from "../store";
import { ago, bytes, clock, count, rate, seconds } from "../format";
import { Head, Meter, Scroll, Spark, State } from "../parts/parts";

export function Overview() {
  const st = status.value!;
  const ps = pipelines.value;
  const sum = (f: (p: (typeof ps)[number]) => number) => ps.reduce((n, p) => n + f(p), 0);
  const dead = topics.value.find((t) => t.name === "dead-letters")?.messages ?? 0;
  void ticks.value;
  return (
    <>
      <Head title="Overview">
        <span class="dim">up {ago(st.started, now.value)} · <a href="#/config">{st.config.split("/").pop() || "configuration"}</a></span>
      </Head>
      <Problems />
      <dl class="tiles">
        <Tile name="in" value={rate(sum((p) => p.rates.in))} unit="events/s" />
        <Tile name="out" value={rate(sum((p) => p.rates.out))} unit="events/s" />
        <Tile name="lag" value={count(sum((p) => p.lag))} unit="events" />
        <Tile name="in flight" value={count(sum((p) => p.in_flight))} unit="events" />
        <Tile name="dead letters" value={count(dead)} unit="events" href="#/dead-letters" />
        <Tile name="store" value={bytes(st.server.store_bytes)} unit={st.server.max_store ? `of ${bytes(st.server.max_store)}` : st.server.mode} />
      </dl>
      <section aria-labelledby="ov-pipelines">
        <h2 id="ov-pipelines">Pipelines</h2>
        {ps.length === 0 ? <p class="empty">No pipelines are configured.</p> : (
          <Scroll label="Pipelines">
            <table class="list">
              <thead><tr>
                <th scope="col">pipeline</th><th scope="col">state</th><th scope="col" class="num">in/s</th><th scope="col">last minutes</th><th scope="col" class="num">out/s</th>
                <th scope="col" class="num">lag</th><th scope="col" class="num">p50</th><th scope="col" class="num">p99</th><th scope="col">in flight</th><th scope="col" class="num">dead</th><th scope="col">held back by</th>
              </tr></thead>
              <tbody>
                {ps.map((p) => {
                  const w = worstBlock(p);
                  return (
                    <tr key={p.name} data-pipeline={p.name}>
                      <th scope="row"><a href={`#/pipelines/${encodeURIComponent(p.name)}`}>{p.name}</a></th>
                      <td><State p={p} /></td>
                      <td class="num">{rate(p.rates.in)}</td>
                      <td><Spark values={pointsOf(p.name).slice(-keep).map((x) => x.in)} label={`events a second into ${p.name}, now ${rate(p.rates.in)}`} /></td>
                      <td class="num">{rate(p.rates.out)}</td>
                      <td class="num">{count(p.lag)}</td>
                      <td class="num">{seconds(p.end_to_end.p50)}</td>
                      <td class="num">{seconds(p.end_to_end.p99)}</td>
                      <td class="nowrap"><Meter value={p.in_flight} most={p.max_in_flight} label={`${p.in_flight} of ${p.max_in_flight} events`} /> {count(p.in_flight)}</td>
                      <td class="num">{count(p.dead_lettered)}</td>
                      <td>{w ? <span class="warn-text">{Math.round(w.part * 100)} % {blockedWords[w.reason] ?? w.reason}</span> : <span class="dim">–</span>}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </Scroll>
        )}
      </section>
      <div class="columns">
        <section aria-labelledby="ov-topics">
          <h2 id="ov-topics">Topics</h2>
          <Scroll label="Topics">
            <table class="list">
              <thead><tr><th scope="col">topic</th><th scope="col" class="num">in/s</th><th scope="col" class="num">events</th><th scope="col" class="num">bytes</th><th scope="col" class="num">last</th></tr></thead>
              <tbody>
                {topics.value.map((t) => (
                  <tr key={t.name}>
                    <th scope="row"><a href={`#/tail?w=topic:${encodeURIComponent(t.name)}`} title="Watch it live">{t.name}</a></th>
                    <td class="num">{rate(t.rate)}</td><td class="num">{count(t.messages)}</td><td class="num">{bytes(t.bytes)}</td><td class="num">{ago(t.last_time, now.value)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        </section>
        <section aria-labelledby="ov-history">
          <h2 id="ov-history">Lately</h2>
          <Happenings most={10} />
        </section>
      </div>
    </>
  );
}

function Problems() {
  const list = problems.value;
  if (list.length === 0) return <p class="fine" data-problems="0">Nothing is wrong: every pipeline does what it should.</p>;
  return (
    <section class="problems" aria-label="Problems" data-problems={list.length}>
      <ul>
        {list.map((p, i) => (
          <li key={i} class={p.level}><a href={p.href}>{p.what}</a> {p.text}</li>
        ))}
      </ul>
    </section>
  );
}

function Tile({ name, value, unit, href }: { name: string; value: string; unit: string; href?: string }) {
  return <div class="tile"><dt>{href ? <a href={href}>{name}</a> : name}</dt><dd><b>{value}</b> <span>{unit}</span></dd></div>;
}

export function Happenings({ most, plugin }: { most: number; plugin?: string }) {
  const list = happenings.value.filter((h) => !plugin || (h.what === "plugin" && h.name === plugin)).slice(-most).reverse();
  if (list.length === 0) return <p class="empty">Nothing has happened lately.</p>;
  return (
    <ol class="timeline">
      {list.map((h, i) => (
        <li key={i} class={h.result === "failed" || h.result === "halted" || h.result === "quarantined" ? "bad" : h.result === "rolled_back" || h.result === "backoff" ? "warn" : ""}>
          <time dateTime={h.time}>{clock(h.time).slice(0, 8)}</time>
          <span><b>{h.what === "config" ? "configuration" : `${h.what} ${h.name}`}</b> {h.kind === "reload" ? reloadWords[h.result] ?? h.result : `is ${h.result}`}{h.error && <span class="dim">: {h.error}</span>}</span>
        </li>
      ))}
    </ol>
  );
}

const reloadWords: Record<string, string> = { ok: "was reloaded", failed: "was refused, the one before stays", rolled_back: "was rolled back" };
