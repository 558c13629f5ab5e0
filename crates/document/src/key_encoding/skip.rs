//! Finding the end of an encoded value without decoding it.

use super::{Direction, END, ESCAPE, number, tag};

/// The length of the first encoded value in `key`; None if it does not start with a whole one.
pub fn skip(key: &[u8], direction: Direction) -> Option<usize> {
    let mut cursor = Cursor {
        key,
        position: 0,
        inversion: match direction {
            Direction::Ascending => 0x00,
            Direction::Descending => 0xff,
        },
    };
    let first = cursor.byte()?;
    cursor.value(first)?;
    Some(cursor.position)
}

struct Cursor<'a> {
    key: &'a [u8],
    position: usize,
    inversion: u8,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.key.get(self.position)?;
        self.position += 1;
        Some(byte ^ self.inversion)
    }

    fn advance(&mut self, length: usize) -> Option<()> {
        let end = self.position.checked_add(length)?;
        if end > self.key.len() {
            return None;
        }
        self.position = end;
        Some(())
    }

    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for _ in 0..4 {
            length = length << 8 | usize::from(self.byte()?);
        }
        Some(length)
    }

    fn text(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                END => return Some(()),
                ESCAPE => self.advance(1)?,
                _ => {}
            }
        }
    }

    fn fields(&mut self) -> Option<()> {
        while self.byte()? != END {
            self.text()?;
            let tag = self.byte()?;
            self.value(tag)?;
        }
        Some(())
    }

    /// Everything after the tag.
    fn value(&mut self, tag: u8) -> Option<()> {
        match tag {
            tag::MIN_KEY | tag::UNDEFINED | tag::NULL | tag::NAN | tag::NEGATIVE_INFINITY => {
                Some(())
            }
            tag::ZERO | tag::POSITIVE_INFINITY | tag::FALSE | tag::TRUE | tag::MAX_KEY => Some(()),
            tag::POSITIVE | tag::NEGATIVE => {
                self.advance(7)?;
                let inexact = (self.byte()? & 1 == 1) == (tag == tag::POSITIVE);
                self.advance(if inexact { number::TAIL_BYTES } else { 0 })
            }
            tag::STRING | tag::CODE => self.text(),
            tag::OBJECT => self.fields(),
            tag::ARRAY => loop {
                match self.byte()? {
                    END => return Some(()),
                    tag => self.value(tag)?,
                }
            },
            tag::BINARY => {
                // The length counts what subtype 2 repeats inside, which the key does not hold.
                let length = self.length()?;
                let repeated = match self.byte()? {
                    2 => 4,
                    _ => 0,
                };
                self.advance(length.checked_sub(repeated)?)
            }
            tag::OBJECT_ID => self.advance(12),
            tag::DATE | tag::TIMESTAMP => self.advance(8),
            tag::REGEX => {
                self.text()?;
                self.text()
            }
            tag::DB_POINTER => {
                let length = self.length()?;
                self.advance(length)
            }
            tag::CODE_WITH_SCOPE => {
                self.text()?;
                self.fields()
            }
            _ => None,
        }
    }
}
