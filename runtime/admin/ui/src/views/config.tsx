import { useEffect, useState } from "preact/hooks";
import { get } from "../api";
import { short } from "../format";
import { happenings } from "../store";
import { Head } from "../parts/parts";
import type { Configuration, Section } from "../types";

export function Config() {
  const [c, setC] = useState<Configuration | undefined>();
  const [error, setError] = useState("");
  const [all, setAll] = useState(false);
  const [text, setText] = useState("");
  const reloads = happenings.value.filter((h) => h.kind === "reload").length;
  useEffect(() => {
    get<Configuration>("/api/v1/config").then((x) => { setC(x); setError(""); }, (e: unknown) => setError(e instanceof Error ? e.message : String(e)));
  }, [reloads]);
  if (error) return <><Head title="Configuration" /><p class="banner bad" role="alert">{error}</p></>;
  if (!c) return <p class="empty">Loading…</p>;
  const words = text.toLowerCase();
  const sections = c.sections.map((s): Section => ({
    ...s, keys: s.keys.filter((k) => (all || !k.default) && (!words || `${s.name} ${k.key} ${k.value}`.toLowerCase().includes(words))),
  })).filter((s) => s.keys.length > 0);
  return (
    <>
      <Head title="Configuration">
        <label class="inline"><input type="checkbox" checked={all} onChange={() => setAll(!all)} /> defaults, too</label>
        <input type="search" placeholder="Search" aria-label="Search in the configuration" data-search value={text} onInput={(e) => setText(e.currentTarget.value)} />
      </Head>
      <p class="meta"><span class="mono wrap">{c.file}</span> · in effect <span class="mono">{short(c.hash)}</span></p>
      {c.file_hash !== c.hash && <p class="banner warn">{c.file_hash ? "The file says something else than what is in effect: it is about to be taken, was refused, or needs a restart." : "The file is not valid: what is in effect stays until it is."}</p>}
      <section aria-labelledby="cf-findings">
        <h2 id="cf-findings">Findings</h2>
        {c.findings.length === 0 ? <p class="fine">The file has no mistakes and nothing worth a warning.</p> : (
          <ul class="findings">
            {c.findings.map((f, i) => (
              <li key={i} class={f.severity === "error" ? "bad" : "warn"}>
                <span class="mono">{f.line > 0 ? `${f.line}:${f.col}` : ""}</span> <b>{f.severity === "error" ? f.code : `warning: ${f.code}`}</b> {f.message}{f.suggestion && <span class="dim"> (did you mean “{f.suggestion}”?)</span>}
              </li>
            ))}
          </ul>
        )}
      </section>
      <section aria-labelledby="cf-effect">
        <h2 id="cf-effect">In effect</h2>
        {sections.length === 0 && <p class="empty">Nothing matches.</p>}
        <div class="sections">
          {sections.map((s) => (
            <table key={s.name} class="plain toml" data-section={s.name}>
              <caption>[{s.name}]</caption>
              <tbody>{s.keys.map((k) => <tr key={k.key} class={k.default ? "default" : ""} title={k.doc}><th scope="row">{k.key}</th><td>{k.value}{k.default && <span class="dim">  default</span>}</td></tr>)}</tbody>
            </table>
          ))}
        </div>
      </section>
    </>
  );
}
