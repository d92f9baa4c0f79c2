//! What a guest answers to a batch: records of what it emits, then outcomes,
//! then their reasons.

use crate::buffer::Buffer;
use crate::text::Text;

pub const PAYLOAD_OF_SOURCE: u32 = 1;
pub const HEADERS_OF_SOURCE: u32 = 2;
pub const NO_SOURCE: u32 = u32::MAX;

const HEADER: usize = 24;
const RECORD: usize = 32;
const OUTCOME: usize = 16;
const LONGEST_REASON: usize = u16::MAX as usize;

pub struct Response {
    records: Buffer, // the header, too
    outcomes: Buffer,
    reasons: Buffer,
    record_count: u32,
    outcome_count: u32,
    last: Option<(&'static str, u32, u16)>, // the last reason, if it can be shared, and its place
}

/// A place to which `Response::rollback` goes back.
#[derive(Clone, Copy)]
pub struct Mark(usize, u32);

/// The fixed part of a record.
pub struct Record<'a> {
    pub source: u32,
    pub flags: u32,
    pub output: u16,
    pub subject: &'a [u8],
    pub key: &'a [u8],
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Response {
    pub const fn new() -> Self {
        Response {
            records: Buffer::new(),
            outcomes: Buffer::new(),
            reasons: Buffer::new(),
            record_count: 0,
            outcome_count: 0,
            last: None,
        }
    }

    pub fn reset(&mut self) {
        self.records.clear();
        self.outcomes.clear();
        self.reasons.clear();
        self.records.push(&[0; HEADER]);
        self.record_count = 0;
        self.outcome_count = 0;
        self.last = None;
    }

    pub fn mark(&self) -> Mark {
        Mark(self.records.len(), self.record_count)
    }

    pub fn rollback(&mut self, mark: Mark) {
        self.records.truncate(mark.0);
        self.record_count = mark.1;
    }

    /// Appends the shortest record: the source's payload and headers, by reference.
    #[inline]
    pub fn pass(&mut self, source: u32, output: u16) {
        let mut head = [0u8; RECORD];
        head[0..4].copy_from_slice(&(RECORD as u32).to_le_bytes());
        head[4..8].copy_from_slice(&source.to_le_bytes());
        head[8..12].copy_from_slice(&(PAYLOAD_OF_SOURCE | HEADERS_OF_SOURCE).to_le_bytes());
        head[12..14].copy_from_slice(&output.to_le_bytes());
        self.records.push(&head);
        self.record_count += 1;
    }

    /// Appends a record whose payload `write` appends to the buffer it gets.
    pub fn record(
        &mut self,
        r: &Record<'_>,
        write: impl FnOnce(&mut Buffer) -> core::fmt::Result,
    ) -> core::fmt::Result {
        let start = self.records.len();
        let b = &mut self.records;
        b.push(&[0; RECORD]);
        b.push(r.subject);
        b.push(r.key);
        let headers = b.len();
        for (name, value) in r.headers {
            b.push(&(name.len() as u32).to_le_bytes());
            b.push(&(value.len() as u32).to_le_bytes());
            b.push(name.as_bytes());
            b.push(value);
        }
        let payload = b.len();
        let written = write(b);
        if b.failed() {
            return Ok(()); // finish says so
        }
        if written.is_err() {
            b.truncate(start);
            return written;
        }
        let end = b.len();
        b.pad8();
        let size = b.len() - start;
        if b.failed() {
            return Ok(());
        }
        let head = &mut b.as_mut_slice()[start..start + RECORD];
        head[0..4].copy_from_slice(&(size as u32).to_le_bytes());
        head[4..8].copy_from_slice(&r.source.to_le_bytes());
        head[8..12].copy_from_slice(&r.flags.to_le_bytes());
        head[12..14].copy_from_slice(&r.output.to_le_bytes());
        head[14..16].copy_from_slice(&(r.headers.len() as u16).to_le_bytes());
        head[16..20].copy_from_slice(&(r.subject.len() as u32).to_le_bytes());
        head[20..24].copy_from_slice(&(r.key.len() as u32).to_le_bytes());
        head[24..28].copy_from_slice(&((payload - headers) as u32).to_le_bytes());
        head[28..32].copy_from_slice(&((end - payload) as u32).to_le_bytes());
        self.record_count += 1;
        Ok(())
    }

    /// Records what becomes of the event at `index`; in the order of the events.
    pub fn outcome(&mut self, index: u32, code: u8, delay_ms: u32, reason: &Text) {
        let (at, len) = self.reason(reason);
        let mut o = [0u8; OUTCOME];
        o[0..4].copy_from_slice(&index.to_le_bytes());
        o[4] = code;
        o[6..8].copy_from_slice(&len.to_le_bytes());
        o[8..12].copy_from_slice(&delay_ms.to_le_bytes());
        o[12..16].copy_from_slice(&at.to_le_bytes()); // made absolute by finish
        self.outcomes.push(&o);
        self.outcome_count += 1;
    }

    /// Appends a reason, cut to what fits. Events in a row with one and the same
    /// literal share it.
    fn reason(&mut self, reason: &Text) -> (u32, u16) {
        let literal = reason.literal();
        if let (Some(new), Some((old, at, len))) = (literal, self.last) {
            if new.as_ptr() == old.as_ptr() && new.len() == old.len() {
                return (at, len);
            }
        }
        let at = self.reasons.len();
        reason.write(&mut self.reasons);
        if self.reasons.len() - at > LONGEST_REASON {
            self.reasons.truncate(at + LONGEST_REASON);
        }
        let place = (at as u32, (self.reasons.len() - at) as u16);
        self.last = literal.map(|l| (l, place.0, place.1));
        place
    }

    /// Returns the whole response; None when there was no memory for it.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let base = (self.records.len() + self.outcomes.len()) as u32;
        for o in self.outcomes.as_mut_slice().chunks_exact_mut(OUTCOME) {
            let at = u32::from_le_bytes([o[12], o[13], o[14], o[15]]) + base;
            o[12..16].copy_from_slice(&at.to_le_bytes());
        }
        self.records.push(self.outcomes.as_slice());
        self.records.push(self.reasons.as_slice());
        if self.records.failed() || self.outcomes.failed() || self.reasons.failed() {
            return None;
        }
        let total = self.records.len() as u32;
        let head = &mut self.records.as_mut_slice()[..HEADER];
        head[0..4].copy_from_slice(b"WMR1");
        head[4..8].copy_from_slice(&(HEADER as u32).to_le_bytes());
        head[8..12].copy_from_slice(&self.outcome_count.to_le_bytes());
        head[12..16].copy_from_slice(&self.record_count.to_le_bytes());
        head[16..20].copy_from_slice(&total.to_le_bytes());
        Some(self.records.as_slice())
    }
}
