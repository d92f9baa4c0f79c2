use core::sync::atomic::{AtomicI32, Ordering};

use crate::host;

/// Counts up. Make it a static: `static SEEN: Counter = Counter::new("seen_total");`
pub struct Counter(Metric);

impl Counter {
    /// A counter of that name, `[a-z][a-z0-9_]*`; end it in `_total`. The host adds
    /// the plugin and the pipeline. A name it refuses counts nothing.
    pub const fn new(name: &'static str) -> Counter {
        Counter(Metric::new(name, 0))
    }

    /// Adds n.
    pub fn add(&self, n: u32) {
        if let Some(id) = self.0.id() {
            host::add(id, self.0.name, i64::from(n));
        }
    }

    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }
}

/// A value that goes up and down.
pub struct Gauge(Metric);

impl Gauge {
    /// A gauge of that name, as [`Counter::new`] makes one.
    pub const fn new(name: &'static str) -> Gauge {
        Gauge(Metric::new(name, 1))
    }

    /// Sets the gauge to v.
    pub fn set(&self, v: f64) {
        self.0.observe(v);
    }
}

/// Counts values by their size, in buckets that the host chooses.
pub struct Histogram(Metric);

impl Histogram {
    /// A histogram of that name, as [`Counter::new`] makes one; end it in the base
    /// unit, such as `_seconds` or `_bytes`.
    pub const fn new(name: &'static str) -> Histogram {
        Histogram(Metric::new(name, 2))
    }

    /// Counts v.
    pub fn observe(&self, v: f64) {
        self.0.observe(v);
    }
}

/// What the three kinds share. The host learns of it at its first use.
struct Metric {
    name: &'static str,
    kind: i32,
    id: AtomicI32,
}

const UNKNOWN: i32 = i32::MIN;

impl Metric {
    const fn new(name: &'static str, kind: i32) -> Metric {
        Metric { name, kind, id: AtomicI32::new(UNKNOWN) }
    }

    fn id(&self) -> Option<i32> {
        let mut id = self.id.load(Ordering::Relaxed);
        if id == UNKNOWN {
            id = host::define(self.name, self.kind);
            self.id.store(id, Ordering::Relaxed);
        }
        if id < 0 {
            return None;
        }
        Some(id)
    }

    fn observe(&self, v: f64) {
        if let Some(id) = self.id() {
            host::observe(id, self.name, v);
        }
    }
}
