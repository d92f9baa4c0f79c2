//! The plugin of this SDK's tests: an event's payload says what to do with it. See
//! sdk/internal/guesttest, which has the same of every SDK.

use std::time::Duration;

use wasmill::json::{find, quoted, Kind, Value};
use wasmill::{Counter, Error, Event, Gauge, Histogram, Instance, Message, Out, Outcome, Plugin, Result};

static SEEN: Counter = Counter::new("seen_total");
static LEVEL: Gauge = Gauge::new("level");
static SIZES: Histogram = Histogram::new("size_bytes");

struct Guest {
    greeting: String,
    greets: String,
}

wasmill::plugin!(Guest);

impl Plugin for Guest {
    fn open(instance: &Instance) -> Result<Self, Error> {
        let config = instance.config();
        config.only(&["greeting", "wait", "factor", "size_limit", "areas", "refuse"])?;
        let greeting = config.str("greeting")?.unwrap_or_default();
        let greets = format!(
            "{} {} {} {} {} {} {}",
            greeting,
            config.duration("wait")?.unwrap_or_default().as_nanos(),
            config.f64("factor")?.unwrap_or(1.0),
            config.i64("size_limit")?.unwrap_or(0),
            instance.plugin(),
            instance.pipeline(),
            instance.partition()
        );
        if config.bool("refuse")?.unwrap_or(false) {
            return Err(Error::new("greeting is rude\nwait is long"));
        }
        Ok(Guest { greeting, greets })
    }

    fn process(&mut self, event: &Event, out: &mut Out) -> Result {
        let (command, rest) = match event.payload().iter().position(|c| *c == b' ') {
            Some(at) => (&event.payload()[..at], &event.payload()[at + 1..]),
            None => (event.payload(), &b""[..]),
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        match (command, rest) {
            (b"nothing", _) => Ok(()),
            (b"pass", _) => out.pass(),
            (b"twice", _) => {
                out.pass()?;
                out.pass_to("other")
            }
            (b"pass-to", _) => out.pass_to(&text()),
            (b"pass-as", _) => out.pass_as(&Message {
                output: "other",
                subject: b"as.x",
                key: b"K",
                headers: &[("X", b"1"), ("Y", b"")],
                ..Message::default()
            }),
            (b"greet", _) => say(out, &self.greets),
            (b"fields", _) => say(out, &fields(event)),
            (b"find", _) => {
                let at = rest.iter().position(|c| *c == b'\n').ok_or_else(|| Error::new("no line break"))?;
                let pointer = std::str::from_utf8(&rest[..at])?;
                let description = describe(find(&rest[at + 1..], pointer));
                out.emit(&Message { payload: &description, ..Message::default() })
            }
            (b"quote", _) => say(out, &quoted(&text()).to_string()),
            (b"drop", b"") => {
                out.pass()?;
                Err(Outcome::DROP)
            }
            (b"drop", _) => Err(Outcome::drop(text())),
            (b"retry", _) => Err(Outcome::RETRY),
            (b"later", _) => Err(Outcome::retry_after(Duration::from_secs(1), "busy")),
            (b"dead", b"") => Err(Outcome::DEAD_LETTER),
            (b"dead", _) => Err(Outcome::dead_letter(text())),
            (b"fail", _) => {
                out.pass()?;
                Err(std::io::Error::new(std::io::ErrorKind::Other, text()).into())
            }
            (b"bad", b"output") => {
                out.pass()?;
                out.pass_to("nowhere")
            }
            (b"bad", b"header") => out.emit(&Message { headers: &[("a b", b"")], ..Message::default() }),
            (b"panic", _) => panic!("{}", "boom"),
            (b"trap", _) => std::process::abort(),
            (b"log", _) => {
                wasmill::warn!("careful seq={}", event.sequence());
                SEEN.inc();
                LEVEL.set(0.5);
                SIZES.observe(event.payload().len() as f64);
                Ok(())
            }
            (b"now", _) => say(out, &wasmill::now().as_nanos().to_string()),
            (b"random", _) => {
                let mut bytes = vec![0; 3 << 20];
                wasmill::random(&mut bytes);
                say(out, &bytes.iter().rev().take(32).any(|b| *b != 0).to_string())
            }
            (b"secret", _) => say(out, &wasmill::secret(&text()).map_or("none".to_string(), |s| s.len().to_string())),
            (b"garbage", _) => {
                let bytes = vec![1u8; text().parse()?];
                // SAFETY: a reference is read; so that the bytes are not optimised away.
                let first = unsafe { std::ptr::read_volatile(&bytes[0]) };
                assert_eq!(first, 1);
                Ok(())
            }
            (b"fan", _) => {
                for _ in 0..text().parse()? {
                    say(out, &"x".repeat(1000))?;
                }
                Ok(())
            }
            _ => out.emit(&Message {
                output: "other",
                subject: b"copied",
                key: event.key(),
                payload: event.payload(),
                keep_headers: true,
                ..Message::default()
            }),
        }
    }

    fn close(&mut self, out: &mut Out) -> Result<(), Error> {
        out.emit(&Message { subject: b"bye", payload: self.greeting.as_bytes(), ..Message::default() })?;
        Ok(())
    }
}

fn say(out: &mut Out, text: &str) -> Result {
    out.emit(&Message { payload: text.as_bytes(), ..Message::default() })
}

fn fields(event: &Event) -> String {
    // As the others print it: a value that is empty is quoted.
    let text = |b: Option<&[u8]>| match String::from_utf8_lossy(b.unwrap_or(b"")) {
        empty if empty.is_empty() => "\"\"".to_string(),
        text => text.into_owned(),
    };
    let mut all = format!(
        "{} token={} none={} key={} seq={} time={} attempt={} A={}",
        text(Some(event.subject())),
        text(event.subject_token(2)),
        text(event.subject_token(3)),
        text(Some(event.key())),
        event.sequence(),
        event.time().as_nanos(),
        event.attempt(),
        text(event.header("A")),
    );
    for (name, value) in event.headers() {
        all += &format!(" {}:{}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
    all
}

/// kind|text|float|int|bool|elements. Texts are bytes, not always UTF-8.
fn describe(v: Value) -> Vec<u8> {
    let kind = match v.kind() {
        Kind::Absent => "absent",
        Kind::Null => "null",
        Kind::Bool => "boolean",
        Kind::Number => "number",
        Kind::String => "string",
        Kind::Object => "object",
        Kind::Array => "array",
    };
    let mut b = format!("{}|", kind).into_bytes();
    b.extend(v.bytes());
    let float = v.as_f64().map_or(String::new(), |f| f.to_string());
    let int = v.as_i64().map_or(String::new(), |n| n.to_string());
    let boolean = v.as_bool().map_or(String::new(), |t| t.to_string());
    b.extend(format!("|{}|{}|{}|", float, int, boolean).bytes());
    for element in v.elements() {
        b.push(b'=');
        b.extend(element.raw());
        b.push(b';');
    }
    for (name, member) in v.members() {
        b.extend(name.bytes());
        b.push(b'=');
        b.extend(member.raw());
        b.push(b';');
    }
    b
}
