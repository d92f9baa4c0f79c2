import { Kind, Value, absent, findAt, quote } from "./json";
import { duration, nanoseconds } from "./number";

/** One running copy of the plugin: it serves one partition of one pipeline. */
export class Instance {
  /** Name of the plugin in the configuration. */
  plugin: string = "";
  /** Name of the pipeline. */
  pipeline: string = "";
  /** From 0. */
  partition: i32 = 0;
  /** Names of the outputs; the first is "default". */
  outputs: string[] = [];
  /** What the plugin may use: "clock", "random", "secret". */
  grants: string[] = [];
  /** [plugins.NAME.config], an object; may be absent. */
  config: Value = absent();

  private asked: string[] = [];
  private why: string | null = null;

  /** For the guest: reads the document of wasmill_open, which stays where it is. */
  read(ptr: usize, size: i32): bool {
    if (size > 0) {
      const root = findAt(ptr, size, "");
      if (root.kind != Kind.Object) return false;
      this.plugin = root.find("/plugin").toString();
      this.pipeline = root.find("/pipeline").toString();
      this.partition = <i32>root.find("/partition").int();
      this.config = root.find("/config");
      for (let m = root.find("/outputs").first(); m.exists; m = m.next()) this.outputs.push(m.value.toString());
      for (let m = root.find("/grants").first(); m.exists; m = m.next()) this.grants.push(m.value.toString());
    }
    if (this.outputs.length == 0) this.outputs.push("default");
    return true;
  }

  /** Says whether the pipeline has an output of that name. */
  hasOutput(name: string): bool {
    return this.outputs.includes(name);
  }

  /** Says whether the plugin has that grant. */
  hasGrant(name: string): bool {
    return this.grants.includes(name);
  }

  /** Refuses the instance, and with it the configuration that wanted it. */
  refuse(why: string): void {
    if (this.why === null) this.why = why;
  }

  // The methods below read a key of the configuration, in the opener. They return
  // the fallback when the key is not there. A value of the wrong kind refuses the
  // configuration with its name, and so does, once any of them has been called, a
  // key that none of them has asked for.

  /** Reads a number. */
  float(name: string, fallback: f64): f64 {
    const v = this.value(name);
    if (v.exists && !v.isFloat) this.mismatch(name, "a number", v);
    return v.float(fallback);
  }

  /** Reads an integer. */
  int(name: string, fallback: i64): i64 {
    const v = this.value(name);
    if (v.exists && !v.isInt) this.mismatch(name, "an integer", v);
    return v.int(fallback);
  }

  /** Reads a boolean. */
  bool(name: string, fallback: bool): bool {
    const v = this.value(name);
    if (v.exists && !v.isBool) this.mismatch(name, "a boolean", v);
    return v.bool(fallback);
  }

  /** Reads a text. */
  string(name: string, fallback: string): string {
    const v = this.value(name);
    if (v.kind == Kind.String) return v.toString();
    if (v.exists) this.mismatch(name, "a string", v);
    return fallback;
  }

  /** Reads a text such as "1.5s" or "2h30m", as ns. */
  duration(name: string, fallback: i64): i64 {
    const v = this.value(name);
    if (!v.exists) return fallback;
    if (v.kind == Kind.String && duration(v.toString())) return nanoseconds;
    this.mismatch(name, 'a duration such as "1.5s"', v);
    return fallback;
  }

  /** Reads what the others do not: tables, arrays. */
  value(name: string): Value {
    this.asked.push(name);
    for (let m = this.config.first(); m.exists; m = m.next()) {
      if (m.value.kind != Kind.Null && m.name.text.equals(name)) return m.value;
    }
    return absent();
  }

  /** For the guest: why the configuration is refused, null when it is not. */
  verdict(): string | null {
    if (this.why !== null || this.asked.length == 0) return this.why;
    for (let m = this.config.first(); m.exists; m = m.next()) {
      const name = m.name.toString();
      if (!this.asked.includes(name)) return "config: unknown key " + quote(name) + "; there is " + this.asked.join(", ");
    }
    return null;
  }

  private mismatch(name: string, want: string, v: Value): void {
    let got = v.raw.slice(0, 40).toString();
    if (v.size > 40) got += "…";
    this.refuse("config." + name + ": want " + want + ", got " + got);
  }
}
