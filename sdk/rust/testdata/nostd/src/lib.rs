//! A plugin without std: no allocator, and the panic handler is the SDK's.
#![no_std]

use core::fmt::Write;

use wasmill::{Counter, Error, Event, Instance, Message, Out, Outcome, Plugin, Result};

static STRONG: Counter = Counter::new("strong_total");

struct Strong {
    least: f64,
}

wasmill::plugin!(Strong);

impl Plugin for Strong {
    fn open(instance: &Instance) -> Result<Self, Error> {
        let config = instance.config();
        Ok(Strong { least: config.f64("least")?.unwrap_or(4.5) })
    }

    fn process(&mut self, event: &Event, out: &mut Out) -> Result {
        let mag = event.find("/mag").as_f64().ok_or_else(|| Outcome::dead_letter("no magnitude"))?;
        if mag < self.least {
            return Err(Outcome::DROP);
        }
        STRONG.inc();
        out.emit_with(&Message { key: event.key(), ..Message::default() }, |payload| write!(payload, "{{\"strong\":{}}}", mag))
    }
}
