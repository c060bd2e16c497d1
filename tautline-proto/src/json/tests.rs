//! Tests of the scanner and the canonical form.

use super::*;
use alloc::string::String;

fn normal(text: &str) -> Result<String, JsonFault> {
    normal_with(text, &JsonLimits::default())
}

fn normal_with(text: &str, limits: &JsonLimits) -> Result<String, JsonFault> {
    let mut out = Vec::new();
    normalize(text.as_bytes(), limits, &mut out)?;
    Ok(String::from_utf8(out).expect("ASCII"))
}

use alloc::vec;
use proptest::prelude::*;
use serde_json::Value;

const NULL: JsonLimits = JsonLimits { max_depth: 32, nonfinite: NonFinite::Null };

fn check_text(text: &str) -> Result<Check, JsonFault> {
    check(text.as_bytes(), &JsonLimits::default())
}

#[test]
fn canonical_form_is_that_of_python() {
    let table = [
        (" null ", "null"),
        ("[true,false]", "[true, false]"),
        ("{ }", "{}"),
        ("[ ]", "[]"),
        ("[[],{},[{}]]", "[[], {}, [{}]]"),
        (r#"{"b":1,"a":{"b":[1,2]},"b":3}"#, r#"{"b": 1, "a": {"b": [1, 2]}, "b": 3}"#),
        ("\t[\r\n1 ,2\n, 3 ]", "[1, 2, 3]"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-0", "-0"),
        ("-0.0", "-0.0"),
        ("1E5", "100000.0"),
        ("1e+0", "1.0"),
        ("1.50", "1.5"),
        ("0.1e-6", "1e-07"),
        ("1e-999", "0.0"),
        ("-1e16", "-1e+16"),
        (r#""a\/b\u0041\u00E9é\ud83d\ude00""#, r#""a/bA\u00e9\u00e9\ud83d\ude00""#),
        ("\"\u{7f}\\n\"", r#""\u007f\n""#),
    ];
    for (text, canonical) in table {
        assert_eq!(normal(text).as_deref(), Ok(canonical), "{text}");
    }
}

#[test]
fn syntax_faults_are_located() {
    let table = [
        ("", 0),
        ("  ", 2),
        ("1 2", 2),
        ("01", 1),
        ("-", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1.e5", 2),
        ("1e", 2),
        ("1e+", 3),
        ("0x1", 1),
        ("nul", 0),
        ("nulll", 4),
        ("True", 0),
        ("nan", 0),
        ("-NaN", 1),
        ("Inf", 0),
        ("-Inf", 0),
        ("[", 1),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("]", 0),
        ("{", 1),
        ("{,}", 1),
        (r#"{"a"}"#, 4),
        (r#"{"a":}"#, 5),
        (r#"{"a":1,}"#, 7),
        (r#"{"a":1]"#, 6),
        ("{1:2}", 1),
        (r#"{"a":1 "b":2}"#, 7),
        ("[]]", 2),
        ("\"a", 2),
        ("\"a\nb\"", 2),
        ("\u{feff}1", 0),
        ("// 1", 0),
        ("'a'", 0),
    ];
    for (text, offset) in table {
        assert_eq!(check_text(text), Err(JsonFault::Syntax { offset }), "{text}");
        assert_eq!(normal(text), Err(JsonFault::Syntax { offset }), "{text}");
    }
    assert_eq!(check(b"\"ab\xc3\x28\"", &NULL), Err(JsonFault::NotUtf8 { offset: 3 }));
    for (text, offset) in [
        (r#"["\ud800"]"#, 2),
        (r#"["\udfff"]"#, 2),
        (r#"{"a\uDC80": 1}"#, 3),
        (r#""\ud83d\u0041""#, 1),
        (r#""\ude00\ud83d""#, 1),
        (r#""\ud83d"#, 1),
    ] {
        assert_eq!(check_text(text), Err(JsonFault::LoneSurrogate { offset }), "{text}");
        assert_eq!(normal(text), Err(JsonFault::LoneSurrogate { offset }), "{text}");
    }
    assert_eq!(check_text(r#""\ud83""#), Err(JsonFault::Syntax { offset: 1 }));
}

#[test]
fn nesting_is_limited_without_recursion() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    let limits = |max_depth| JsonLimits { max_depth, ..JsonLimits::default() };
    let most = JsonLimits::MAX_DEPTH;
    for (depth, max_depth, fits) in [
        (0, 0, true),
        (1, 0, false),
        (32, 32, true),
        (33, 32, false),
        (most, most, true),
        (most + 1, most, false),
        (most, usize::MAX, true),
        (most + 1, usize::MAX, false),
        (1_000_000, usize::MAX, false),
    ] {
        let text = if depth == 0 { "1".into() } else { nested(depth) };
        let found = check(text.as_bytes(), &limits(max_depth));
        assert_eq!(found.err(), (!fits).then_some(JsonFault::TooDeep), "{depth} {max_depth}");
    }
    // Containers beside each other add no depth, and closed containers do not count.
    assert!(check_text(&["[", &vec!["[[]]"; 1_000].join(","), "]"].concat()).is_ok());
}

#[test]
fn serde_json_decodes_the_deepest_text_that_any_setting_allows() {
    let depth = JsonLimits::MAX_DEPTH;
    let text = ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    assert!(serde_json::from_str::<Value>(&["[", &text, "]"].concat()).is_err());
}

#[test]
fn arrays_and_objects_are_told_apart_at_every_depth() {
    let depth = JsonLimits::MAX_DEPTH;
    let limits = JsonLimits { max_depth: depth, ..JsonLimits::default() };
    let open: String = (0..depth).map(|level| if level % 3 == 0 { "[" } else { r#"{"a": "# }).collect();
    let close: String = (0..depth).rev().map(|level| if level % 3 == 0 { "]" } else { "}" }).collect();
    let text = [&open, "1", &close].concat();
    assert_eq!(normal_with(&text, &limits), Ok(text.clone()));
    assert!(check([&open, "1", &close.replacen('}', "]", 1)].concat().as_bytes(), &limits).is_err());
}

#[test]
fn numbers_that_are_not_finite_follow_the_setting() {
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1E400", "1.8e308"] {
        let text = ["[1.5, ", number, r#", "NaN"]"#].concat();
        assert_eq!(check_text(&text), Err(JsonFault::NotFinite), "{number}");
        assert_eq!(normal(&text), Err(JsonFault::NotFinite), "{number}");
        assert_eq!(check(text.as_bytes(), &NULL), Ok(Check { nonfinite: true }), "{number}");
        assert_eq!(normal_with(&text, &NULL).as_deref(), Ok(r#"[1.5, null, "NaN"]"#), "{number}");
    }
    for finite in ["1.7e308", "1e-999", "[\"Infinity\"]"] {
        assert_eq!(check(finite.as_bytes(), &NULL), Ok(Check { nonfinite: false }), "{finite}");
    }
    // Integers have no largest value, as in Python.
    assert_eq!(check_text(&"9".repeat(400)), Ok(Check::default()));
}

#[test]
fn fault_is_displayed_as_a_sentence() {
    use alloc::string::ToString;
    let fault = check_text("[1,]").expect_err("a comma too many");
    assert_eq!(fault.to_string(), "the text is not JSON: syntax error at byte 3");
}

/// Any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// JSON text in which a few bytes may be replaced, removed or inserted.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let telling = &b"{}[]:,\"\\ \t\n0123456789+-.eEutfnlrasdNIxy/\x00\x1f\x7f\xc3\xa9\xff"[..];
    let edit = (any::<prop::sample::Index>(), 0..3, prop::sample::select(telling));
    (value(), any::<bool>(), prop::collection::vec(edit, 0..4)).prop_map(|(value, pretty, edits)| {
        let written = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let mut text = written.expect("a value");
        for (place, edit, byte) in edits {
            let at = place.index(text.len() + 1);
            match edit {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                2 if at < text.len() => _ = text.remove(at),
                _ => {}
            }
        }
        text
    })
}

fn agrees_with_serde_json(text: &[u8]) -> Result<(), TestCaseError> {
    let limits = JsonLimits { max_depth: JsonLimits::MAX_DEPTH, nonfinite: NonFinite::Refuse };
    let ours = check(text, &limits);
    let theirs = serde_json::from_slice::<Value>(text);
    match ours {
        // Integers of any size are JSON. serde_json refuses very long ones, because it makes floats of them.
        Ok(_) if text.iter().filter(|byte| byte.is_ascii_digit()).count() > 300 => {}
        // serde_json reports these two faults as other errors.
        Err(JsonFault::NotFinite | JsonFault::TooDeep) => prop_assert!(theirs.is_err()),
        _ => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_serde_json_on_damaged_json(text in nearly_json()) {
        agrees_with_serde_json(&text)?;
    }

    #[test]
    fn agrees_with_serde_json_on_tokens_in_any_order(
        tokens in prop::collection::vec(prop::sample::select(&[
            "{", "}", "[", "]", ":", ",", "\"a\"", "\"", "\\", "1", "-", "0", ".", "e", "+", "null", "true",
            " ", "\\u00e9", "\\ud83d", "\\ude00", "é",
        ][..]), 0..12),
    ) {
        agrees_with_serde_json(tokens.concat().as_bytes())?;
    }

    #[test]
    fn canonical_form_keeps_the_value_and_is_stable(value in value(), pretty: bool) {
        let written = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let text = written.expect("a value");
        let mut once = Vec::new();
        normalize(&text, &JsonLimits::default(), &mut once).expect("valid");
        prop_assert!(once.is_ascii());
        prop_assert!(once.len() <= 6 * text.len());
        prop_assert_eq!(serde_json::from_slice::<Value>(&once).expect("valid"),
            serde_json::from_slice::<Value>(&text).expect("valid"));
        let mut twice = Vec::new();
        normalize(&once, &JsonLimits::default(), &mut twice).expect("valid");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn floats_read_back_bit_by_bit(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        let text = String::from_utf8(out).expect("ASCII");
        prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), value.to_bits());
        prop_assert_eq!(normal(&text), Ok(text));
    }

    #[test]
    fn strings_read_back(text: String) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        let decoded = decode_string(core::str::from_utf8(&out).expect("ASCII"));
        prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("a string"), text);
    }
}
