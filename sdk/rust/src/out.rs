use core::fmt;

use crate::buffer::Buffer;
use crate::instance::Outputs;
use crate::outcome::{Outcome, Result};
use crate::response::{Record, Response, HEADERS_OF_SOURCE, NO_SOURCE, PAYLOAD_OF_SOURCE};

/// An event that a handler emits:
///
/// ```
/// # use wasmill::{Event, Message, Out, Result};
/// # fn handle(event: &Event, out: &mut Out) -> Result {
/// out.emit(&Message { subject: b"alerts.us", payload: b"{}", ..Message::default() })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// The name of an output of the pipeline; "" is the default one.
    pub output: &'a str,
    /// Empty: the subject that the output prescribes.
    pub subject: &'a [u8],
    /// For the stages that follow; empty: none.
    pub key: &'a [u8],
    /// A name of printable ASCII without spaces and colons, and a value without
    /// line breaks and NUL.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The content.
    pub payload: &'a [u8],
    /// Puts the headers of the event at hand in front of `headers`.
    pub keep_headers: bool,
}

/// Takes what a handler emits. Nothing is emitted when the handler returns an
/// `Err`. An output that the pipeline does not have, or a header that cannot
/// travel, is an `Err`: pass it on with `?`, or by returning it.
pub struct Out<'a> {
    response: &'a mut Response,
    outputs: &'a Outputs,
    source: u32,
}

impl<'a> Out<'a> {
    pub(crate) fn new(response: &'a mut Response, outputs: &'a Outputs, source: u32) -> Out<'a> {
        Out { response, outputs, source }
    }

    /// Emits the event as it is to the default output. The payload and the headers
    /// do not travel: the host takes them from the event it holds.
    #[inline]
    pub fn pass(&mut self) -> Result {
        self.need_event()?;
        self.response.pass(self.source, 0);
        Ok(())
    }

    /// Emits the event as it is to the output of that name.
    #[inline]
    pub fn pass_to(&mut self, output: &str) -> Result {
        self.need_event()?;
        let output = self.output(output)?;
        self.response.pass(self.source, output);
        Ok(())
    }

    /// Emits the event's payload and headers, by reference as [`Out::pass`] does,
    /// under the message's output, subject and key, and with its headers added.
    /// The message's payload is not used.
    pub fn pass_as(&mut self, message: &Message<'_>) -> Result {
        self.need_event()?;
        self.record(message, PAYLOAD_OF_SOURCE | HEADERS_OF_SOURCE, |_| Ok(()))
    }

    /// Emits the message.
    pub fn emit(&mut self, message: &Message<'_>) -> Result {
        self.emit_with(message, |payload| {
            payload.push(message.payload);
            Ok(())
        })
    }

    /// Emits the message with a payload that is written in place, without a copy:
    ///
    /// ```
    /// # use wasmill::{Event, Message, Out, Result};
    /// use core::fmt::Write;
    /// # fn handle(event: &Event, out: &mut Out) -> Result {
    /// out.emit_with(&Message::default(), |payload| write!(payload, "{{\"seq\":{}}}", event.sequence()))
    /// # }
    /// ```
    pub fn emit_with(&mut self, message: &Message<'_>, write: impl FnOnce(&mut Payload<'_>) -> fmt::Result) -> Result {
        let mut flags = 0;
        if message.keep_headers {
            self.need_event()?;
            flags = HEADERS_OF_SOURCE;
        }
        self.record(message, flags, write)
    }

    fn record(&mut self, m: &Message<'_>, flags: u32, write: impl FnOnce(&mut Payload<'_>) -> fmt::Result) -> Result {
        let output = self.output(m.output)?;
        check_headers(m.headers)?;
        let record = Record { source: self.source, flags, output, subject: m.subject, key: m.key, headers: m.headers };
        match self.response.record(&record, |buffer| write(&mut Payload(buffer))) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => Err(Outcome::retry("a payload could not be formatted")),
        }
    }

    fn output(&self, name: &str) -> Result<u16> {
        self.outputs.number(name).ok_or_else(|| Outcome::retry(self.outputs.refuse(name)))
    }

    #[inline]
    fn need_event(&self) -> Result {
        if self.source == NO_SOURCE {
            return Err(Outcome::retry(
                "there is no event to pass on when an instance closes; use emit without keep_headers",
            ));
        }
        Ok(())
    }
}

/// The payload of a message that is being written, see [`Out::emit_with`].
pub struct Payload<'a>(&'a mut Buffer);

impl Payload<'_> {
    /// Appends bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }
}

impl fmt::Write for Payload<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.write_str(s)
    }
}

fn check_headers(headers: &[(&str, &[u8])]) -> Result {
    if headers.len() > usize::from(u16::MAX) {
        return Err(Outcome::retry("a message has more than 65535 headers"));
    }
    for (name, value) in headers {
        if name.is_empty() {
            return Err(Outcome::retry("a message has a header that cannot travel: its name is empty"));
        }
        if name.bytes().any(|c| c <= b' ' || c >= 0x7f || c == b':') {
            return Err(Outcome::retry(
                "a message has a header that cannot travel: its name has a byte that is not allowed",
            ));
        }
        if value.iter().any(|c| matches!(c, b'\r' | b'\n' | 0)) {
            return Err(Outcome::retry(
                "a message has a header that cannot travel: its value has a byte that is not allowed",
            ));
        }
    }
    Ok(())
}
