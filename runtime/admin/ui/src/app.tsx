import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { signIn, signOut, wanted, who } from "./api";
import { route } from "./route";
import { link, linkWhy, problems, status, topics } from "./store";
import { dark, switchTheme } from "./theme";
import { count } from "./format";
import { Dialogs } from "./parts/dialog";
import { Overview } from "./views/overview";
import { Topology } from "./views/topology";
import { PipelineView } from "./views/pipeline";
import { Tail } from "./views/tail";
import { DeadLetters } from "./views/deadletters";
import { Plugins } from "./views/plugins";
import { Logs } from "./views/logs";
import { Config } from "./views/config";

interface Place { path: string; name: string; key: string; view: () => ComponentChildren }

const places: Place[] = [
  { path: "", name: "Overview", key: "1", view: () => <Overview /> },
  { path: "topology", name: "Topology", key: "2", view: () => <Topology /> },
  { path: "pipelines", name: "Pipelines", key: "3", view: () => <PipelineView name={route.value.path[1] ?? ""} /> },
  { path: "tail", name: "Live tail", key: "4", view: () => <Tail /> },
  { path: "dead-letters", name: "Dead letters", key: "5", view: () => <DeadLetters id={route.value.path[1] ?? ""} /> },
  { path: "plugins", name: "Plugins", key: "6", view: () => <Plugins name={route.value.path[1] ?? ""} /> },
  { path: "logs", name: "Logs", key: "7", view: () => <Logs /> },
  { path: "config", name: "Configuration", key: "8", view: () => <Config /> },
];

const helpOpen = signal(false);

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function onKey(e: KeyboardEvent): void {
  if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
  if (typing(e.target)) {
    if (e.key === "Escape") (e.target as HTMLElement).blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const place = places.find((p) => p.key === e.key);
  if (place) location.hash = "#/" + place.path;
  else if (e.key === "t") switchTheme();
  else if (e.key === "?") helpOpen.value = true;
  else if (e.key === "/") document.querySelector<HTMLElement>("[data-search]")?.focus();
  else if (e.key === "f") document.querySelector<HTMLElement>("[data-freeze]")?.click();
  else return;
  e.preventDefault();
}

export function App() {
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const here = places.find((p) => p.path === (route.value.path[0] ?? ""));
  useEffect(() => {
    document.title = `${here?.name ?? "Nothing here"} · Wasmill`;
  }, [here]);
  if (wanted.value && !status.value) return <main class="login"><div class="panel"><SignIn /></div></main>;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href="#/" aria-label="Wasmill, overview"><Mill /> Wasmill</a>
        <Readiness />
        <span class="grow" />
        <LinkState />
        {who.value?.expires
          ? <button class="quiet" data-who onClick={() => void signOut()} title={`${who.value.name} has the role ${who.value.role}`}>Sign out {who.value.name}</button> : null}
        <button class="quiet" onClick={switchTheme} aria-label={dark.value ? "Light theme" : "Dark theme"} title="Light or dark (t)">{dark.value ? "☀" : "☾"}</button>
        <button class="quiet" onClick={() => (helpOpen.value = true)} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">?</button>
      </header>
      <nav aria-label="Views">
        {places.map((p) => (
          <a key={p.path} href={"#/" + p.path} aria-current={p === here ? "page" : undefined} title={`${p.name} (${p.key})`}>
            {p.name}<Hint place={p.path} />
          </a>
        ))}
      </nav>
      <main id="main" tabIndex={-1}>
        {status.value || here?.path === "config" || here?.path === "dead-letters"
          ? here ? here.view() : <p class="empty">There is nothing at this address. <a href="#/">Go to the overview.</a></p>
          : <p class="empty" role="status">{link.value === "lost" ? `Waiting for the instance: ${linkWhy.value}` : "Loading…"}</p>}
      </main>
      <Help />
      <Dialogs />
      {wanted.value && <Ended />}
    </>
  );
}

function Mill() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <rect width="32" height="32" rx="7" class="mill" />
      <path d="M6 10l4 12 6-10 6 10 4-12" fill="none" stroke="#fff" stroke-width="2.6" stroke-linejoin="round" stroke-linecap="round" />
    </svg>
  );
}

function Hint({ place }: { place: string }) {
  if (place === "" && problems.value.length > 0) {
    const bad = problems.value.some((p) => p.level === "bad");
    return <span class={bad ? "dot bad" : "dot warn"}>{problems.value.length}<span class="sr"> problems</span></span>;
  }
  if (place === "dead-letters") {
    const n = topics.value.find((t) => t.name === "dead-letters")?.messages ?? 0;
    return n > 0 ? <span class="dot">{count(n)}</span> : null;
  }
  return null;
}

function Readiness() {
  const st = status.value;
  if (!st) return null;
  if (st.state === "draining") return <span class="state waiting">draining</span>;
  return st.ready ? <span class="state running">ready</span> : <span class="state halted">not ready</span>;
}

function LinkState() {
  const st = status.value;
  const word = { live: "live", connecting: "connecting", lost: "connection lost" }[link.value];
  return (
    <span class={"link " + link.value} role="status" title={linkWhy.value}>
      <span class="pulse" aria-hidden="true" />{word}{st && <span class="dim hide-narrow"> · {st.version}</span>}
    </span>
  );
}

function Help() {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpOpen.value) ref.current?.showModal();
  }, [helpOpen.value]);
  if (!helpOpen.value) return null;
  const rows: [string, string][] = [
    ...places.map((p): [string, string] => [p.key, p.name]),
    ["/", "Search in this view"], ["f", "Freeze or go on"], ["t", "Light or dark"], ["?", "This list"], ["Esc", "Close, or leave a field"],
  ];
  return (
    <dialog ref={ref} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <h2 id="help-title">Keyboard shortcuts</h2>
      <table class="plain"><tbody>{rows.map(([k, what]) => <tr key={k}><th scope="row"><kbd>{k}</kbd></th><td>{what}</td></tr>)}</tbody></table>
      <form method="dialog"><div class="actions"><button>Close</button></div></form>
    </dialog>
  );
}

// Ended asks for the token again, over what is shown: nothing of it is lost.
function Ended() {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => ref.current?.showModal(), []);
  return <dialog ref={ref} data-ended aria-labelledby="sign-in" onCancel={(e) => e.preventDefault()}><SignIn /></dialog>;
}

function SignIn() {
  const field = useRef<HTMLInputElement>(null);
  const [error, setError] = useState("");
  const send = (e: Event) => {
    e.preventDefault();
    signIn(field.current!.value.trim()).catch((why: unknown) => setError(why instanceof Error ? why.message : String(why)));
  };
  return (
    <form class="signin" onSubmit={send}>
      <h1 id="sign-in"><Mill /> {wanted.value === "ended" ? "The session has ended" : "Wasmill"}</h1>
      <p>{wanted.value === "ended" ? "Give the token again: everything goes on where it was." : "This instance wants a token: one of those that [admin] in its configuration refers to."}</p>
      {error && <p class="banner bad" role="alert">{error}</p>}
      <label>Token<input ref={field} type="password" autocomplete="off" required autofocus /></label>
      <div class="actions"><button class="primary">Sign in</button></div>
    </form>
  );
}
