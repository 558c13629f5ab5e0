//! PCRE's syntax in that of the `regex` crate: <https://www.pcre.org/current/doc/html/pcre2syntax.html>.
//!
//! A single pass over the characters. Groups stop capturing, as only "found or not" is asked. Characters whose
//! meaning differs between the two are written by number.

use std::fmt::Write;

/// The options that change what a character means; groups may set them for what follows inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modes {
    /// `^` and `$` match at line breaks.
    pub multi_line: bool,
    /// White space and comments do not count.
    pub extended: bool,
}

const BACK_REFERENCE: &str = "a back-reference is not supported";
/// PCRE's bound on the counts of a repetition.
const REPETITION_MAX: u32 = 65_535;
const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\x0B\x0C\r\x20";
const HORIZONTAL: &str = r"\t\x20\xA0\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}";
const VERTICAL: &str = r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}";

/// The pattern rewritten, or why it cannot be.
pub(super) fn rewrite(pattern: &str, modes: Modes, captures: bool) -> Result<String, String> {
    let mut rewriter = Rewriter {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        modes,
        outer_modes: Vec::new(),
        group_count: 0,
        group: if captures { "(" } else { "(?:" },
        after: After::Nothing,
    };
    rewriter.leading_verbs();
    while let Some(character) = rewriter.next() {
        rewriter.step(character)?;
    }
    if !rewriter.outer_modes.is_empty() {
        return Err("missing closing parenthesis".to_owned());
    }
    Ok(rewriter.out)
}

/// What stands before the next character: decides what a quantifier there means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Item,
    Quantifier,
}

/// One member of a character class.
enum ClassItem {
    Character(char),
    Set(String),
}

struct Rewriter<'p> {
    rest: &'p str,
    out: String,
    modes: Modes,
    outer_modes: Vec<Modes>,
    /// What opens a group that PCRE captures.
    group: &'static str,
    /// Groups so far that a back-reference could name.
    group_count: usize,
    after: After,
}

impl Rewriter<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, expected: &str) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything up to `end`, which is skipped too.
    fn take_until(&mut self, end: &str) -> Option<String> {
        let length = self.rest.find(end)?;
        let taken = self.rest[..length].to_owned();
        self.rest = &self.rest[length + end.len()..];
        Some(taken)
    }

    /// Texts are UTF-8 here anyway.
    fn leading_verbs(&mut self) {
        while self.skip("(*UTF8)") || self.skip("(*UTF)") {}
    }

    fn item(&mut self, text: &str) {
        self.out.push_str(text);
        self.after = After::Item;
    }

    fn literal(&mut self, character: char) {
        push_literal(character, &mut self.out);
        self.after = After::Item;
    }

    fn set(&mut self, negated: bool, members: &str) {
        let caret = if negated { "^" } else { "" };
        // Folding case must not add to a set that is defined by its members.
        let text = format!("(?-i:[{caret}{members}])");
        self.item(&text);
    }

    fn step(&mut self, character: char) -> Result<(), String> {
        match character {
            '\\' => return self.escape(),
            '[' => return self.class(),
            '(' => return self.group(),
            '*' | '+' | '?' => return self.quantifier(character.to_string()),
            '{' => match repetition(self.rest) {
                Some(length) => {
                    let counts = self.rest[..length - 1].split(',');
                    if counts
                        .flat_map(str::parse)
                        .any(|count: u64| count > REPETITION_MAX.into())
                    {
                        return Err("number too big in {} quantifier".to_owned());
                    }
                    let repetition = format!("{{{}", &self.rest[..length]);
                    self.rest = &self.rest[length..];
                    return self.quantifier(repetition);
                }
                None => self.literal('{'),
            },
            ')' => {
                self.modes = self
                    .outer_modes
                    .pop()
                    .ok_or("unmatched closing parenthesis")?;
                self.item(")");
            }
            '|' => {
                self.out.push('|');
                self.after = After::Nothing;
            }
            '^' => {
                self.out.push('^');
                self.after = After::Nothing;
            }
            // Before a last line break, too.
            '$' if !self.modes.multi_line => {
                self.out.push_str(r"(?:\n?\z)");
                self.after = After::Nothing;
            }
            '$' => {
                self.out.push('$');
                self.after = After::Nothing;
            }
            '.' => self.item("."),
            '#' if self.modes.extended => {
                if self.take_until("\n").is_none() {
                    self.rest = "";
                }
            }
            space if self.modes.extended && space.is_ascii_whitespace() => {}
            _ => self.literal(character),
        }
        Ok(())
    }

    fn quantifier(&mut self, mut text: String) -> Result<(), String> {
        if self.after != After::Item {
            return Err("quantifier does not follow a repeatable item".to_owned());
        }
        if self.skip("+") {
            return Err("possessive quantifiers are not supported".to_owned());
        }
        if self.skip("?") {
            text.push('?');
        }
        self.out.push_str(&text);
        self.after = After::Quantifier;
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        if self.skip("*") {
            return Err("verbs are not supported".to_owned());
        }
        if !self.skip("?") {
            self.group_count += 1;
            self.open(self.group);
            return Ok(());
        }
        for (start, what) in [
            ("=", "look-ahead"),
            ("!", "look-ahead"),
            ("<=", "look-behind"),
            ("<!", "look-behind"),
            (">", "an atomic group"),
            ("|", "a branch reset group"),
            ("(", "a conditional group"),
            ("&", "a subroutine call"),
            ("P>", "a subroutine call"),
            ("P=", "a back-reference"),
            ("R", "recursion"),
            ("C", "a callout"),
        ] {
            if self.rest.starts_with(start) {
                return Err(format!("{what} is not supported"));
            }
        }
        if self.skip("#") {
            self.take_until(")").ok_or("missing ) after (?# comment")?;
            return Ok(());
        }
        if self.skip("P<") || self.skip("<") {
            self.group_count += 1;
            self.take_until(">")
                .ok_or("syntax error in the name of a group")?;
            self.open(self.group);
            return Ok(());
        }
        if self.skip("'") {
            self.group_count += 1;
            self.take_until("'")
                .ok_or("syntax error in the name of a group")?;
            self.open(self.group);
            return Ok(());
        }
        self.group_modes()
    }

    fn open(&mut self, text: &str) {
        self.outer_modes.push(self.modes);
        self.out.push_str(text);
        self.after = After::Nothing;
    }

    /// `(?flags)` and `(?flags:`.
    fn group_modes(&mut self) -> Result<(), String> {
        let outer = self.modes;
        let (mut on, mut off, mut negated) = (String::new(), String::new(), false);
        loop {
            let flag = self.next().ok_or("missing closing parenthesis")?;
            match flag {
                ')' | ':' => {
                    let sign = if off.is_empty() { "" } else { "-" };
                    let flags = format!("{on}{sign}{off}");
                    if flag == ':' {
                        self.outer_modes.push(outer);
                        self.after = After::Nothing;
                    }
                    if flag == ':' || !flags.is_empty() {
                        let _ = write!(self.out, "(?{flags}{flag}");
                    }
                    return Ok(());
                }
                '-' if !negated => negated = true,
                // White space and comments are left out here: the engine need not know.
                'x' => self.modes.extended = !negated,
                'i' | 's' | 'm' | 'U' => {
                    if flag == 'm' {
                        self.modes.multi_line = !negated;
                    }
                    let flags = if negated { &mut off } else { &mut on };
                    flags.push(flag);
                }
                _ => return Err("unrecognized character after (? or (?-".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let character = self.next().ok_or("\\ at end of pattern")?;
        match character {
            'd' | 'D' => self.set(character == 'D', DIGITS),
            'w' | 'W' => self.set(character == 'W', WORD),
            's' | 'S' => self.set(character == 'S', SPACE),
            'h' | 'H' => self.set(character == 'H', HORIZONTAL),
            'v' | 'V' => self.set(character == 'V', VERTICAL),
            'N' => self.set(true, r"\n"),
            'R' => {
                let line_break = format!(r"(?:\r\n|[{VERTICAL}])");
                self.item(&line_break);
            }
            'b' => self.assertion(r"(?-u:\b)"),
            'B' => self.assertion(r"(?-u:\B)"),
            'A' => self.assertion(r"\A"),
            'z' => self.assertion(r"\z"),
            'Z' => self.assertion(r"(?:\n?\z)"),
            // What it would leave out of the match is not asked for.
            'K' | 'E' => {}
            'Q' => {
                let quoted = match self.take_until("\\E") {
                    Some(quoted) => quoted,
                    None => std::mem::take(&mut self.rest).to_owned(),
                };
                for character in quoted.chars() {
                    self.literal(character);
                }
            }
            'g' | 'k' => return Err(BACK_REFERENCE.to_owned()),
            '1'..='9' => {
                let literal = self.octal_or_back_reference(character)?;
                self.literal(literal);
            }
            'p' | 'P' => {
                let property = self.property(character)?;
                self.item(&property);
            }
            _ => {
                let literal = self.escaped_character(character)?;
                self.literal(literal);
            }
        }
        Ok(())
    }

    /// Two digits or more that name no group before them are a character code.
    fn octal_or_back_reference(&mut self, first: char) -> Result<char, String> {
        let more = self.digits(10, 2);
        let is_group = format!("{first}{more}")
            .parse::<usize>()
            .is_ok_and(|n| n <= self.group_count);
        if more.is_empty() || is_group {
            return Err(BACK_REFERENCE.to_owned());
        }
        from_code(&format!("{first}{more}"), 8)
    }

    fn assertion(&mut self, text: &str) {
        self.out.push_str(text);
        self.after = After::Nothing;
    }

    /// `\p{Name}`, `\p{^Name}`, `\pL`.
    fn property(&mut self, kind: char) -> Result<String, String> {
        let malformed = "malformed \\P or \\p sequence";
        let name = if self.skip("{") {
            self.take_until("}").ok_or(malformed)?
        } else {
            self.next().ok_or(malformed)?.to_string()
        };
        Ok(match name.strip_prefix('^') {
            Some(name) if kind == 'p' => format!("\\P{{{name}}}"),
            Some(name) => format!("\\p{{{name}}}"),
            None => format!("\\{kind}{{{name}}}"),
        })
    }

    /// Escapes that stand for one character, inside classes and out.
    fn escaped_character(&mut self, character: char) -> Result<char, String> {
        Ok(match character {
            'a' => '\x07',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'c' => match self.next() {
                Some(control) if control.is_ascii() => {
                    char::from(control.to_ascii_uppercase() as u8 ^ 0x40)
                }
                _ => return Err("\\c must be followed by a printable ASCII character".to_owned()),
            },
            'x' if self.skip("{") => {
                let digits = self.take_until("}").unwrap_or_default();
                from_code(&digits, 16)?
            }
            'x' => {
                let digits = self.digits(16, 2);
                from_code(if digits.is_empty() { "0" } else { &digits }, 16)?
            }
            'o' if self.skip("{") => {
                let digits = self.take_until("}").unwrap_or_default();
                from_code(&digits, 8)?
            }
            '0'..='7' => {
                let digits = format!("{character}{}", self.digits(8, 2));
                from_code(&digits, 8)?
            }
            _ if character.is_ascii_alphanumeric() => {
                return Err(format!("unrecognized character follows \\: {character}"));
            }
            _ => character,
        })
    }

    fn digits(&mut self, radix: u32, count_max: usize) -> String {
        let mut digits = String::new();
        while digits.len() < count_max {
            match self.peek() {
                Some(digit) if digit.is_digit(radix) => digits.push(digit),
                _ => break,
            }
            self.next();
        }
        digits
    }

    fn class(&mut self) -> Result<(), String> {
        let unterminated = "missing terminating ] for character class";
        let mut text = String::from("[");
        if self.skip("^") {
            text.push('^');
        }
        // A bracket in the first place is a member.
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            let item = match self.class_item().ok_or(unterminated)?? {
                ClassItem::Set(set) => {
                    text.push_str(&set);
                    continue;
                }
                ClassItem::Character(character) => character,
            };
            push_literal(item, &mut text);
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range {
                self.skip("-");
                match self.class_item().ok_or(unterminated)?? {
                    ClassItem::Character(end) => {
                        text.push('-');
                        push_literal(end, &mut text);
                    }
                    ClassItem::Set(set) => {
                        push_literal('-', &mut text);
                        text.push_str(&set);
                    }
                }
            }
        }
        self.skip("]");
        text.push(']');
        self.item(&text);
        Ok(())
    }

    /// None at the end of the pattern.
    fn class_item(&mut self) -> Option<Result<ClassItem, String>> {
        let character = self.next()?;
        Some(match character {
            '\\' => self.class_escape(),
            '[' if self.rest.starts_with(':') => match self.posix_class() {
                Some(set) => Ok(ClassItem::Set(set)),
                None => Ok(ClassItem::Character('[')),
            },
            _ => Ok(ClassItem::Character(character)),
        })
    }

    /// `[:name:]` after its first bracket.
    fn posix_class(&mut self) -> Option<String> {
        let (name, rest) = self.rest.strip_prefix(':')?.split_once(":]")?;
        let letters = name.strip_prefix('^').unwrap_or(name);
        if letters.is_empty() || !letters.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        let set = format!("[:{name}:]");
        self.rest = rest;
        Some(set)
    }

    fn class_escape(&mut self) -> Result<ClassItem, String> {
        let character = self.next().ok_or("\\ at end of pattern")?;
        Ok(match character {
            'd' => ClassItem::Set(DIGITS.to_owned()),
            'w' => ClassItem::Set(WORD.to_owned()),
            's' => ClassItem::Set(SPACE.to_owned()),
            'h' => ClassItem::Set(HORIZONTAL.to_owned()),
            'v' => ClassItem::Set(VERTICAL.to_owned()),
            'D' => ClassItem::Set(format!("[^{DIGITS}]")),
            'W' => ClassItem::Set(format!("[^{WORD}]")),
            'S' => ClassItem::Set(format!("[^{SPACE}]")),
            'H' => ClassItem::Set(format!("[^{HORIZONTAL}]")),
            'V' => ClassItem::Set(format!("[^{VERTICAL}]")),
            'p' | 'P' => ClassItem::Set(self.property(character)?),
            'b' => ClassItem::Character('\x08'),
            'Q' | 'E' => return Err("\\Q inside a character class is not supported".to_owned()),
            _ => ClassItem::Character(self.escaped_character(character)?),
        })
    }
}

fn push_literal(character: char, out: &mut String) {
    if character.is_ascii() && !character.is_ascii_alphanumeric() {
        let _ = write!(out, "\\x{:02X}", u32::from(character));
    } else {
        out.push(character);
    }
}

fn from_code(digits: &str, radix: u32) -> Result<char, String> {
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .ok_or_else(|| format!("character code {digits} is not a character"))
}

/// The length of `n}`, `n,}` or `n,m}` that `rest` starts with.
fn repetition(rest: &str) -> Option<usize> {
    let end = rest.find('}')?;
    let (least, most) = match rest[..end].split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (&rest[..end], None),
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && is_number(least) && most.is_none_or(is_number)).then_some(end + 1)
}
