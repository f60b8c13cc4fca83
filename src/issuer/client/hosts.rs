//! Lists of hosts in the configuration: `claude.ai` is that host, `*.example.com` every host below that name.

/// Whether a host (lower case, as the URL parser writes it) is on a list.
pub(super) fn lists(list: &[String], host: &str) -> bool {
    list.iter().any(|pattern| fits(pattern, host))
}

/// A pattern never means a mere ending of a label: `*.corp.com` is not `evilcorp.com`, nor `corp.com` itself.
fn fits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(parent) => host
            .len()
            .checked_sub(parent.len() + 1)
            .filter(|at| *at > 0)
            .and_then(|at| host.split_at_checked(at))
            .and_then(|(_, tail)| tail.strip_prefix('.'))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(parent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_end_at_labels() {
        for (pattern, host, fit) in [
            ("claude.ai", "claude.ai", true),
            ("Claude.AI", "claude.ai", true),
            ("claude.ai", "www.claude.ai", false),
            ("*.corp.com", "a.corp.com", true),
            ("*.corp.com", "a.b.corp.com", true),
            ("*.corp.com", "corp.com", false),
            ("*.corp.com", "evilcorp.com", false),
            ("*.corp.com", ".corp.com", false),
            ("*.corp.com", "a.corp.com.evil.example", false),
        ] {
            assert_eq!(fits(pattern, host), fit, "{pattern} {host}");
        }
    }
}
