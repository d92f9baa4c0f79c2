import { useState } from "preact/hooks";
import { clock, count } from "../format";
import { go, route } from "../route";
import { logLines, logMissed, plugins } from "../store";
import { Head } from "../parts/parts";
import type { Line } from "../types";

const levels: [number, string][] = [[-4, "debug"], [0, "info"], [4, "warn"], [8, "error"]];

function levelOf(n: number): string {
  let word = "debug";
  for (const [from, name] of levels) if (n >= from) word = name;
  return word;
}

export function Logs() {
  const plugin = route.value.query.get("plugin") ?? "";
  const [least, setLeast] = useState(-4);
  const [text, setText] = useState("");
  const [frozen, setFrozen] = useState<Line[] | undefined>();
  const lines = (frozen ?? logLines.value).filter((l) => (!plugin || l.plugin === plugin) && l.level >= least && (!text || l.line.includes(text)));
  const names = [...new Set([...plugins.value.map((p) => p.name), ...logLines.value.map((l) => l.plugin)])].sort();
  return (
    <>
      <Head title="Logs"><span class="dim">what plugins say; newest first</span></Head>
      <div class="bar">
        <label class="inline">Plugin<select value={plugin} onChange={(e) => go(["logs"], { plugin: e.currentTarget.value })}><option value="">any</option>{names.map((n) => <option key={n} value={n}>{n}</option>)}</select></label>
        <label class="inline">Level<select value={least} onChange={(e) => setLeast(Number(e.currentTarget.value))}>{levels.map(([n, w]) => <option key={n} value={n}>{w} and above</option>)}</select></label>
        <input type="search" placeholder="Search" aria-label="Search in the lines" data-search value={text} onInput={(e) => setText(e.currentTarget.value)} />
        <button data-freeze aria-pressed={!!frozen} onClick={() => setFrozen(frozen ? undefined : logLines.value)}>{frozen ? "Go on" : "Freeze"}</button>
      </div>
      <p class="meta">{count(lines.length)} lines{logMissed.value > 0 && <> · {count(logMissed.value)} came faster than they could be sent</>}</p>
      {lines.length === 0 ? <p class="empty">{logLines.value.length === 0 ? "No plugin has said anything yet." : "No line matches."}</p> : (
        <ol class="rows log" tabIndex={0} aria-label="Log lines">
          {[...lines].reverse().map((l, i) => (
            <li key={i} class={levelOf(l.level)}>
              <time dateTime={l.time}>{clock(l.time)}</time> <span class={"level " + levelOf(l.level)}>{levelOf(l.level)}</span>{" "}
              <span class="subject">{l.plugin}<span class="dim"> {l.pipeline}/{l.partition}</span></span> <span class="text">{l.line}</span>
            </li>
          ))}
        </ol>
      )}
    </>
  );
}
