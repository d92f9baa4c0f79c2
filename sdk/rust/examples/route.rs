//! Sends errors of web servers to an output of their own and counts the others.
//!
//! A plugin is a library: this file would be the src/lib.rs of a crate with
//! `crate-type = ["cdylib"]`, as `wasmill new plugin NAME --lang rust` makes it.

use core::fmt::Write;

use wasmill::{info, Counter, Error, Event, Instance, Message, Out, Outcome, Plugin, Result};

static SEEN: Counter = Counter::new("seen_total");

/// The table `[plugins.NAME.config]`.
pub struct Route {
    least: i64,
}

wasmill::plugin!(Route);

impl Plugin for Route {
    fn open(instance: &Instance) -> Result<Self, Error> {
        let config = instance.config();
        config.only(&["least_status"])?;
        if !instance.has_output("errors") {
            return Err(Error::new("the pipeline needs an output \"errors\""));
        }
        Ok(Route { least: config.i64("least_status")?.unwrap_or(500) })
    }

    fn process(&mut self, event: &Event, out: &mut Out) -> Result {
        SEEN.inc();
        let status = event.find("/status").as_i64().ok_or_else(|| Outcome::dead_letter("no status"))?;
        if status < self.least {
            return out.pass(); // by reference: the payload is not copied
        }
        info!("status {} of event {}", status, event.sequence());
        let message = Message { output: "errors", key: event.key(), ..Message::default() };
        out.emit_with(&message, |payload| write!(payload, "{{\"status\":{}}}", status))
    }
}

/// Only so that this file builds as an example, too.
fn main() {}
