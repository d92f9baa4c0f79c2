//! Looks values up in JSON text by JSON Pointer (RFC 6901), without decoding the
//! text and without allocating.
//!
//! A lookup reads the text from its start to the end of the value it finds, and
//! nothing behind it: it can succeed in a text that is malformed further on. Use
//! the pointer `""` to check a whole text. Where an object repeats a name, the
//! first member counts. Text nested deeper than 1,024 levels counts as malformed;
//! no input can exhaust the stack.

use core::fmt;
use core::str;

mod scan;

use scan::{colon, comma, element, member, skip, space, string, unescape};

/// Text as a JSON string, with its quotes: `write!(payload, "{{\"name\":{}}}", quoted(name))`.
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// See [`quoted`].
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut rest = self.0;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            f.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                c if c < b' ' => write!(f, "\\u{:04x}", c)?,
                c => write!(f, "\\{}", char::from(c))?,
            }
            rest = &rest[at + 1..];
        }
        f.write_str(rest)?;
        f.write_str("\"")
    }
}

/// What a [`Value`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such value.
    Absent,
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// One JSON value inside a text, as a view of it. The default one is absent; all
/// its methods say so.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
}

/// Returns the value at `pointer` in `text`: `""` is the whole text, `/a/0/b` the
/// member b of the first element of the member a; in a token `~1` stands for `/`
/// and `~0` for `~`. It is absent when it is not there, and when the pointer, or
/// the text up to the end of the value, is malformed.
pub fn find<'a>(text: &'a [u8], pointer: &str) -> Value<'a> {
    at(text, pointer).unwrap_or_default()
}

fn at<'a>(text: &'a [u8], pointer: &str) -> Option<Value<'a>> {
    let mut i = space(text, 0);
    if pointer.is_empty() {
        let end = skip(text, i)?;
        return if space(text, end) == text.len() { Some(Value { raw: &text[i..end] }) } else { None };
    }
    for token in pointer.strip_prefix('/')?.as_bytes().split(|c| *c == b'/') {
        i = match text.get(i)? {
            b'{' => member(text, i, token)?,
            b'[' => element(text, i, token)?,
            _ => return None,
        };
    }
    let end = skip(text, i)?;
    Some(Value { raw: &text[i..end] })
}

impl<'a> Value<'a> {
    /// What the value is.
    pub fn kind(&self) -> Kind {
        match self.raw.first() {
            None => Kind::Absent,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(_) => Kind::Number,
        }
    }

    /// Whether the value is there; `null` is.
    pub fn exists(&self) -> bool {
        !self.raw.is_empty()
    }

    /// The JSON text of the value, without white space around it; empty when absent.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The number that the value is.
    pub fn as_f64(&self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        if let Some(f) = short(self.raw) {
            return Some(f);
        }
        let f: f64 = str::from_utf8(self.raw).ok()?.parse().ok()?;
        if f.is_finite() {
            Some(f)
        } else {
            None
        }
    }

    /// The integer that the value is; not one with a fraction or an exponent.
    pub fn as_i64(&self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        str::from_utf8(self.raw).ok()?.parse().ok()
    }

    /// The boolean that the value is.
    pub fn as_bool(&self) -> Option<bool> {
        match self.raw.first() {
            Some(b't') => Some(true),
            Some(b'f') => Some(false),
            _ => None,
        }
    }

    /// The string that the value is. It is a view of the text unless the string
    /// has escapes.
    #[cfg(any(feature = "std", not(target_arch = "wasm32")))]
    pub fn as_str(&self) -> Option<std::borrow::Cow<'a, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        if let Some(plain) = self.as_plain_str() {
            return Some(plain.into());
        }
        let bytes: std::vec::Vec<u8> = self.bytes().collect();
        Some(std::string::String::from_utf8_lossy(&bytes).into_owned().into())
    }

    /// The string that the value is, if it has no escapes and is valid UTF-8: for
    /// what never has any, such as names. [`Value::bytes`] has every string.
    pub fn as_plain_str(&self) -> Option<&'a str> {
        match string(self.raw, 0) {
            Some((end, true)) if self.kind() == Kind::String => str::from_utf8(&self.raw[1..end - 1]).ok(),
            _ => None,
        }
    }

    /// The bytes of a string, its escapes undone, and of the JSON text of any
    /// other kind.
    pub fn bytes(&self) -> Bytes<'a> {
        let (rest, escapes) = match self.raw {
            [b'"', content @ .., b'"'] => (content, true),
            other => (other, false),
        };
        Bytes { rest, escapes, part: [0; 4], next: 4 }
    }

    /// Whether the value is the string `s`.
    pub fn eq_str(&self, s: &str) -> bool {
        self.kind() == Kind::String && self.bytes().eq(s.bytes())
    }

    /// Looks a pointer up inside the value. Looking several members of one object
    /// up in the object's value saves reading the text before it again.
    pub fn find(&self, pointer: &str) -> Value<'a> {
        find(self.raw, pointer)
    }

    /// The elements of an array; nothing for other kinds.
    pub fn elements(&self) -> Elements<'a> {
        let next = if self.kind() == Kind::Array { Some(space(self.raw, 1)) } else { None };
        Elements { text: self.raw, next }
    }

    /// The members of an object with their names, in the order of the text;
    /// nothing for other kinds.
    pub fn members(&self) -> Members<'a> {
        let next = if self.kind() == Kind::Object { Some(space(self.raw, 1)) } else { None };
        Members { text: self.raw, next }
    }
}

/// The JSON text of the value.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exists(), str::from_utf8(self.raw)) {
            (false, _) => f.write_str("absent"),
            (_, Ok(text)) => f.write_str(text),
            (_, Err(_)) => f.write_str("(not UTF-8)"),
        }
    }
}

/// The bytes of a value, see [`Value::bytes`].
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
    escapes: bool,
    part: [u8; 4], // what an escape stands for, from next on
    next: usize,
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.next < 4 {
            self.next += 1;
            return Some(self.part[self.next - 1]);
        }
        let (&c, rest) = self.rest.split_first()?;
        if c != b'\\' || !self.escapes {
            self.rest = rest;
            return Some(c);
        }
        let (c, used) = unescape(self.rest);
        let mut utf8 = [0; 4];
        let len = c.encode_utf8(&mut utf8).len();
        self.next = 4 - len;
        self.part[self.next..].copy_from_slice(&utf8[..len]);
        self.rest = &self.rest[used..];
        self.next()
    }
}

/// The elements of an array, see [`Value::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    text: &'a [u8],
    next: Option<usize>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let start = self.next.take().filter(|i| self.text.get(*i) != Some(&b']'))?;
        let end = skip(self.text, start)?;
        self.next = comma(self.text, end, b']');
        Some(Value { raw: &self.text[start..end] })
    }
}

/// The members of an object, see [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    next: Option<usize>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.next.take().filter(|i| self.text.get(*i) == Some(&b'"'))?;
        let (behind, _) = string(self.text, name)?;
        let start = colon(self.text, behind)?;
        let end = skip(self.text, start)?;
        self.next = comma(self.text, end, b'}');
        Some((Value { raw: &self.text[name..behind] }, Value { raw: &self.text[start..end] }))
    }
}

/// Reads a number of at most fifteen digits without an exponent, as most are.
/// Such digits and the power of ten below them are exact in an f64, so that their
/// quotient is correctly rounded.
fn short(raw: &[u8]) -> Option<f64> {
    const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    if raw.len() > 17 {
        return None;
    }
    let (mut n, mut digits, mut point) = (0i64, 0, None);
    for (i, c) in raw.iter().enumerate() {
        match c {
            b'0'..=b'9' => {
                n = n * 10 + i64::from(c - b'0');
                digits += 1;
            }
            b'.' => point = Some(i + 1),
            b'-' => {}
            _ => return None,
        }
    }
    if digits > 15 {
        return None;
    }
    let f = n as f64 / TENS[point.map_or(0, |p| raw.len() - p)];
    Some(if raw[0] == b'-' { -f } else { f })
}
