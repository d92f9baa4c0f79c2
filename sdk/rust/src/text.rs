use core::fmt;

use crate::buffer::Buffer;

/// Why an event is not done, or an instance does not open: a literal, or with
/// the feature `std` a `String`.
#[derive(Clone)]
pub struct Text(Inner);

#[derive(Clone)]
enum Inner {
    /// What is not needed is empty.
    Literals([&'static str; 3]),
    #[cfg(any(feature = "std", not(target_arch = "wasm32")))]
    Owned(std::string::String),
}

impl Text {
    pub(crate) const fn new(literal: &'static str) -> Text {
        Text(Inner::Literals([literal, "", ""]))
    }

    #[cfg(not(any(feature = "std", not(target_arch = "wasm32"))))]
    pub(crate) const fn of(literals: [&'static str; 3]) -> Text {
        Text(Inner::Literals(literals))
    }

    /// The text, if it is one literal.
    pub(crate) fn literal(&self) -> Option<&'static str> {
        match self.0 {
            Inner::Literals([text, "", ""]) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn write(&self, to: &mut Buffer) {
        self.parts().iter().for_each(|p| to.push(p.as_bytes()));
    }

    fn parts(&self) -> [&str; 3] {
        match &self.0 {
            Inner::Literals(parts) => *parts,
            #[cfg(any(feature = "std", not(target_arch = "wasm32")))]
            Inner::Owned(text) => [text, "", ""],
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        let (a, b) = (self.parts(), other.parts());
        a.iter().flat_map(|p| p.bytes()).eq(b.iter().flat_map(|p| p.bytes()))
    }
}

impl Eq for Text {}

impl From<&'static str> for Text {
    fn from(literal: &'static str) -> Text {
        Text::new(literal)
    }
}

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
impl From<std::string::String> for Text {
    fn from(text: std::string::String) -> Text {
        Text(Inner::Owned(text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|p| f.write_str(p))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self)
    }
}
