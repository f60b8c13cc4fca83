//! The language of a page: the person's choice, what the app asked for, what the browser prefers, the default.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use crate::config::pages::Language;

/// Bytes of a list of languages that are looked at.
const MAX_LIST: usize = 1024;

/// The language whose tag or whose primary part of a tag this is (BCP 47: `ja`, `ja-JP`, `JA_jp`).
pub(crate) fn of_tag(tag: &str) -> Option<Language> {
    let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
    Language::ALL
        .into_iter()
        .find(|language| language.tag().eq_ignore_ascii_case(primary))
}

/// The first of a `ui_locales` list that there is (OpenID Connect Core section 3.1.2.1: separated by spaces, best
/// first).
pub(crate) fn of_ui_locales(list: &str) -> Option<Language> {
    clip(list).split(' ').find_map(of_tag)
}

/// The best that a browser accepts (RFC 9110 section 12.5.4).
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Language> {
    let list = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(Language, u16)> = None;
    for entry in clip(list).split(',') {
        let mut parts = entry.split(';');
        let Some(language) = parts.next().and_then(of_tag) else {
            continue;
        };
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(Some(1000), weight)
            .unwrap_or(0);
        if weight > 0 && best.is_none_or(|(_, known)| weight > known) {
            best = Some((language, weight));
        }
    }
    best.map(|(language, _)| language)
}

/// A weight in thousandths; `None` for what is none.
fn weight(text: &str) -> Option<u16> {
    let value: f32 = text.trim().parse().ok()?;
    if !(0.0..=1.0).contains(&value) {
        return None;
    }
    // At most 1000, and never below zero.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Some((value * 1000.0).round() as u16)
}

fn clip(list: &str) -> &str {
    list.get(..MAX_LIST).unwrap_or(list)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn browser(list: &'static str) -> Option<Language> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(list));
        accepted(&headers)
    }

    #[test]
    fn the_best_that_there_is() {
        assert_eq!(browser("ja"), Some(Language::Ja));
        assert_eq!(browser("ja-JP,en;q=0.8"), Some(Language::Ja));
        assert_eq!(browser("fr, en;q=0.7, ja;q=0.9"), Some(Language::Ja));
        assert_eq!(browser("en-GB,ja"), Some(Language::En));
        assert_eq!(browser("fr"), None);
        assert_eq!(browser("ja;q=0"), None);
        assert_eq!(browser("ja;q=nan, en;q=7"), None);
        assert_eq!(browser(""), None);
        assert_eq!(of_ui_locales("fr-CA ja en"), Some(Language::Ja));
        assert_eq!(of_ui_locales("fr"), None);
    }
}
