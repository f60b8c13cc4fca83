//! `pages`: what operators put on pages has to be readable and harmless.

use super::Checker;
use crate::config::pages::{Language, check_accent, check_contact, check_logo, check_text};

/// Characters of a notice.
const MAX_NOTICE: usize = 300;

pub(super) fn check(checker: &mut Checker) {
    let pages = &checker.config.pages;
    let mut found = Vec::new();
    let mut look = |key: &str, outcome: Option<Result<(), String>>| {
        if let Some(Err(message)) = outcome {
            found.push((format!("pages.{key}"), message));
        }
    };
    look(
        "name",
        pages.name.as_deref().map(|name| check_text(name, 64)),
    );
    look("logo_file", pages.logo_file.as_deref().map(check_logo));
    look(
        "support_contact",
        pages.support_contact.as_deref().map(check_contact),
    );
    look("accent", pages.accent.as_deref().map(check_accent));
    for language in Language::ALL {
        let text = pages.notice.text(language);
        look(
            &format!("notice.{}", language.tag()),
            text.map(|text| check_text(text, MAX_NOTICE)),
        );
    }
    for (key, message) in found {
        checker.add(key, message);
    }
}
