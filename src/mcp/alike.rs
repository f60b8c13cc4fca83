//! Names that lenient readers take for a name of the protocol's.

/// Whether `name` is no name of these, but some readers would take it for one: in another case, by Unicode's folding
/// too (Go takes `paramſ` for `params`); in snake case instead of camel case (pydantic models that are populated by
/// name, as those of the Python SDK); cut at a zero byte (readers written in C).
pub(super) fn is_alike(name: &str, known: &[&str]) -> bool {
    // Nearly all names: only their case could differ.
    let is_plain = |byte: u8| byte.is_ascii() && !matches!(byte, b'_' | b'-' | 0);
    let fold: fn(&str, &str) -> bool = if name.bytes().all(is_plain) {
        str::eq_ignore_ascii_case
    } else {
        folds
    };
    known
        .iter()
        .any(|known| *known != name && fold(name, known))
}

fn folds(name: &str, known: &str) -> bool {
    let camel = known.bytes().any(|byte| byte.is_ascii_uppercase());
    let name = name
        .chars()
        .take_while(|letter| *letter != '\0')
        .filter(|letter| !(camel && matches!(letter, '_' | '-')))
        .map(fold);
    name.eq(known.chars().map(fold))
}

/// Without regard to case: the ASCII letter that some reader takes a letter for, else the letter itself.
fn fold(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let lower = letter.to_lowercase().next();
    let upper = letter.to_uppercase().next();
    let ascii = [lower, upper].into_iter().flatten().find(char::is_ascii);
    ascii.map_or(letter, |ascii| ascii.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_reader_would_take_for_a_name_is_alike() {
        for (name, known) in [
            ("METHOD", "method"),
            ("Params", "params"),
            ("param\u{17f}", "params"),
            ("tas\u{212a}Id", "taskId"),
            ("ur\u{131}", "uri"),
            ("\u{130}d", "id"),
            ("task_id", "taskId"),
            ("task-ids", "taskIds"),
            ("resource_subscriptions", "resourceSubscriptions"),
            ("method\0", "method"),
            ("name\0x", "name"),
        ] {
            assert!(is_alike(name, &["other", known]), "{name}");
        }
        for name in ["name", "names", "nam", "n_ame", "", "meta", "_name", "nаme"] {
            assert!(!is_alike(name, &["name", "_meta"]), "{name}");
        }
    }
}
