import type { ComponentChildren } from "preact";
import { lookOf, type Look } from "../store";
import type { Pipeline } from "../types";

const words: Partial<Record<Look, string>> = { busy: "running", waiting: "" };

// State shows a pipeline's state by word, shape and colour.
export function State({ p }: { p: Pipeline }) {
  const look = lookOf(p);
  const word = look === "idle" ? "idle" : words[look] || p.state;
  return <span class={"state " + look} data-look={look}>{word}</span>;
}

export function Head({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="head"><h1>{title}</h1><div class="tools">{children}</div></div>;
}

// Meter is how much of a limit is used.
export function Meter({ value, most, label }: { value: number; most: number; label: string }) {
  const part = most > 0 ? Math.min(1, value / most) : 0;
  return (
    <svg class={part >= 0.9 ? "meter full" : "meter"} viewBox="0 0 60 6" preserveAspectRatio="none" role="img" aria-label={label}>
      <rect width="60" height="6" rx="3" class="back" />
      {part > 0 && <rect width={Math.max(2, 60 * part)} height="6" rx="3" class="front" />}
    </svg>
  );
}

// Spark is a small line of the last minutes; the number stands beside it.
export function Spark({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(1, ...values), w = 96, h = 22;
  const step = w / Math.max(1, values.length - 1);
  const points = values.map((v, i) => `${(i * step).toFixed(1)},${(h - 2 - (v / most) * (h - 4)).toFixed(1)}`).join(" ");
  return (
    <svg class="spark" viewBox={`0 0 ${w} ${h}`} role="img" aria-label={label}>
      {values.length > 1 && <polyline points={points} />}
    </svg>
  );
}

export function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return <div class="field"><dt>{name}</dt><dd>{children}</dd></div>;
}

// Scroll holds a table that is wider than the page; it can be reached and moved by key.
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  return <div class="scroll" role="region" aria-label={label} tabIndex={0}>{children}</div>;
}
