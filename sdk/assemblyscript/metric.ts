import * as host from "./host";

/** What the three kinds share. The runtime learns of it at its first use. */
class Metric {
  private id: i32 = -1; // the runtime's number
  private asked: bool = false;

  constructor(private name: string, private kind: i32) {}

  /** Returns the runtime's number, < 0 when it refused the name. */
  protected define(): i32 {
    if (!this.asked) {
      this.asked = true;
      const name = String.UTF8.encode(this.name);
      this.id = host.metricDefine(changetype<usize>(name), name.byteLength, this.kind);
    }
    return this.id;
  }
}

/**
 * Counts up. Make one in a global variable. Names are [a-z][a-z0-9_]*; end this
 * one in _total. The runtime adds the plugin and the pipeline. A name that it
 * refuses counts nothing.
 */
export class Counter extends Metric {
  constructor(name: string) {
    super(name, 0);
  }

  /** Adds n, which is not negative. */
  add(n: i64): void {
    const id = this.define();
    if (id >= 0) host.metricAdd(id, n);
  }

  /** Adds 1. */
  inc(): void {
    this.add(1);
  }
}

/** A value that goes up and down. */
export class Gauge extends Metric {
  constructor(name: string) {
    super(name, 1);
  }

  /** Sets the gauge. */
  set(v: f64): void {
    const id = this.define();
    if (id >= 0) host.metricObserve(id, v);
  }
}

/**
 * Counts values by size, in buckets that the runtime chooses. End the name in the
 * base unit, such as _seconds or _bytes.
 */
export class Histogram extends Metric {
  constructor(name: string) {
    super(name, 2);
  }

  /** Counts v. */
  observe(v: f64): void {
    const id = this.define();
    if (id >= 0) host.metricObserve(id, v);
  }
}
