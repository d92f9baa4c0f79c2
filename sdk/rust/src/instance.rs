use core::time::Duration;

use crate::buffer::Buffer;
use crate::json::{find, Kind, Value};
use crate::outcome::Error;

/// One running copy of the plugin: it serves one partition of one pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    document: Value<'a>,
}

impl<'a> Instance<'a> {
    /// Reads the document of `wasmill_open`. Without one everything is absent.
    pub(crate) fn read(document: &'a [u8]) -> Result<Instance<'a>, Error> {
        let value = find(document, "");
        if !document.is_empty() && value.kind() != Kind::Object {
            return Err(Error::new("the document of wasmill_open is not a JSON object"));
        }
        Ok(Instance { document: value })
    }

    /// The name of the plugin in the configuration.
    pub fn plugin(&self) -> &'a str {
        self.document.find("/plugin").as_plain_str().unwrap_or("")
    }

    /// The name of the pipeline.
    pub fn pipeline(&self) -> &'a str {
        self.document.find("/pipeline").as_plain_str().unwrap_or("")
    }

    /// The partition, from 0.
    pub fn partition(&self) -> u32 {
        self.document.find("/partition").as_i64().and_then(|p| p.try_into().ok()).unwrap_or(0)
    }

    /// The names of the outputs; the first is `default`.
    pub fn outputs(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.document.find("/outputs").elements().map(|v| v.as_plain_str().unwrap_or(""))
    }

    /// Whether the pipeline has an output of that name. A plugin uses it to refuse
    /// a configuration that names others.
    pub fn has_output(&self, name: &str) -> bool {
        name == DEFAULT_OUTPUT || self.outputs().any(|o| o == name)
    }

    /// Whether the plugin may use `clock`, `random` or `secret`.
    pub fn has_grant(&self, name: &str) -> bool {
        self.document.find("/grants").elements().any(|v| v.eq_str(name))
    }

    /// The plugin's configuration, `[plugins.NAME.config]`.
    pub fn config(&self) -> Config<'a> {
        Config { value: self.document.find("/config") }
    }
}

pub(crate) const DEFAULT_OUTPUT: &str = "default";

/// The plugin's configuration. A key that is not there is `None`, one of the
/// wrong type an error that names it.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    value: Value<'a>,
}

impl<'a> Config<'a> {
    /// Refuses keys that are not in `known`, which a typing mistake would be.
    pub fn only(&self, known: &[&str]) -> Result<(), Error> {
        for (key, _) in self.value.members() {
            if !known.iter().any(|k| key.eq_str(k)) {
                return Err(unknown(key, known));
            }
        }
        Ok(())
    }

    /// The number at that key.
    pub fn f64(&self, key: &'static str) -> Result<Option<f64>, Error> {
        self.typed(key, "a number", |v| v.as_f64())
    }

    /// The integer at that key.
    pub fn i64(&self, key: &'static str) -> Result<Option<i64>, Error> {
        self.typed(key, "an integer", |v| v.as_i64())
    }

    /// The boolean at that key.
    pub fn bool(&self, key: &'static str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |v| v.as_bool())
    }

    /// The string at that key.
    #[cfg(any(feature = "std", not(target_arch = "wasm32")))]
    pub fn str(&self, key: &'static str) -> Result<Option<std::string::String>, Error> {
        self.typed(key, "a string", |v| v.as_str().map(|s| s.into_owned()))
    }

    /// The duration at that key, written as `"1.5s"` or `"1h30m"`.
    pub fn duration(&self, key: &'static str) -> Result<Option<Duration>, Error> {
        self.typed(key, "a duration such as \"1.5s\"", |v| parse_duration(v.as_plain_str()?))
    }

    /// The value at a JSON Pointer, such as `/areas/0/name`: for tables and arrays.
    pub fn find(&self, pointer: &str) -> Value<'a> {
        self.value.find(pointer)
    }

    /// The whole configuration as a JSON object.
    pub fn value(&self) -> Value<'a> {
        self.value
    }

    fn typed<T>(
        &self,
        key: &'static str,
        want: &'static str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.value.members().find(|(k, _)| k.eq_str(key)) {
            None => Ok(None),
            Some((_, v)) if v.kind() == Kind::Null => Ok(None),
            Some((_, v)) => read(v).map(Some).ok_or_else(|| mismatch(key, want, v)),
        }
    }
}

/// Reads a run of numbers with units.
fn parse_duration(text: &str) -> Option<Duration> {
    const MOST: u128 = i64::MAX as u128; // as in Go
    let mut nanos = 0u128;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        rest = behind;
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let mut place = unit;
        for digit in fraction.bytes() {
            place /= 10;
            nanos += place * u128::from(digit - b'0');
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        if nanos > MOST {
            return None;
        }
    }
    if text.is_empty() {
        return None;
    }
    Some(Duration::from_nanos(nanos as u64))
}

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
fn unknown(key: Value<'_>, known: &[&str]) -> Error {
    let there = if known.is_empty() { std::string::String::from("nothing") } else { known.join(", ") };
    Error::new(std::format!("config: unknown key {:?}; there is {}", key, there))
}

#[cfg(not(any(feature = "std", not(target_arch = "wasm32"))))]
fn unknown(_: Value<'_>, _: &[&str]) -> Error {
    Error::new("config: a key that the plugin does not know")
}

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
fn mismatch(key: &'static str, want: &'static str, v: Value<'_>) -> Error {
    let text: std::string::String = std::format!("{:?}", v).chars().take(40).collect();
    Error::new(std::format!("config.{}: want {}, got {}", key, want, text))
}

#[cfg(not(any(feature = "std", not(target_arch = "wasm32"))))]
fn mismatch(key: &'static str, want: &'static str, _: Value<'_>) -> Error {
    Error(crate::text::Text::of(["config: want ", want, key]))
}

/// The names of the outputs, to be looked up for each event: a length and a name,
/// one after the other.
pub(crate) struct Outputs(Buffer);

impl Outputs {
    pub const fn new() -> Outputs {
        Outputs(Buffer::new())
    }

    /// Keeps the names that the instance has.
    pub fn keep(&mut self, instance: &Instance<'_>) {
        self.0.clear();
        for name in instance.outputs() {
            self.0.push(&(name.len() as u32).to_le_bytes());
            self.0.push(name.as_bytes());
        }
    }

    /// The number of the output of that name.
    pub fn number(&self, name: &str) -> Option<u16> {
        if name.is_empty() || name == DEFAULT_OUTPUT {
            return Some(0);
        }
        self.names().position(|n| n == name.as_bytes()).and_then(|n| n.try_into().ok())
    }

    #[cfg(any(feature = "std", not(target_arch = "wasm32")))]
    pub fn refuse(&self, name: &str) -> crate::Text {
        let names: std::vec::Vec<_> = self.names().map(std::string::String::from_utf8_lossy).collect();
        let there = if names.is_empty() { DEFAULT_OUTPUT.into() } else { names.join(", ") };
        std::format!("the pipeline has no output \"{}\" here; it has {}", name, there).into()
    }

    #[cfg(not(any(feature = "std", not(target_arch = "wasm32"))))]
    pub fn refuse(&self, _: &str) -> crate::Text {
        crate::Text::new("the pipeline has no output of the name that the plugin asked for")
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        core::iter::from_fn(move || {
            let len = u32::from_le_bytes([*rest.first()?, *rest.get(1)?, *rest.get(2)?, *rest.get(3)?]) as usize;
            let (name, behind) = rest[4..].split_at(len);
            rest = behind;
            Some(name)
        })
    }
}
