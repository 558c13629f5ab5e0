use super::*;

fn found(pattern: &str, options: &str, text: &str) -> bool {
    Pattern::compile(pattern, options)
        .unwrap()
        .matches(RawBsonRef::String(text))
}

fn refused(pattern: &str, options: &str) -> DocumentError {
    Pattern::compile(pattern, options).unwrap_err()
}

#[test]
fn patterns_are_found_as_pcre_finds_them() {
    let cases: &[(&str, &str, &str, bool)] = &[
        ("b+", "", "abbc", true),
        ("^b", "", "ab", false),
        ("B", "i", "abc", true),
        ("É", "i", "é", true),
        ("^b", "", "a\nb", false),
        ("^b", "m", "a\nb", true),
        ("a.b", "", "a\nb", false),
        ("a.b", "s", "a\nb", true),
        ("a b # comment (", "x", "ab", true),
        (r"a\ b", "x", "a b", true),
        // The end, or a line break right before it.
        ("a$", "", "a\n", true),
        ("a$", "", "a\nb", false),
        ("a$", "m", "a\nb", true),
        (r"a\z", "", "a\n", false),
        (r"a\Z", "", "a\n", true),
        // ASCII only.
        (r"^\d$", "", "\u{0663}", false),
        (r"^\w$", "", "é", false),
        (r"^\W$", "", "é", true),
        (r"\bb", "", "éb", true),
        (r"^[\d\-x]+$", "", "1-x", true),
        (r"^[^\s]+$", "", "a b", false),
        (r"^[\D]$", "", "a", true),
        // Brackets and braces that are literal to PCRE.
        ("^[]a]+$", "", "]a", true),
        ("^[^]a]+$", "", "b", true),
        ("^[[a]$", "", "[", true),
        ("^[a&&b]+$", "", "&", true),
        ("^[a~~b]+$", "", "~", true),
        ("^[+--]+$", "", ",", true),
        ("^[a-]+$", "", "-", true),
        (r"^[\w-z]+$", "", "-", true),
        ("^[[:alpha:]_]+$", "", "a_", true),
        ("^a{2}$", "", "aa", true),
        ("^a{,2}$", "", "a{,2}", true),
        ("^{a}$", "", "{a}", true),
        ("^a{b$", "", "a{b", true),
        (r"^\Qa.b\E+$", "", "a.bbb", true),
        (r"^\x41\x{42}\103\e$", "", "ABC\x1b", true),
        (r"^\/\-\<\@$", "", "/-<@", true),
        (r"^\p{Lu}\pL\P{L}$", "", "Éé1", true),
        (r"^a\Rb$", "", "a\r\nb", true),
        (r"^\h\v$", "", "\t\n", true),
        (
            "^(a|b)(?:c)(?<n>d)(?P<m>e)(?#not this)f$",
            "",
            "acdef",
            true,
        ),
        ("^(?i)AB(?-i)c$", "", "abc", true),
        ("^(?i:A)b$", "", "aB", false),
        ("^(?x) a b $", "", "ab", true),
        ("^((?x) a )b c$", "", "ab c", true),
        ("(?m)^b$", "", "a\nb\nc", true),
        ("a+?b*?c??", "", "ab", true),
        ("(*UTF8)^é$", "", "é", true),
        ("(a|)", "", "", true),
        ("", "", "anything", true),
    ];
    for (pattern, options, text, expected) in cases {
        assert_eq!(
            found(pattern, options, text),
            *expected,
            "/{pattern}/{options} in {text:?}"
        );
    }
}

#[test]
fn what_needs_backtracking_is_refused_by_name() {
    for (pattern, what) in [
        ("a(?=b)", "look-ahead"),
        ("a(?!b)", "look-ahead"),
        ("(?<=a)b", "look-behind"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "a back-reference"),
        (r"(((((((((())))))))))\10", "a back-reference"),
        (r"(?<n>a)\k<n>", "a back-reference"),
        ("(?>a)", "an atomic group"),
        ("a++", "possessive"),
        ("(?R)", "recursion"),
        ("(a", "missing closing parenthesis"),
        ("a)", "unmatched closing parenthesis"),
        ("[a", "missing terminating ]"),
        ("*a", "quantifier does not follow"),
        ("a**", "quantifier does not follow"),
        (r"\y", "unrecognized character"),
        ("a{100000}", "number too big"),
        ("a{65000}{65000}", "quantifier does not follow"),
        ("(?:a{60000}){60000}", ""),
    ] {
        let error = refused(pattern, "");
        assert_eq!(error.kind.code(), 51091, "{pattern}");
        assert!(
            error.message.starts_with("Regular expression is invalid: "),
            "{error}"
        );
        assert!(error.message.contains(what), "{pattern}: {error}");
    }
    assert_eq!(refused("a", "q").kind.code(), 51108);
    assert_eq!(refused("a\0", "").kind.code(), 51109);
}

#[test]
fn a_pattern_is_itself_as_a_value_and_nothing_else() {
    let pattern = Pattern::compile("^a", "i").unwrap();
    let value = |options: &str| {
        RawBson::RegularExpression(Regex {
            pattern: "^a".try_into().unwrap(),
            options: options.try_into().unwrap(),
        })
    };
    assert!(pattern.matches(value("i").as_raw_bson_ref()));
    assert!(!pattern.matches(value("").as_raw_bson_ref()));
    assert!(pattern.matches(RawBsonRef::Symbol("A")));
    assert!(!pattern.matches(RawBsonRef::JavaScriptCode("a")));
}

#[test]
fn the_literal_prefix_is_never_too_long() {
    let of = |pattern| Prefix::of(pattern).map(|prefix| (prefix.text, prefix.is_whole_pattern));
    let some = |text: &str, whole| Some((text.to_owned(), whole));
    assert_eq!(of("^abc"), some("abc", true));
    assert_eq!(of("^abc.*"), some("abc", true));
    assert_eq!(of("^abc.*d"), some("abc", false));
    assert_eq!(of("^abc$"), some("abc", false));
    assert_eq!(of("^ab*"), some("a", false));
    assert_eq!(of("^ab?"), some("a", false));
    assert_eq!(of("^ab{2}"), some("a", false));
    assert_eq!(of("^ab+"), some("ab", false));
    assert_eq!(of(r"^a\.b"), some("a.b", true));
    assert_eq!(of(r"\Aab\d"), some("ab", false));
    assert_eq!(of("^a|b"), None);
    assert_eq!(of("^(?i)a"), None);
    assert_eq!(of("a"), None);
    assert_eq!(of("^"), None);
}
