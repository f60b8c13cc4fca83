//! The property: rules decide as a slow and obvious evaluation does.

use proptest::prelude::*;

use super::*;

/// A rule of the property below: names, an argument that has to be 1, and what it does.
#[derive(Clone, Debug)]
struct Plain {
    names: Vec<String>,
    argument: Option<&'static str>,
    act: Option<&'static str>,
}

fn plain() -> impl Strategy<Value = Plain> {
    (
        prop::collection::vec("[ab*?]{1,3}", 1..3),
        prop::sample::select(vec![None, None, Some("p"), Some("q")]),
        prop::sample::select(vec![None, Some("deny"), Some("eng"), Some("ops")]),
    )
        .prop_filter_map("a pattern", |(names, argument, act)| {
            let fine = names.iter().all(|name| !name.contains("**"));
            fine.then_some(Plain {
                names,
                argument,
                act,
            })
        })
}

fn naive_glob(glob: &[u8], text: &[u8]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|from| naive_glob(rest, &text[from..])),
        Some((b'?', rest)) => !text.is_empty() && naive_glob(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && naive_glob(rest, &text[1..]),
    }
}

/// decisions in plain words: deny rules first, then the first that matches, then the default.
fn naive(rules: &[Plain], group: &str, name: &str, arguments: &Value) -> bool {
    let (deny, others): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.act == Some("deny"));
    for rule in deny.into_iter().chain(others) {
        if !rule
            .names
            .iter()
            .any(|glob| naive_glob(glob.as_bytes(), name.as_bytes()))
        {
            continue;
        }
        match rule.argument.map(|argument| &arguments[argument]) {
            Some(Value::Null) => continue,
            Some(Value::String(_)) => return false,
            Some(value) if *value != json!(1) => continue,
            _ => {}
        }
        return match rule.act {
            Some("deny") => false,
            Some(allowed) => allowed == group,
            None => true,
        };
    }
    false
}

proptest! {
    #[test]
    fn agrees_with_a_naive_evaluation(
        rules in prop::collection::vec(plain(), 1..6),
        group in prop::sample::select(vec!["eng", "ops"]),
        name in "[ab]{0,3}",
        arguments in prop::sample::select(vec!["{}", "{\"p\":1}", "{\"q\":1}", "{\"p\":2,\"q\":1}", "{\"p\":\"x\"}", "{\"p\":1,\"q\":null}"]),
    ) {
        let written: Vec<Value> = rules.iter().map(|rule| {
            let mut out = json!({"match": {"names": rule.names, "arguments": {}}});
            if let Some(argument) = rule.argument {
                out["match"]["arguments"][argument] = json!([1]);
            }
            match rule.act {
                Some("deny") => out["deny"] = true.into(),
                Some(group) => out["allow"] = json!({"groups": [group]}),
                None => {}
            }
            out
        }).collect();
        let bench = Bench::new(&json!({ "tools": written }));
        let values: Value = serde_json::from_str(arguments).unwrap();
        let permit = bench.decide(member(group), vec![tool_with(&name, arguments)]);
        let expected = naive(&rules, group, &name, &values);
        prop_assert_eq!(permit.is_ok(), expected);
        // What can be called is listed.
        if let Ok(permit) = permit {
            prop_assert!(permit.sight().unwrap().shows(&Reach::Tool(name.as_str().into())));
        }
    }
}
