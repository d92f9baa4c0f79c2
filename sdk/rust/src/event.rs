use core::time::Duration;

use crate::json::{find, Value};

/// One message of the topic. What its methods return are views of a buffer that
/// the next batch overwrites: the lifetime `'a` ends with the call of the
/// handler, and the compiler sees to it that nothing is kept longer.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    sequence: u64,
    time: i64,
    attempt: u32,
    subject: &'a [u8],
    key: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Event<'a> {
    /// The subject the event was published under.
    pub fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// The n-th token of the subject, counted from 1 as in `{subject.N}`.
    pub fn subject_token(&self, n: usize) -> Option<&'a [u8]> {
        self.subject.split(|c| *c == b'.').nth(n.checked_sub(1)?)
    }

    /// The key by which the pipeline partitions; empty when it has none.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The content of the event.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The value at a JSON Pointer in the payload, such as `/properties/mag`. It
    /// is absent, and says so in all its methods, when the payload is not JSON or
    /// does not have it.
    pub fn find(&self, pointer: &str) -> Value<'a> {
        find(self.payload, pointer)
    }

    /// The value of the first header of that name. Names are compared byte by byte.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Names and values of the headers, in their order. Names can repeat.
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.headers)
    }

    /// The sequence number of the event in its topic.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the topic stored the event, since the Unix epoch.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.time.max(0) as u64)
    }

    /// 1 when the event is processed for the first time, and one more after
    /// each retry.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// The headers of an event, see [`Event::headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name_len = u32_at(self.0, 0)? as usize;
        let value_len = u32_at(self.0, 4)? as usize;
        let name_end = 8usize.checked_add(name_len)?;
        let end = name_end.checked_add(value_len)?;
        let (name, value) = (self.0.get(8..name_end)?, self.0.get(name_end..end)?);
        self.0 = &self.0[end..];
        Some((name, value))
    }
}

/// The events of a batch. Each length is checked before it is used.
pub(crate) struct Batch<'a> {
    rest: &'a [u8],
    left: u32,
}

const HEADER: usize = 32;
const RECORD: usize = 48;

impl<'a> Batch<'a> {
    pub fn read(frame: &'a [u8]) -> Result<Batch<'a>, &'static str> {
        if frame.len() < HEADER || &frame[..4] != b"WMB1" {
            return Err("the host handed over what is no batch");
        }
        let header = u16::from_le_bytes([frame[4], frame[5]]) as usize;
        let total = u32_at(frame, 12).unwrap_or(0) as usize;
        if header < HEADER || header > total || total > frame.len() {
            return Err("the lengths in the head of the batch are out of bounds");
        }
        if u16::from_le_bytes([frame[6], frame[7]]) > 2 {
            return Err("the batch is of an unknown kind");
        }
        Ok(Batch { rest: &frame[header..total], left: u32_at(frame, 8).unwrap_or(0) })
    }

    #[inline]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, &'static str> {
        if self.left == 0 {
            return Ok(None);
        }
        let head: &[u8; RECORD] = match self.rest.get(..RECORD).and_then(|b| b.try_into().ok()) {
            Some(head) => head,
            None => return Err("the batch ends inside an event"),
        };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let size = word(0) as usize;
        if size < RECORD || size > self.rest.len() || size & 7 != 0 {
            return Err("the length of an event is out of bounds");
        }
        if word(4) != 0 {
            return Err("an event has unknown flags");
        }
        let (record, rest) = self.rest.split_at(size);
        let mut data = &record[RECORD..];
        let mut part = |len: u32| {
            if len as usize > data.len() {
                return Err("the parts of an event exceed its length");
            }
            let (part, rest) = data.split_at(len as usize);
            data = rest;
            Ok(part)
        };
        let (subject, key) = (part(word(28))?, part(word(32))?);
        let (headers, payload) = (part(word(36))?, part(word(40))?);
        self.rest = rest;
        self.left -= 1;
        Ok(Some(Event { sequence: long(8), time: long(16) as i64, attempt: word(24), subject, key, headers, payload }))
    }
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    let bytes = b.get(at..at + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
