//! What secrets and personal data look like.

use std::borrow::Cow;

use regex::{Captures, Regex};

use super::BLANK;

/// The patterns, compiled.
pub(super) struct Patterns {
    all: Vec<Pattern>,
}

struct Pattern {
    name: Cow<'static, str>,
    regex: Regex,
    /// A look at what was found that an expression cannot take.
    holds: fn(&str) -> bool,
}

type Known = (&'static str, &'static str, fn(&str) -> bool);

/// Secrets first, for they are the longer texts. `(?-u)` where only ASCII is meant.
const KNOWN: [Known; 14] = [
    (
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,.\-]*",
        always,
    ),
    (
        "jwt",
        r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}",
        always,
    ),
    (
        "bearer",
        r"(?i)\b(?:bearer|basic|dpop)\s+[A-Za-z0-9._~+/=-]{8,}",
        always,
    ),
    (
        "url_password",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:]{1,128}:[^\s/@]{1,256}@",
        always,
    ),
    ("proxy_token", r"\bmcp[cr]_[A-Za-z0-9_-]{8,}", always),
    (
        "aws_key",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
        always,
    ),
    (
        "api_key",
        r"\b(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-|or-)?[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}|\bhf_[A-Za-z0-9]{20,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\bhvs\.[A-Za-z0-9_-]{20,}",
        always,
    ),
    (
        "assigned_secret",
        r#"(?i)\b(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|client[_-]?secret)["']?\s*[:=]\s*["']?[^\s"',;&]{4,}"#,
        always,
    ),
    ("long_secret", r"\b[A-Za-z0-9+/_-]{40,}={0,2}", is_dense),
    (
        "iban",
        r"(?i)\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b",
        is_iban,
    ),
    ("card", r"\b[0-9](?:[ -]?[0-9]){12,18}\b", is_card),
    (
        "email",
        r"(?i)\b[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+",
        always,
    ),
    ("ssn", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", always),
    (
        "phone",
        r"(?:\+|\b00)[1-9][0-9]{0,2}[ ./()-]*(?:[0-9][ ./()-]*){6,12}[0-9]\b|\(?\b[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b",
        always,
    ),
];

impl Patterns {
    /// The built-in ones, and further ones that the configuration's check has compiled before.
    pub(super) fn new(own: &[String]) -> Self {
        let known = KNOWN.iter().filter_map(|(name, regex, holds)| {
            Some(Pattern {
                name: Cow::Borrowed(name),
                regex: Regex::new(regex).ok()?,
                holds: *holds,
            })
        });
        let own = own.iter().enumerate().filter_map(|(at, text)| {
            Some(Pattern {
                name: Cow::Owned(format!("own{at}")),
                regex: crate::config::audit::pattern(text).ok()?,
                holds: always,
            })
        });
        Self {
            all: own.chain(known).collect(),
        }
    }

    /// The text with everything that was found blanked out.
    pub(super) fn blank(&self, text: &str) -> String {
        self.changed(text).unwrap_or_else(|| text.to_owned())
    }

    /// The same; `None` when nothing was found.
    pub(super) fn changed(&self, text: &str) -> Option<String> {
        let mut now = Cow::Borrowed(text);
        for pattern in &self.all {
            let found = pattern.regex.replace_all(&now, |found: &Captures| {
                let found = &found[0];
                if (pattern.holds)(found) {
                    format!("{BLANK}:{}]", pattern.name)
                } else {
                    found.to_owned()
                }
            });
            if let Cow::Owned(changed) = found
                && changed != *now
            {
                now = Cow::Owned(changed);
            }
        }
        match now {
            Cow::Borrowed(_) => None,
            Cow::Owned(changed) => Some(changed),
        }
    }
}

fn always(_: &str) -> bool {
    true
}

/// Whether a long word looks drawn by chance: it has digits, and letters of both cases or nothing but hex.
fn is_dense(text: &str) -> bool {
    let any = |test: fn(&u8) -> bool| text.bytes().any(|byte| test(&byte));
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    any(u8::is_ascii_digit) && (hex || (any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase)))
}

/// ISO 7064 MOD 97-10, as ISO 13616 asks for.
fn is_iban(text: &str) -> bool {
    let plain: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let rest = plain[4..]
        .iter()
        .chain(&plain[..4])
        .fold(0_u32, |rest, byte| {
            if byte.is_ascii_digit() {
                (rest * 10 + u32::from(byte - b'0')) % 97
            } else {
                (rest * 100 + u32::from(byte - b'A') + 10) % 97
            }
        });
    rest == 1
}

/// Luhn (ISO/IEC 7812-1 annex B).
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| u32::from(byte - b'0'))
        .collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10) && digits.iter().any(|d| *d > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_pattern_compiles() {
        assert_eq!(Patterns::new(&[]).all.len(), KNOWN.len());
    }
}
