//! Terms, searches and scores. The articles and what is found among them are those of MongoDB's manual, under `$text`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{Document, RawBson, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::tokens::{Sensitivity, terms};
use super::{Language, TextExpression, TextRules, TextSearch, key_of};

fn rules(weights: &[(&str, f64)], others: Option<f64>) -> Arc<TextRules> {
    let weights = weights
        .iter()
        .map(|(name, weight)| ((*name).to_owned(), *weight));
    let weights: BTreeMap<String, f64> = weights.collect();
    Arc::new(TextRules::new(
        weights,
        others,
        Language::english(),
        "language".to_owned(),
    ))
}

fn raw(document: Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).expect("it can be encoded")
}

fn search(operand: Document, rules: &Arc<TextRules>) -> TextSearch {
    let operand = RawBson::Document(raw(operand));
    let expression = TextExpression::parse(operand.as_raw_bson_ref()).expect("well formed");
    TextSearch::new(&expression, rules)
}

fn articles() -> Vec<RawDocumentBuf> {
    let subjects = [
        "coffee",
        "Coffee Shopping",
        "Baking a cake",
        "baking",
        "Café Con Leche",
        "Сырники",
        "coffee and cream",
        "Cafe con Leche",
    ];
    let articles = subjects.iter().zip(1..);
    articles
        .map(|(subject, id)| raw(doc! { "_id": id, "subject": *subject }))
        .collect()
}

fn found(operand: Document) -> Vec<i32> {
    let search = search(operand, &rules(&[("subject", 1.0)], None));
    let articles = articles();
    let found = articles.iter().filter(|article| search.matches(article));
    found
        .map(|article| article.get_i32("_id").expect("an id"))
        .collect()
}

#[test]
fn searches_of_the_manual_find_what_it_says() {
    assert_eq!(found(doc! { "$search": "coffee" }), [1, 2, 7]);
    assert_eq!(
        found(doc! { "$search": "bake coffee cake" }),
        [1, 2, 3, 4, 7]
    );
    assert_eq!(found(doc! { "$search": "\"coffee shop\"" }), [2]);
    assert_eq!(found(doc! { "$search": "coffee -shop" }), [1, 7]);
    assert_eq!(
        found(doc! { "$search": "leche", "$language": "es" }),
        [5, 8]
    );
    assert_eq!(found(doc! { "$search": "сы́рники CAFÉS" }), [5, 6, 8]);
    let case = |search: &str| found(doc! { "$search": search, "$caseSensitive": true });
    assert_eq!(case("Coffee"), [2]);
    assert_eq!(case("\"Café Con Leche\""), [5]);
    assert_eq!(case("Coffee -shop"), [2]);
    let marks = |search: &str| found(doc! { "$search": search, "$diacriticSensitive": true });
    assert_eq!(marks("CAFÉ"), [5]);
    assert_eq!(marks("leches -cafés"), [8]);
}

#[test]
fn a_search_without_terms_finds_nothing() {
    for nothing in ["", "the and of", "-coffee", "-\"coffee\""] {
        assert_eq!(found(doc! { "$search": nothing }), [0i32; 0], "{nothing:?}");
    }
}

#[test]
fn hyphens_negate_only_before_words() {
    let parsed = |text: &str| {
        let search = search(doc! { "$search": text }, &rules(&[("s", 1.0)], None));
        let query = search.query();
        let of = |terms: &std::collections::BTreeSet<String>| {
            terms.iter().cloned().collect::<Vec<_>>().join(" ")
        };
        let phrases = |phrases: &[String]| phrases.join("|");
        format!(
            "{} / {} / {} / {}",
            of(query.terms()),
            of(query.negated_terms()),
            phrases(query.phrases()),
            phrases(query.negated_phrases())
        )
    };
    assert_eq!(parsed("pre-market"), "market pre /  /  / ");
    assert_eq!(parsed("fish -meat tea"), "fish tea / meat /  / ");
    assert_eq!(parsed("-fish-meat"), "meat / fish /  / ");
    assert_eq!(
        parsed("\"red wine\"white -\"old bread\" new"),
        "new red white wine /  / red wine / old bread"
    );
    assert_eq!(parsed("\"never ended"), "end never /  /  / ");
}

#[test]
fn scores_follow_weight_frequency_and_share() {
    let rules = rules(&[("title", 10.0), ("body", 1.0)], None);
    let score = |text: &str, document: Document| {
        let search = search(doc! { "$search": text }, &rules);
        search.score(&raw(document)).expect("a score")
    };
    // As in the manual: one of two terms.
    assert_eq!(score("cake", doc! { "body": "Baking a cake" }), 0.75);
    assert_eq!(score("cake", doc! { "body": "cake" }), 1.1);
    assert_eq!(score("cake", doc! { "title": "Baking a cake" }), 7.5);
    assert_eq!(score("cake", doc! { "body": "cake cake" }), 1.5);
    assert_eq!(
        score("cake bake", doc! { "body": ["Baking a cake", "tea"] }),
        1.5
    );
    assert_eq!(score("tea", doc! { "other": "tea" }), 0.0);
}

#[test]
fn documents_and_their_parts_name_their_languages() {
    let rules = rules(&[("quote", 1.0), ("translation.quote", 1.0)], None);
    let document = doc! {
        "language": "portuguese",
        "quote": "A sorte protege os audazes",
        "translation": [
            { "language": "english", "quote": "Fortune favors the bold" },
            { "language": "spanish", "quote": "La suerte protege a los audaces." },
        ],
    };
    let terms = rules.terms(&raw(document)).expect("known languages");
    let terms: Vec<&String> = terms.keys().collect();
    assert_eq!(
        terms,
        [
            "audac", "audaz", "bold", "favor", "fortun", "proteg", "sort", "suert"
        ]
    );
    let code = |document: Document| {
        rules
            .terms(&raw(document))
            .map_err(|error| error.kind.code())
    };
    assert_eq!(code(doc! { "language": 5, "quote": "x" }), Err(17261));
    assert_eq!(
        code(doc! { "language": "klingon", "quote": "x" }),
        Err(17262)
    );
}

#[test]
fn every_field_is_text_where_the_rules_say_so() {
    let rules = rules(&[("title", 5.0)], Some(1.0));
    let document =
        doc! { "title": "tea", "deep": { "er": [{ "note": "cups" }] }, "language": "en", "n": 5 };
    let terms = rules.terms(&raw(document)).expect("text");
    let terms: Vec<(String, f64)> = terms.into_iter().collect();
    assert_eq!(terms, [("cup".to_owned(), 1.0), ("tea".to_owned(), 5.5)]);
}

#[test]
fn operands_are_checked() {
    let code = |operand: Document| {
        let operand = RawBson::Document(raw(operand));
        TextExpression::parse(operand.as_raw_bson_ref()).map_err(|error| error.kind.code())
    };
    assert_eq!(code(doc! {}), Err(4));
    assert_eq!(code(doc! { "$search": 5 }), Err(14));
    assert_eq!(code(doc! { "$search": "x", "$caseSensitive": 1 }), Err(14));
    assert_eq!(
        code(doc! { "$search": "x", "$language": "klingon" }),
        Err(2)
    );
    assert_eq!(code(doc! { "$search": "x", "more": 1 }), Err(2));
    assert!(code(doc! { "$search": "x", "$language": "NB" }).is_ok());
}

#[test]
fn long_terms_have_short_keys_of_their_own() {
    let long = "a".repeat(100);
    let longer = "a".repeat(101);
    assert_eq!(key_of("short"), "short");
    assert_eq!(key_of(&long).len(), 64);
    assert_ne!(key_of(&long), key_of(&longer));
}

proptest! {
    /// Stemmers work on bytes: no text may end the program, and a text finds itself.
    #[test]
    fn any_text_is_found_by_its_own_words(
        text in "[a-zA-Zà-öÀ-ÖßıİğŞа-яА-Яё'’ _-]{0,40}|\\PC{0,40}",
        language in prop::sample::select(vec![
            "da", "nl", "en", "fi", "fr", "de", "hu", "it", "nb", "pt", "ro", "ru", "es", "sv", "tr", "none",
        ]),
    ) {
        let language = Language::named(language).expect("it is known");
        let plain: Vec<String> = terms(&text, language, Sensitivity::default()).collect();
        let told_apart = Sensitivity { case: true, diacritics: true };
        let exact: Vec<String> = terms(&text, language, told_apart).collect();
        prop_assert_eq!(plain.len(), exact.len());
        let rules = Arc::new(TextRules::new(BTreeMap::new(), Some(1.0), language, "language".to_owned()));
        let document = raw(doc! { "s": text.as_str() });
        let words: String = text.chars().map(|c| if c == '-' || c == '"' { ' ' } else { c }).collect();
        let search = search(doc! { "$search": words }, &rules);
        prop_assert_eq!(search.matches(&document), !plain.is_empty());
        prop_assert_eq!(search.score(&document).expect("a score") > 0.0, !plain.is_empty());
    }
}
