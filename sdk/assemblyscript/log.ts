import * as host from "./host";
import { quote } from "./json";
import { Bytes } from "./bytes";

/** The severity of a log line. */
export enum Level {
  Debug = -4,
  Info = 0,
  Warn = 4,
  Error = 8,
}

/**
 * Writes a line to the runtime's log, which adds the plugin, the pipeline and the
 * partition, and limits how many lines a second it takes.
 */
export function log(level: Level, message: string): void {
  const line = Bytes.of(message);
  host.log(level, line.ptr, line.length);
}

/** Logs at Level.Debug. */
export function debug(message: string): void {
  log(Level.Debug, message);
}

/** Logs at Level.Info. */
export function info(message: string): void {
  log(Level.Info, message);
}

/** Logs at Level.Warn. */
export function warn(message: string): void {
  log(Level.Warn, message);
}

/** Logs at Level.Error. It logs only: to fail an event, return fail(…). */
export function error(message: string): void {
  log(Level.Error, message);
}

/**
 * Returns " name=value", quoted where it would not read as one word: a field to
 * add to the message of a log line, as in `warn("late" + field("seq", seq))`.
 */
export function field(name: string, value: string): string {
  let word = value.length > 0;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    word = word && c > 0x20 && c != 0x22 && c != 0x3d && c != 0x7f;
  }
  return " " + name + "=" + (word ? value : quote(value));
}

/** The standard library's console, into the log. `wasmill build` puts it in its place. */
export namespace console {
  export function log(message: string = ""): void {
    info(message);
  }
  export function debug(message: string = ""): void {
    log_(Level.Debug, message);
  }
  export function info(message: string = ""): void {
    log_(Level.Info, message);
  }
  export function warn(message: string = ""): void {
    log_(Level.Warn, message);
  }
  export function error(message: string = ""): void {
    log_(Level.Error, message);
  }
}

function log_(level: Level, message: string): void {
  log(level, message);
}

/** The standard library's trace, into the log. `wasmill build` puts it in its place. */
export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  let line = message;
  if (n > 0) line += " " + a0.toString();
  if (n > 1) line += " " + a1.toString();
  if (n > 2) line += " " + a2.toString();
  if (n > 3) line += " " + a3.toString();
  if (n > 4) line += " " + a4.toString();
  log(Level.Debug, line);
}
