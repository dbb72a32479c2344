//! Keeps a JSON document from growing our memory, whatever is in it.
//!
//! The parsers read streams, but a JSON parser holds one string at a time in memory, and one bracket per level. The files
//! come from a store that others write to, so both are bounded on the way in: long strings are cut, deep nesting is an error.

use std::io::{self, Read};

/// Bytes kept of one string, escapes as written. Names have at most 253; of an error text more than this helps nobody.
pub const MAX_STRING: usize = 4096;

/// Bytes of the longest character, a surrogate pair of escapes.
const MAX_CHARACTER: usize = 12;

/// Levels of nesting; Velero's files have four.
const MAX_DEPTH: usize = 64;

/// Passes a JSON document on with every string cut to [`MAX_STRING`] bytes, at the border of a character.
pub struct Clipped<R> {
    inner: R,
    place: Place,
    depth: usize,
}

/// Where in the document the next byte is.
#[derive(Clone, Copy)]
enum Place {
    Outside,
    /// In a string of which `kept` bytes were passed on. `pair`: the last of them is half of a surrogate pair.
    Text {
        kept: usize,
        pair: bool,
    },
    /// After a backslash.
    Escape {
        kept: usize,
    },
    /// In the digits of a `\u` escape: how many are still to come, and the value so far.
    Unicode {
        kept: usize,
        left: u8,
        value: u32,
    },
    /// In the rest of a string that was cut.
    Dropped {
        escaped: bool,
    },
}

impl<R: Read> Clipped<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            place: Place::Outside,
            depth: 0,
        }
    }

    /// Is this byte passed on?
    fn keep(&mut self, byte: u8) -> io::Result<bool> {
        let mut pass = true;
        self.place = match self.place {
            Place::Outside => {
                match byte {
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if self.depth > MAX_DEPTH {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "nested too deeply"));
                }
                if byte == b'"' {
                    Place::Text { kept: 0, pair: false }
                } else {
                    Place::Outside
                }
            }
            Place::Text { .. } | Place::Dropped { escaped: false } if byte == b'"' => Place::Outside,
            // A continuation byte belongs to the character before it, the second half of a pair to the first; but no
            // character is this long, and then the text is broken anyhow.
            Place::Text { kept, pair }
                if kept >= MAX_STRING + MAX_CHARACTER
                    || (kept >= MAX_STRING && !pair && !(0x80..0xC0).contains(&byte)) =>
            {
                pass = false;
                Place::Dropped { escaped: byte == b'\\' }
            }
            Place::Text { kept, .. } if byte == b'\\' => Place::Escape { kept: kept + 1 },
            Place::Escape { kept } if byte == b'u' => Place::Unicode {
                kept: kept + 1,
                left: 4,
                value: 0,
            },
            Place::Text { kept, .. } | Place::Escape { kept } => Place::Text {
                kept: kept + 1,
                pair: false,
            },
            Place::Unicode { kept, left, value } => {
                let value = value << 4 | char::from(byte).to_digit(16).unwrap_or(0);
                if left > 1 {
                    Place::Unicode {
                        kept: kept + 1,
                        left: left - 1,
                        value,
                    }
                } else {
                    Place::Text {
                        kept: kept + 1,
                        pair: (0xD800..0xDC00).contains(&value),
                    }
                }
            }
            Place::Dropped { escaped: true } => {
                pass = false;
                Place::Dropped { escaped: false }
            }
            Place::Dropped { escaped: false } => {
                pass = false;
                Place::Dropped { escaped: byte == b'\\' }
            }
        };
        Ok(pass)
    }
}

impl<R: Read> Read for Clipped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                return Ok(0);
            }
            let mut kept = 0;
            for index in 0..read {
                let byte = buffer[index];
                if self.keep(byte)? {
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            // Zero would mean the end; a buffer full of dropped bytes is not the end.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

/// A parser over `reader`, buffered and bounded.
pub(super) fn parser<R: Read>(
    reader: R,
) -> serde_json::Deserializer<serde_json::de::IoRead<io::BufReader<Clipped<R>>>> {
    serde_json::Deserializer::from_reader(io::BufReader::new(Clipped::new(reader)))
}
