import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "preact/hooks";
import { dark } from "../theme";

export interface Line { label: string; color: string; values: (number | null)[]; dash?: boolean }

interface Props { title: string; times: number[]; lines: Line[]; format(v: number): string; height?: number }

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Chart draws the last minutes, with a table of the same lines beside it.
export function Chart({ title, times, lines, format, height = 140 }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const data = [times, ...lines.map((l) => l.values)] as uPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const el = box.current!;
    const axis = { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const u = new uPlot({
      width: Math.max(200, el.clientWidth), height,
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, size: 26, gap: 4, space: 70, values: (_u, ticks) => ticks.map((t) => { const d = new Date(t * 1000); return `${d.getHours()}:${String(d.getMinutes()).padStart(2, "0")}:${String(d.getSeconds()).padStart(2, "0")}`; }) },
        { ...axis, size: 64, space: 34, values: (_u, ticks) => ticks.map((v) => (v === 0 ? "0" : format(v))) },
      ],
      series: [{}, ...lines.map((l) => ({ label: l.label, stroke: css(l.color), width: 1.6, dash: l.dash ? [5, 4] : undefined, points: { show: false }, spanGaps: false }))],
    }, latest.current, el);
    plot.current = u;
    const sized = new ResizeObserver(() => u.setSize({ width: Math.max(200, el.clientWidth), height }));
    sized.observe(el);
    return () => { sized.disconnect(); u.destroy(); };
  }, [dark.value, lines.map((l) => l.label).join()]);

  useEffect(() => { plot.current?.setData(data); });

  const known = (l: Line) => l.values.filter((v): v is number => v !== null);
  const cell = (v: number | undefined) => (v === undefined || !isFinite(v) ? "–" : format(v));
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div class="plot" ref={box} aria-hidden="true" />
      <table class="beside">
        <thead><tr><th scope="col"><span class="sr">{title}</span></th><th scope="col">now</th><th scope="col">mean</th><th scope="col">most</th></tr></thead>
        <tbody>
          {lines.map((l) => {
            const v = known(l);
            return (
              <tr key={l.label}>
                <th scope="row"><svg viewBox="0 0 14 4" width="14" height="4" aria-hidden="true"><line x1="0" y1="2" x2="14" y2="2" class={"c" + l.color} stroke-width="3" stroke-dasharray={l.dash ? "4 3" : undefined} /></svg> {l.label}</th>
                <td>{cell(l.values[l.values.length - 1] ?? undefined)}</td>
                <td>{cell(v.length ? v.reduce((a, b) => a + b, 0) / v.length : undefined)}</td>
                <td>{cell(v.length ? Math.max(...v) : undefined)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </figure>
  );
}
