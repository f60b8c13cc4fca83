//! A table of mistakes: what is changed in a good file, and the one problem that must be told.

use super::tests::{GOOD, lines, load_text};

/// Each line: what to replace ¦ by what ¦ how the problem begins ¦ what it says. `\n` is a new line.
const MISTAKES: &str = include_str!("mistakes.txt");

#[test]
fn every_mistake_is_named_with_its_place() {
    let mut wrong = Vec::new();
    for case in MISTAKES.lines() {
        let parts: Vec<String> = case
            .split(" ¦ ")
            .map(|part| part.replace("\\n", "\n"))
            .collect();
        let [from, to, start, says] = parts.as_slice() else {
            panic!("not four parts: {case}");
        };
        assert!(GOOD.contains(from), "the case is stale: {from}");
        let found = lines(load_text(&GOOD.replacen(from, to, 1)));
        if found.len() != 1 || !found[0].starts_with(start) || !found[0].contains(says) {
            wrong.push(format!("{to}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
