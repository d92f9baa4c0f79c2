//! Runs a plugin on events in a plain `cargo test`, through the same code and
//! frames as in WebAssembly.
//!
//! ```
//! use wasmill::testing::{Event, Host};
//! use wasmill::{Outcome, Out, Result};
//!
//! fn strong(event: &wasmill::Event, out: &mut Out) -> Result {
//!     match event.find("/mag").as_f64() {
//!         Some(mag) if mag >= 4.5 => out.pass(),
//!         _ => Err(Outcome::DROP),
//!     }
//! }
//!
//! let result = Host::new().handler(strong).process(&[Event::new(r#"{"mag":5.3}"#), Event::new("{}")]);
//! assert_eq!(result.outputs[0].event, Some(0));
//! assert_eq!(result.outcome(1), Some(&Outcome::DROP));
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::time::Duration;
use std::vec::Vec;

use crate::guest::Guest;
use crate::outcome::Code;
use crate::{Error, Instance, Level, Out, Outcome, Plugin, Result, Text};

/// What a plugin is opened with. Its clock stands at 0, its random bytes count
/// up, and it has no secrets, unless they are set.
#[derive(Clone, Debug)]
pub struct Host {
    config: String,
    outputs: Vec<String>,
    grants: Vec<String>,
    now: i64,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl Default for Host {
    fn default() -> Self {
        Host::new()
    }
}

impl Host {
    /// A host with an empty configuration and the default output.
    pub fn new() -> Host {
        Host {
            config: "{}".to_string(),
            outputs: std::vec!["default".to_string()],
            grants: Vec::new(),
            now: 0,
            secrets: BTreeMap::new(),
        }
    }

    /// The plugin's configuration, as a JSON object.
    pub fn config(mut self, json: &str) -> Host {
        self.config = json.to_string();
        self
    }

    /// One more output of the pipeline.
    pub fn output(mut self, name: &str) -> Host {
        self.outputs.push(name.to_string());
        self
    }

    /// Grants the clock, and sets it to a time since the Unix epoch.
    pub fn now(mut self, now: Duration) -> Host {
        self.now = now.as_nanos() as i64;
        self.grants.push("clock".to_string());
        self
    }

    /// Grants secrets, and has one of that name.
    pub fn secret(mut self, name: &str, value: &str) -> Host {
        self.secrets.insert(name.to_string(), value.as_bytes().to_vec());
        self.grants.push("secret".to_string());
        self
    }

    /// Opens an instance of the plugin; an error is the one that its `open` returned.
    pub fn open<P: Plugin>(self) -> Result<Test<P>, String> {
        self.start(None)
    }

    /// Opens an instance of a handler alone.
    ///
    /// # Panics
    /// When the configuration is not a JSON object.
    pub fn handler(self, f: fn(&crate::Event<'_>, &mut Out<'_>) -> Result) -> Test<Handler> {
        match self.start(Some(Handler(f))) {
            Ok(test) => test,
            Err(e) => panic!("{}", e),
        }
    }

    fn start<P: Plugin>(self, plugin: Option<P>) -> Result<Test<P>, String> {
        let list = |names: &[String]| names.iter().map(|n| format!("{:?}", n)).collect::<Vec<_>>().join(",");
        let document = format!(
            r#"{{"plugin":"test","pipeline":"test","partition":0,"config":{},"outputs":[{}],"grants":[{}]}}"#,
            self.config,
            list(&self.outputs),
            list(&self.grants)
        );
        let mut test = Test { guest: plugin.map_or_else(Guest::new, Guest::with), host: self, seen: Seen::default() };
        let opened = test.turn(|guest| {
            let at = write(guest, document.as_bytes());
            guest.open(at, document.len())
        });
        if opened != 0 {
            return Err(test.seen.stderr);
        }
        Ok(test)
    }
}

/// A handler alone, as [`Host::handler`] opens it.
pub struct Handler(fn(&crate::Event<'_>, &mut Out<'_>) -> Result);

impl Plugin for Handler {
    fn open(_: &Instance<'_>) -> Result<Self, Error> {
        Err(Error::new("a handler alone is opened by Host::handler"))
    }

    fn process(&mut self, event: &crate::Event<'_>, out: &mut Out<'_>) -> Result {
        (self.0)(event, out)
    }
}

/// One event for the plugin: `Event { subject: "quakes.us", ..Event::new("{}") }`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    /// The subject it is published under.
    pub subject: &'a str,
    /// The key by which the pipeline partitions.
    pub key: &'a str,
    /// Names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The content.
    pub payload: &'a [u8],
    /// 0 for its place in the batch, from 1.
    pub sequence: u64,
    /// Since the Unix epoch.
    pub time: Duration,
    /// 0 for the first one, 1.
    pub attempt: u32,
}

impl<'a> Event<'a> {
    /// An event with that payload and the subject `test`.
    pub fn new(payload: &'a str) -> Event<'a> {
        Event { subject: "test", payload: payload.as_bytes(), ..Event::default() }
    }
}

/// One event that the plugin emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The index of the event that caused it; none when the instance closed.
    pub event: Option<usize>,
    /// The name of the output.
    pub output: String,
    /// Empty: the one that the output prescribes.
    pub subject: String,
    /// The key; empty: none.
    pub key: String,
    /// Names and values, those kept of the event in front.
    pub headers: Vec<(String, String)>,
    /// The content; that of the event when it was passed on.
    pub payload: String,
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processed {
    /// What was emitted.
    pub outputs: Vec<Output>,
    /// What became of the events that are not done, by their index.
    pub outcomes: BTreeMap<usize, Outcome>,
}

impl Processed {
    /// What became of the event at that index; none when it is done.
    pub fn outcome(&self, index: usize) -> Option<&Outcome> {
        self.outcomes.get(&index)
    }
}

/// A plugin that is open.
pub struct Test<P> {
    guest: Guest<P>,
    host: Host,
    seen: Seen,
}

impl<P: Plugin> Test<P> {
    /// Runs the plugin on a batch.
    ///
    /// # Panics
    /// When the plugin does, and when the batch fails as a whole.
    pub fn process(&mut self, events: &[Event<'_>]) -> Processed {
        let frame = encode(events);
        let response = self.turn(|guest| {
            let at = write(guest, &frame);
            guest.process(at, frame.len()).map(<[u8]>::to_vec)
        });
        self.decode(response, events)
    }

    /// Ends the instance and returns what it emitted.
    ///
    /// # Panics
    /// When its `close` does or fails.
    pub fn close(&mut self) -> Processed {
        let response = self.turn(|guest| guest.close().map(<[u8]>::to_vec));
        self.decode(response, &[])
    }

    /// The lines that the plugin has logged.
    pub fn logs(&self) -> &[(Level, String)] {
        &self.seen.logs
    }

    /// What the plugin has added to, or set, or counted in, the metric of that name.
    pub fn metric(&self, name: &str) -> f64 {
        self.seen.metrics.get(name).copied().unwrap_or(0.0)
    }

    /// Calls f with this host as the one that the plugin reaches.
    fn turn<T>(&mut self, f: impl FnOnce(&mut Guest<P>) -> T) -> T {
        let seen = std::mem::take(&mut self.seen);
        OUTSIDE.with(|o| *o.borrow_mut() = (self.host.clone(), seen));
        let result = f(&mut self.guest);
        self.seen = OUTSIDE.with(|o| std::mem::take(&mut o.borrow_mut().1));
        result
    }

    fn decode(&mut self, response: Result<Vec<u8>, i32>, events: &[Event<'_>]) -> Processed {
        match response {
            Ok(frame) => decode(&frame, events, &self.host.outputs),
            Err(code) => panic!("the batch failed ({}): {}", code, self.seen.stderr),
        }
    }
}

fn write<P: Plugin>(guest: &mut Guest<P>, bytes: &[u8]) -> *const u8 {
    let at = guest.buffer(bytes.len() as i32);
    assert!(!at.is_null(), "out of memory");
    // SAFETY: the buffer has room for as many bytes as were asked for.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
    at
}

fn encode(events: &[Event<'_>]) -> Vec<u8> {
    let mut frame = b"WMB1".to_vec();
    frame.extend_from_slice(&32u16.to_le_bytes());
    frame.extend_from_slice(&0u16.to_le_bytes());
    frame.extend_from_slice(&(events.len() as u32).to_le_bytes());
    frame.resize(32, 0);
    for (i, e) in events.iter().enumerate() {
        let mut headers = Vec::new();
        for (name, value) in e.headers {
            headers.extend_from_slice(&(name.len() as u32).to_le_bytes());
            headers.extend_from_slice(&(value.len() as u32).to_le_bytes());
            headers.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let size = (48 + e.subject.len() + e.key.len() + headers.len() + e.payload.len() + 7) & !7;
        let end = frame.len() + size;
        let sequence = if e.sequence == 0 { i as u64 + 1 } else { e.sequence };
        frame.extend_from_slice(&(size as u32).to_le_bytes());
        frame.extend_from_slice(&0u32.to_le_bytes());
        frame.extend_from_slice(&sequence.to_le_bytes());
        frame.extend_from_slice(&(e.time.as_nanos() as i64).to_le_bytes());
        for n in
            [e.attempt.max(1) as usize, e.subject.len(), e.key.len(), headers.len(), e.payload.len(), e.headers.len()]
        {
            frame.extend_from_slice(&(n as u32).to_le_bytes());
        }
        for part in [e.subject.as_bytes(), e.key.as_bytes(), &headers, e.payload] {
            frame.extend_from_slice(part);
        }
        frame.resize(end, 0);
    }
    let total = frame.len() as u32;
    frame[12..16].copy_from_slice(&total.to_le_bytes());
    frame
}

fn decode(frame: &[u8], events: &[Event<'_>], outputs: &[String]) -> Processed {
    let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let half = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
    let text = |at: usize, len: usize| String::from_utf8_lossy(&frame[at..at + len]).into_owned();
    let mut result = Processed::default();
    let mut at = 24;
    for _ in 0..word(12) {
        let event = events.get(word(at + 4) as usize).map(|e| (word(at + 4) as usize, e));
        let flags = word(at + 8);
        let lengths: Vec<usize> = (0..4).map(|i| word(at + 16 + 4 * i) as usize).collect();
        let mut start = at + 32;
        let mut part = |len: usize| {
            start += len;
            (start - len, len)
        };
        let (subject, key, block, payload) = (part(lengths[0]), part(lengths[1]), part(lengths[2]), part(lengths[3]));
        let mut headers = Vec::new();
        if let (Some((_, e)), true) = (event, flags & 2 != 0) {
            headers.extend(e.headers.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        }
        let mut h = block.0;
        while h < block.0 + block.1 {
            let (name, value) = (word(h) as usize, word(h + 4) as usize);
            headers.push((text(h + 8, name), text(h + 8 + name, value)));
            h += 8 + name + value;
        }
        result.outputs.push(Output {
            event: event.map(|(i, _)| i),
            output: outputs[half(at + 12)].clone(),
            subject: text(subject.0, subject.1),
            key: text(key.0, key.1),
            headers,
            payload: match (event, flags & 1 != 0) {
                (Some((_, e)), true) => String::from_utf8_lossy(e.payload).into_owned(),
                _ => text(payload.0, payload.1),
            },
        });
        at += word(at) as usize;
    }
    for _ in 0..word(8) {
        let code = match frame[at + 4] {
            1 => Code::Drop,
            2 => Code::Retry,
            _ => Code::DeadLetter,
        };
        let reason = Text::from(text(word(at + 12) as usize, half(at + 6)));
        let delay = Duration::from_millis(u64::from(word(at + 8)));
        result.outcomes.insert(word(at) as usize, Outcome { code, delay, reason });
        at += 16;
    }
    result
}

/// What a plugin has written outside of itself.
#[derive(Clone, Debug, Default)]
struct Seen {
    logs: Vec<(Level, String)>,
    metrics: BTreeMap<String, f64>,
    stderr: String,
    random: u8,
}

std::thread_local! {
    /// The host whose plugin is called on this thread.
    static OUTSIDE: RefCell<(Host, Seen)> = RefCell::new((Host::new(), Seen::default()));
}

/// What stands in for the imports of a guest.
pub(crate) mod outside {
    use super::{Level, Seen, String, OUTSIDE};

    fn seen(f: impl FnOnce(&mut Seen)) {
        OUTSIDE.with(|o| f(&mut o.borrow_mut().1));
    }

    pub fn write_log(level: i32, line: &[u8]) {
        let level = match level {
            -4 => Level::Debug,
            0 => Level::Info,
            4 => Level::Warn,
            _ => Level::Error,
        };
        seen(|s| s.logs.push((level, String::from_utf8_lossy(line).into_owned())));
    }

    pub fn define(_: &str, kind: i32) -> i32 {
        kind
    }

    pub fn add(_: i32, name: &str, n: i64) {
        seen(|s| *s.metrics.entry(name.into()).or_default() += n as f64);
    }

    /// A gauge is what it was set to, a histogram the sum of what it counted.
    pub fn observe(kind: i32, name: &str, v: f64) {
        seen(|s| {
            let value = s.metrics.entry(name.into()).or_default();
            *value = if kind == 1 { v } else { *value + v };
        });
    }

    pub fn now() -> i64 {
        OUTSIDE.with(|o| o.borrow().0.now)
    }

    pub fn random(b: &mut [u8]) {
        seen(|s| {
            for byte in b {
                *byte = s.random;
                s.random = s.random.wrapping_add(1);
            }
        });
    }

    pub fn secret(name: &str, buf: &mut [u8]) -> i64 {
        OUTSIDE.with(|o| match o.borrow().0.secrets.get(name) {
            None => -44,
            Some(value) => {
                if value.len() <= buf.len() {
                    buf[..value.len()].copy_from_slice(value);
                }
                value.len() as i64
            }
        })
    }

    pub fn stderr(line: &[u8]) {
        seen(|s| s.stderr = String::from_utf8_lossy(line).trim_end().into());
    }
}
