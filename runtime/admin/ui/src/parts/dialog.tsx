import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

interface Ask { title: string; text: string; verb: string; danger?: boolean; answer(yes: boolean): void }

const asked = signal<Ask | undefined>(undefined);
const said = signal<{ text: string; bad: boolean; n: number } | undefined>(undefined);
let notes = 0;

// confirm asks before something is changed, and says what.
export function confirm(title: string, text: string, verb: string, danger = false): Promise<boolean> {
  return new Promise((answer) => { asked.value = { title, text, verb, danger, answer }; });
}

// say tells what was done, for a while; a failure stays until it is closed.
export function say(text: string, bad = false): void {
  const n = ++notes;
  said.value = { text, bad, n };
  if (!bad) setTimeout(() => { if (said.value?.n === n) said.value = undefined; }, 6000);
}

// doing runs a change and says how it went.
export async function doing(f: () => Promise<string>): Promise<boolean> {
  try {
    say(await f());
    return true;
  } catch (e) {
    say(e instanceof Error ? e.message : String(e), true);
    return false;
  }
}

export function Dialogs() {
  const ref = useRef<HTMLDialogElement>(null);
  const ask = asked.value;
  useEffect(() => {
    if (ask) ref.current?.showModal();
  }, [ask]);
  const answer = (yes: boolean) => {
    ask?.answer(yes);
    asked.value = undefined;
  };
  return (
    <>
      {ask && (
        <dialog ref={ref} aria-labelledby="ask-title" onClose={() => answer(false)}>
          <h2 id="ask-title">{ask.title}</h2>
          <p>{ask.text}</p>
          <div class="actions">
            <button onClick={() => answer(false)}>Cancel</button>
            <button class={ask.danger ? "danger" : "primary"} data-confirm onClick={() => answer(true)}>{ask.verb}</button>
          </div>
        </dialog>
      )}
      <div class="notes" role="status" aria-live="polite">
        {said.value && (
          <p class={said.value.bad ? "note bad" : "note"}>
            {said.value.text}<button class="quiet" aria-label="Close" onClick={() => (said.value = undefined)}>×</button>
          </p>
        )}
      </div>
    </>
  );
}
