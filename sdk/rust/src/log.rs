use core::cell::UnsafeCell;
use core::fmt::{self, Write};

use crate::buffer::Buffer;
use crate::host;

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a mistake.
    Debug = -4,
    /// Worth knowing.
    Info = 0,
    /// Worth looking at.
    Warn = 4,
    /// Something failed. To fail an event, return an `Err`.
    Error = 8,
}

/// Writes a line to the runtime's log, which adds the plugin, the pipeline and
/// the partition: `log(Level::Info, format_args!("{} events", n))`, or shorter by
/// the macros [`debug!`](crate::debug), [`info!`](crate::info),
/// [`warn!`](crate::warn) and [`error!`](crate::error). The runtime limits how
/// many lines a second it takes.
pub fn log(level: Level, message: fmt::Arguments<'_>) {
    let mut line = Line::begin();
    let _ = line.write_fmt(message); // what does not fit is left out
    host::write_log(level as i32, line.bytes());
}

/// Writes a line to standard error: the cause of what the next return value, or
/// trap, says has failed.
pub(crate) fn report(what: impl fmt::Display) {
    let mut line = Line::begin();
    let _ = write!(OneLine(&mut line), "{}", what);
    line.buffer().push(b"\n");
    host::stderr(line.bytes());
}

/// Replaces line breaks, since a cause is one line.
struct OneLine<'a>(&'a mut Line);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (i, part) in s.split('\n').enumerate() {
            if i > 0 {
                self.0.write_str("; ")?;
            }
            self.0.write_str(part)?;
        }
        Ok(())
    }
}

/// A line that is being written. A Display that logs while it is being logged
/// writes a line of its own.
struct Line {
    own: Buffer,
    shared: bool,
}

struct Scratch(UnsafeCell<(Buffer, bool)>);

// SAFETY: a guest has one thread; natively the scratch is not used.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new((Buffer::new(), false)));

impl Line {
    fn begin() -> Line {
        let mut line = Line { own: Buffer::new(), shared: false };
        if cfg!(target_arch = "wasm32") {
            // SAFETY: see Scratch; the flag keeps a second line out.
            let (scratch, busy) = unsafe { &mut *SCRATCH.0.get() };
            if !*busy {
                *busy = true;
                line.shared = true;
                core::mem::swap(&mut line.own, scratch);
            }
        }
        line.own.clear();
        line
    }

    fn buffer(&mut self) -> &mut Buffer {
        &mut self.own
    }

    fn bytes(&self) -> &[u8] {
        self.own.as_slice()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shared {
            // SAFETY: as in begin.
            let (scratch, busy) = unsafe { &mut *SCRATCH.0.get() };
            core::mem::swap(&mut self.own, scratch);
            *busy = false;
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.own.write_str(s)
    }
}

/// Logs at [`Level::Debug`], formatted as `format!` does it.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log($crate::Level::Debug, ::core::format_args!($($arg)*)) };
}

/// Logs at [`Level::Info`], formatted as `format!` does it.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log($crate::Level::Info, ::core::format_args!($($arg)*)) };
}

/// Logs at [`Level::Warn`], formatted as `format!` does it.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::log($crate::Level::Warn, ::core::format_args!($($arg)*)) };
}

/// Logs at [`Level::Error`], formatted as `format!` does it. It logs only: to
/// fail an event, return an `Err`.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log($crate::Level::Error, ::core::format_args!($($arg)*)) };
}
