use core::fmt;
use core::time::Duration;

use crate::text::Text;

/// What a handler returns: `Ok(())` when it is done with its event, or the
/// [`Outcome`] that the event has instead.
pub type Result<T = (), E = Outcome> = core::result::Result<T, E>;

/// What becomes of an event that is not done. A handler returns it as the error,
/// and then nothing of what it emitted for the event is emitted.
///
/// With the feature `std` every `std::error::Error` becomes a retry with its text
/// as the reason, so that `?` does what one expects: the event is tried again,
/// and after the last attempt the pipeline's `on_failure` applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub(crate) code: Code,
    pub(crate) delay: Duration,
    pub(crate) reason: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Drop = 1,
    Retry = 2,
    DeadLetter = 3,
}

impl Outcome {
    /// Ends the event without an output. It counts as dropped, not as failed.
    pub const DROP: Outcome = Outcome { code: Code::Drop, delay: Duration::ZERO, reason: Text::new("") };
    /// Has the event processed again after the pipeline's backoff.
    pub const RETRY: Outcome = Outcome { code: Code::Retry, delay: Duration::ZERO, reason: Text::new("") };
    /// Sends the event to the dead-letter topic without a retry.
    pub const DEAD_LETTER: Outcome = Outcome { code: Code::DeadLetter, delay: Duration::ZERO, reason: Text::new("") };

    /// [`Outcome::DROP`] with a reason.
    pub fn drop(reason: impl Into<Text>) -> Outcome {
        Outcome { reason: reason.into(), ..Outcome::DROP }
    }

    /// [`Outcome::RETRY`] with a reason. When the attempts are spent, the
    /// pipeline's `on_failure` applies.
    pub fn retry(reason: impl Into<Text>) -> Outcome {
        Outcome { reason: reason.into(), ..Outcome::RETRY }
    }

    /// [`Outcome::retry`] after a delay of its own, rounded up to milliseconds.
    pub fn retry_after(delay: Duration, reason: impl Into<Text>) -> Outcome {
        Outcome { delay, ..Outcome::retry(reason) }
    }

    /// [`Outcome::DEAD_LETTER`] with a reason, which travels with the event.
    pub fn dead_letter(reason: impl Into<Text>) -> Outcome {
        Outcome { reason: reason.into(), ..Outcome::DEAD_LETTER }
    }

    pub(crate) fn delay_ms(&self) -> u32 {
        let ms = self.delay.as_nanos().saturating_add(999_999) / 1_000_000;
        ms.min(u128::from(u32::MAX)) as u32
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.code {
            Code::Drop => "drop",
            Code::Retry => "retry",
            Code::DeadLetter => "dead-letter",
        })?;
        if self.reason != Text::new("") {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// Why an instance does not open or end as it should.
///
/// With the feature `std` every `std::error::Error` becomes one by `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub(crate) Text);

impl Error {
    /// An error that says what is wrong.
    pub fn new(what: impl Into<Text>) -> Error {
        Error(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An error of a handler asks for a retry.
impl From<Error> for Outcome {
    fn from(e: Error) -> Outcome {
        Outcome { reason: e.0, ..Outcome::RETRY }
    }
}

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
impl<E: std::error::Error> From<E> for Outcome {
    fn from(e: E) -> Outcome {
        Outcome::retry(std::string::ToString::to_string(&e))
    }
}

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
impl<E: std::error::Error> From<E> for Error {
    fn from(e: E) -> Error {
        Error::new(std::string::ToString::to_string(&e))
    }
}

/// An outcome as the error of opening or closing: its text.
impl From<Outcome> for Error {
    fn from(o: Outcome) -> Error {
        Error(o.reason)
    }
}
