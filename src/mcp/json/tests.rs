use proptest::prelude::*;

use super::super::oracle::{Plain, json_text};
use super::*;

fn scan(text: &str) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.value()?;
    scanner.end()
}

/// Whether the oracle takes it.
fn is_right(text: &str) -> bool {
    serde_json::from_str::<Plain>(text).is_ok_and(|plain| !plain.has_twins())
}

#[test]
fn what_is_json_is_taken_and_nothing_else() {
    for text in [
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "10",
        "-1.5e+3",
        "1E-2",
        r#""""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\ud83d\ude00""#,
        "[]",
        "[ ]",
        "{}",
        "{ }",
        r#"{"":1}"#,
        "[1 , 2]",
        "\t\r\n [[],{}]",
        r#"{"a":{"a":1},"b":{"a":1}}"#,
    ] {
        assert_eq!(scan(text), Ok(()), "{text}");
        assert!(is_right(text), "{text}");
    }
    for text in [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "1e999",
        "\"",
        "\"a",
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\u0041""#,
        r#""\ud83dx""#,
        "\"\t\"",
        "\"\0\"",
        "'a'",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1"b":2}"#,
        r#"{"a" 1}"#,
        r"{a:1}",
        "1 1",
        "{}{}",
        "[]]",
        "// x\n1",
        "/* */1",
        "\u{feff}1",
        "\u{a0}1",
        "\u{c}1",
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"[{"b":{"c":1,"c":2}}]"#,
    ] {
        assert!(scan(text).is_err(), "{text}");
        assert!(!is_right(text), "{text}");
    }
}

#[test]
fn faults_say_where() {
    assert_eq!(
        scan("[1, x]").unwrap_err().to_string(),
        "it is not JSON: a value is missing at byte 4"
    );
}

#[test]
fn depth_is_bounded_as_later_readers_bound_it() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for (depth, good) in [(127, true), (128, false)] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(scan(&text).is_ok(), good, "{depth}");
            assert_eq!(is_right(&text), good, "{depth}");
        }
        assert!(scan(&open.repeat(1 << 20)).is_err());
    }
}

#[test]
fn texts_have_the_meaning_that_others_find() {
    for raw in [
        "",
        "abc",
        "é☃😀",
        r"\u0000",
        r"a\u00e9b",
        r"\ud83d\ude00",
        r"x\ud83d\ude00\n\u2603y",
        r"\\u0041",
        r#"\"\\\/\b\f\n\r\t"#,
        r"\uFFFF\uffff",
        r"\\\\",
        r"\\n",
    ] {
        let text = format!("\"{raw}\"");
        let found = Scanner::new(&text).text().unwrap().unwrap().decoded();
        assert_eq!(
            found,
            serde_json::from_str::<String>(&text).unwrap(),
            "{raw}"
        );
    }
}

#[test]
fn spans_are_values_without_the_space_around_them() {
    let text = " \n{\"a\": [1, {}] } ,";
    assert_eq!(
        &text[Scanner::new(text).span().unwrap()],
        "{\"a\": [1, {}] }"
    );
}

#[test]
fn objects_give_their_members_in_order() {
    let mut scanner = Scanner::new(r#"{"a":1,"\u0062":{"a":2},"c":[{"a":3,"b":4}]}"#);
    let mut names = Vec::new();
    scanner
        .object(|scanner, name| {
            names.push(name.to_owned());
            scanner.value()
        })
        .unwrap();
    assert_eq!(
        (names.join(","), scanner.end()),
        ("a,b,c".to_owned(), Ok(()))
    );
}

/// A place in a text, as a fraction of its length, at a character.
fn place(text: &str, at: u16) -> usize {
    text.floor_char_boundary(text.len() * usize::from(at) / 65_536)
}

proptest! {
    #[test]
    fn generated_json_is_taken_when_no_name_stands_twice(text in json_text()) {
        prop_assert_eq!(scan(&text).is_ok(), is_right(&text), "{}", text);
    }

    #[test]
    fn damaged_json_is_taken_when_others_take_it(text in json_text(), at in any::<u16>(), cut in 0usize..3,
        new in "[\\[\\]{}:,\"\\\\u0-9eE+.\\- \n\ttruefalsn]{0,3}") {
        let mut text = text;
        let from = place(&text, at);
        let to = text.ceil_char_boundary((from + cut).min(text.len()));
        text.replace_range(from..to, &new);
        prop_assert_eq!(scan(&text).is_ok(), is_right(&text), "{}", text);
    }

    #[test]
    fn numbers_are_taken_when_others_take_them(text in "-?[0-9]{0,3}[.]?[0-9]{0,3}[eE]?[+-]?[0-9]{0,2}") {
        prop_assert_eq!(scan(&text).is_ok(), is_right(&text), "{}", text);
    }

    #[test]
    fn long_numbers_are_taken_when_others_take_them(digits in 290usize..330, exponent in -340i32..340) {
        for text in ["9".repeat(digits), format!("1e{exponent}"), format!("{}e{exponent}", "1".repeat(digits))] {
            // The last digits of the range are rounded in different ways.
            let edge = text.parse::<f64>().is_ok_and(|number| number.is_finite() && number > 1e308);
            prop_assert!(edge || scan(&text).is_ok() == is_right(&text), "{}", text);
        }
    }

    #[test]
    fn any_text_means_the_same_as_to_others(text in any::<String>(), ascii in any::<bool>()) {
        let plain = serde_json::to_string(&text).unwrap();
        let written = if ascii {
            let units = text.encode_utf16().fold(String::new(), |all, unit| all + &format!("\\u{unit:04x}"));
            format!("\"{units}\"")
        } else {
            plain
        };
        let found = Scanner::new(&written).text().unwrap().unwrap().decoded().into_owned();
        prop_assert_eq!(found, text);
    }

    #[test]
    fn raw_texts_are_taken_when_others_take_them(raw in "([a-z\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d|\\\\ude00|[\u{0}-\u{1f}]|é){0,12}") {
        let text = format!("\"{raw}\"");
        let found = scan(&text);
        let theirs = serde_json::from_str::<String>(&text);
        prop_assert_eq!(found.is_ok(), theirs.is_ok(), "{}", text);
        if let Ok(theirs) = theirs {
            prop_assert_eq!(Scanner::new(&text).text().unwrap().unwrap().decoded(), theirs);
        }
    }

    #[test]
    fn names_are_compared_in_objects_of_any_size(count in 0usize..100, twin in prop::option::of(0usize..100), inner in any::<bool>()) {
        let mut members: Vec<String> = (0..count).map(|at| format!("\"m{at}\":{{\"m{at}\":{at}}}")).collect();
        let doubled = twin.filter(|twin| *twin < count);
        if let Some(twin) = doubled {
            members.push(if inner { format!("\"x\":{{\"m{twin}\":0}}") } else { format!("\"\\u006d{twin}\":0") });
        }
        let text = format!("{{{}}}", members.join(","));
        prop_assert_eq!(scan(&text).is_ok(), doubled.is_none() || inner);
    }
}
