//! The functions of this file take an offset and return the offset behind what
//! they read, or None when it does not follow the grammar.

const MAX_DEPTH: usize = 1024;

/// Skips white space.
#[inline]
pub fn space(text: &[u8], mut i: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(i) {
        i += 1;
    }
    i
}

/// Skips white space, a colon, and white space.
#[inline]
pub fn colon(text: &[u8], i: usize) -> Option<usize> {
    let i = space(text, i);
    if text.get(i) != Some(&b':') {
        return None;
    }
    Some(space(text, i + 1))
}

/// Skips white space, a comma, and white space; None when the container ends
/// instead, at its closing byte.
pub fn comma(text: &[u8], i: usize, closing: u8) -> Option<usize> {
    let i = space(text, i);
    if text.get(i) != Some(&b',') {
        return None;
    }
    let i = space(text, i + 1);
    match text.get(i) {
        Some(c) if *c != closing => Some(i),
        _ => None,
    }
}

/// Returns the offset of the value that a pointer's token names in the object at i.
pub fn member(text: &[u8], i: usize, token: &[u8]) -> Option<usize> {
    let escaped = token.contains(&b'~');
    if escaped && !well_formed(token) {
        return None;
    }
    let mut i = space(text, i + 1);
    loop {
        if text.get(i) != Some(&b'"') {
            return None;
        }
        let (end, plain) = string(text, i)?;
        let name = &text[i + 1..end - 1];
        i = colon(text, end)?;
        if if plain && !escaped { name == token } else { same(name, token) } {
            return Some(i);
        }
        i = comma(text, skip(text, i)?, b'}')?;
    }
}

/// Returns the offset of the element that a pointer's token counts in the array at i.
pub fn element(text: &[u8], i: usize, token: &[u8]) -> Option<usize> {
    if token.is_empty() || token.len() > 9 || token.len() > 1 && token[0] == b'0' {
        return None;
    }
    let mut n = 0;
    for c in token {
        if !c.is_ascii_digit() {
            return None;
        }
        n = n * 10 + usize::from(c - b'0');
    }
    let mut i = space(text, i + 1);
    if text.get(i) == Some(&b']') {
        return None;
    }
    for _ in 0..n {
        i = comma(text, skip(text, i)?, b']')?;
    }
    Some(i)
}

/// Whether each tilde is followed by 0 or 1.
fn well_formed(token: &[u8]) -> bool {
    token.split(|c| *c == b'~').skip(1).all(|rest| matches!(rest.first(), Some(b'0' | b'1')))
}

/// Compares the content of a JSON string with a pointer's token, undoing the
/// escapes of both.
fn same(name: &[u8], token: &[u8]) -> bool {
    let mut wanted = token.iter();
    let mut rest = name;
    while let Some((&first, behind)) = rest.split_first() {
        let mut utf8 = [first, 0, 0, 0];
        let mut len = 1;
        rest = behind;
        if first == b'\\' {
            let escape = &name[name.len() - behind.len() - 1..];
            let (c, used) = unescape(escape);
            len = c.encode_utf8(&mut utf8).len();
            rest = &escape[used..];
        }
        for c in &utf8[..len] {
            let want = match wanted.next() {
                Some(b'~') => match wanted.next() {
                    Some(b'0') => b'~',
                    _ => b'/',
                },
                Some(want) => *want,
                None => return false,
            };
            if *c != want {
                return false;
            }
        }
    }
    wanted.next().is_none()
}

/// Reads one value.
pub fn skip(text: &[u8], i: usize) -> Option<usize> {
    match text.get(i)? {
        b'"' => string(text, i).map(|(end, _)| end),
        b'{' | b'[' => container(text, i),
        _ => scalar(text, i),
    }
}

/// Reads the object or array at i. Each level of nesting takes one bit of the
/// stack: 1 for an object.
fn container(text: &[u8], mut i: usize) -> Option<usize> {
    let mut stack = [0u64; MAX_DEPTH / 64];
    let mut depth = 0;
    let mut object = false; // what the innermost open container is
    loop {
        // A value begins at i.
        let c = *text.get(i)?;
        match c {
            b'"' => i = string(text, i)?.0,
            b'{' | b'[' => {
                if depth == MAX_DEPTH {
                    return None;
                }
                object = c == b'{';
                let bit = 1 << (depth % 64);
                if object {
                    stack[depth / 64] |= bit;
                } else {
                    stack[depth / 64] &= !bit;
                }
                depth += 1;
                i = space(text, i + 1);
                if *text.get(i)? != c + 2 {
                    // c + 2 closes what c opens
                    if object {
                        i = name(text, i)?;
                    }
                    continue;
                }
            }
            _ => i = scalar(text, i)?,
        }
        // A value ended before i: close containers until a comma follows.
        loop {
            i = space(text, i);
            match *text.get(i)? {
                b',' => {
                    i = space(text, i + 1);
                    if object {
                        i = name(text, i)?;
                    }
                    break;
                }
                b'}' if object => {}
                b']' if !object => {}
                _ => return None,
            }
            i += 1;
            depth -= 1;
            if depth == 0 {
                return Some(i);
            }
            object = stack[(depth - 1) / 64] >> ((depth - 1) % 64) & 1 == 1;
        }
    }
}

/// Reads the name of a member and its colon.
fn name(text: &[u8], i: usize) -> Option<usize> {
    if text.get(i) != Some(&b'"') {
        return None;
    }
    let (end, _) = string(text, i)?;
    colon(text, end)
}

/// Reads a number, true, false or null.
fn scalar(text: &[u8], i: usize) -> Option<usize> {
    let literal = |word: &[u8]| if text[i..].starts_with(word) { Some(i + word.len()) } else { None };
    match text[i] {
        b'-' | b'0'..=b'9' => number(text, i),
        b't' => literal(b"true"),
        b'f' => literal(b"false"),
        b'n' => literal(b"null"),
        _ => None,
    }
}

fn number(text: &[u8], mut i: usize) -> Option<usize> {
    if text[i] == b'-' {
        i += 1;
    }
    i = if text.get(i) == Some(&b'0') { i + 1 } else { digits(text, i)? };
    if text.get(i) == Some(&b'.') {
        i = digits(text, i + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(i) {
        i += 1;
        if let Some(b'+' | b'-') = text.get(i) {
            i += 1;
        }
        i = digits(text, i)?;
    }
    Some(i)
}

/// Reads at least one digit.
fn digits(text: &[u8], i: usize) -> Option<usize> {
    let n = text.get(i..)?.iter().take_while(|c| c.is_ascii_digit()).count();
    if n == 0 {
        return None;
    }
    Some(i + n)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Reads the string at i; true says that it has no escapes. Eight bytes at a time
/// are tested for the three kinds that end a run: quote, backslash and control
/// characters.
#[inline]
pub fn string(text: &[u8], i: usize) -> Option<(usize, bool)> {
    let mut plain = true;
    let mut i = i + 1;
    loop {
        while let Some(word) = text.get(i..i + 8) {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let w = u64::from_le_bytes(eight);
            let (quote, slash) = (w ^ (ONES * b'"' as u64), w ^ (ONES * b'\\' as u64));
            let hit = (quote.wrapping_sub(ONES) & !quote
                | slash.wrapping_sub(ONES) & !slash
                | w.wrapping_sub(ONES * b' ' as u64) & !w)
                & HIGHS;
            if hit != 0 {
                i += (hit.trailing_zeros() >> 3) as usize;
                break;
            }
            i += 8;
        }
        match *text.get(i)? {
            b'"' => return Some((i + 1, plain)),
            b'\\' => {
                i = escape(text, i)?;
                plain = false;
            }
            c if c < b' ' => return None,
            _ => i += 1,
        }
    }
}

/// Reads the escape sequence at i.
fn escape(text: &[u8], i: usize) -> Option<usize> {
    match text.get(i + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(i + 2),
        b'u' => hex4(&text[i + 2..]).map(|_| i + 6),
        _ => None,
    }
}

/// Returns the value of the four hexadecimal digits that b begins with.
fn hex4(b: &[u8]) -> Option<u32> {
    b.get(..4)?.iter().try_fold(0, |v, c| Some(v << 4 | char::from(*c).to_digit(16)?))
}

/// Returns what the escape sequence that b begins with stands for, and its
/// length. The sequence has been checked. A surrogate without its other half
/// becomes U+FFFD.
pub fn unescape(b: &[u8]) -> (char, usize) {
    let simple = match b.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let high = hex4(&b[2..]).unwrap_or(0xfffd);
            if (0xd800..0xdc00).contains(&high) {
                if let [b'\\', b'u', low @ ..] = &b[6..] {
                    if let Some(low @ 0xdc00..=0xdfff) = hex4(low) {
                        let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        return (char::from_u32(c).unwrap_or('\u{fffd}'), 12);
                    }
                }
            }
            return (char::from_u32(high).unwrap_or('\u{fffd}'), 6);
        }
        Some(c) => char::from(*c), // quote, backslash, slash
        None => '\u{fffd}',
    };
    (simple, 2)
}
