import { Bytes } from "./bytes";

/** What becomes of an event: what a handler returns. */
export enum Outcome {
  /** Its outputs, if any, are all it caused. */
  Done = 0,
  /** It ends without an output. It counts as dropped, not as failed. */
  Drop = 1,
  /** It is processed again after the pipeline's backoff, then the pipeline's on_failure applies. */
  Retry = 2,
  /** It goes to the dead-letter topic without a retry. */
  DeadLetter = 3,
}

// What the functions below were asked for, for the event at hand.
export let decidedCode: i32 = 0;
export let decidedDelay: u32 = 0;
export let decidedReason: Bytes = changetype<Bytes>(0);

/** For the guest: an event begins. */
export function decideNothing(): void {
  decidedCode = 0;
}

function decide(code: Outcome, delay: i64, reason: string): Outcome {
  decidedCode = code;
  decidedDelay = <u32>max<i64>(0, min<i64>(delay, u32.MAX_VALUE));
  decidedReason = Bytes.of(reason);
  return code;
}

/** Outcome.Drop with a reason. */
export function dropBecause(reason: string): Outcome {
  return decide(Outcome.Drop, 0, reason);
}

/** Outcome.Retry after a delay of its own in ms, with a reason. 0 is the pipeline's backoff. */
export function retryAfter(delayMs: i64, reason: string): Outcome {
  return decide(Outcome.Retry, delayMs, reason);
}

/** Outcome.DeadLetter with a reason, which travels with the event. */
export function deadLetterBecause(reason: string): Outcome {
  return decide(Outcome.DeadLetter, 0, reason);
}

/** Outcome.Retry with a reason: something went wrong with this event. */
export function fail(reason: string): Outcome {
  return decide(Outcome.Retry, 0, reason);
}
