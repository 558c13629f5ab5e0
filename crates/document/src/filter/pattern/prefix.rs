//! The literal text that every match of an anchored pattern starts with.

/// `^text…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Not empty.
    pub text: String,
    /// Whether every string that starts with the text matches.
    pub is_whole_pattern: bool,
}

impl Prefix {
    /// Of a pattern that ignores neither case nor white space and whose `^` stands for the start of the text only.
    /// Conservative: None, or a shorter text, when in doubt.
    pub fn of(pattern: &str) -> Option<Prefix> {
        let anchored = pattern
            .strip_prefix('^')
            .or_else(|| pattern.strip_prefix("\\A"))?;
        if anchored.contains('|') {
            return None;
        }
        let mut text = String::new();
        let mut rest = anchored.chars();
        loop {
            let before = rest.as_str();
            match rest.next() {
                None => return Prefix::new(text, true),
                Some('\\') => match rest.next() {
                    Some(escaped) if !escaped.is_ascii_alphanumeric() => text.push(escaped),
                    _ => return Prefix::new(text, false),
                },
                // The last character may be repeated no times at all.
                Some('*' | '?' | '{') => {
                    text.pop();
                    return Prefix::new(text, false);
                }
                Some('.' | '+' | '$' | '^' | '(' | ')' | '[' | ']' | '}') => {
                    return Prefix::new(text, before == ".*");
                }
                Some(literal) => text.push(literal),
            }
        }
    }

    fn new(text: String, is_whole_pattern: bool) -> Option<Prefix> {
        (!text.is_empty()).then_some(Prefix {
            text,
            is_whole_pattern,
        })
    }
}
