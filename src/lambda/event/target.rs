//! A request's target, from what an event left of it.

use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::form_urlencoded::Serializer;

use super::shape::{Single, texts};

/// What cannot stand in a path (RFC 3986 section 3.3), but for `%`.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What cannot stand in a query, but for `%`.
const QUERY: &AsciiSet = &PATH.remove(b'?');

/// The target; `None` when it is none.
pub(super) fn of(path: &str, query: Option<&str>) -> Option<Uri> {
    if !path.starts_with('/') {
        return None;
    }
    let mut target = encoded(path, PATH);
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        target.push('?');
        target.push_str(&encoded(query, QUERY));
    }
    PathAndQuery::try_from(target).ok().map(Uri::from)
}

/// A query from decoded names and values.
pub(super) fn decoded_query(all: &Single) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in all {
        for text in texts(value) {
            query.append_pair(name, text);
        }
    }
    query.finish()
}

/// A query from names and values that are as the client wrote them.
pub(super) fn raw_query(all: &Single) -> String {
    let mut query = String::new();
    for (name, value) in all {
        for text in texts(value) {
            if !query.is_empty() {
                query.push('&');
            }
            // A name without a value comes with an empty one, which is the same to whoever reads it.
            query.push_str(name);
            query.push('=');
            query.push_str(text);
        }
    }
    query
}

/// Encodes what cannot stand there. A `%` that begins no escape is itself.
fn encoded(text: &str, set: &'static AsciiSet) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('%');
    out.extend(utf8_percent_encode(parts.next().unwrap_or_default(), set));
    for part in parts {
        let escape = part.as_bytes().get(..2);
        let is_escape = escape.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        out.push_str(if is_escape { "%" } else { "%25" });
        out.extend(utf8_percent_encode(part, set));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(path: &str, query: Option<&str>) -> Option<String> {
        of(path, query).map(|uri| uri.to_string())
    }

    #[test]
    fn what_can_stand_in_a_target_is_left_as_it_is() {
        let same = "/a%2Fb/%e4;x=1/~!$&'()*+,=:@";
        assert_eq!(
            target(same, Some("a=%20+b&c=?/")).unwrap(),
            format!("{same}?a=%20+b&c=?/")
        );
        assert_eq!(target("/", Some("")).unwrap(), "/");
        assert_eq!(
            target("/a b%/%zz?ü", None).unwrap(),
            "/a%20b%25/%25zz%3F%C3%BC"
        );
        assert_eq!(target("mcp", None), None);
        assert_eq!(target("", None), None);
        assert_eq!(target("http://other/", None), None);
    }

    #[test]
    fn queries_keep_repeated_names() {
        let all = serde_json::from_str(r#"{"a":["1&2","b c"],"s":"ü%"}"#).unwrap();
        assert_eq!(decoded_query(&all), "a=1%262&a=b+c&s=%C3%BC%25");
        let all = serde_json::from_str(r#"{"a":["1%262","b+c"],"s":""}"#).unwrap();
        assert_eq!(raw_query(&all), "a=1%262&a=b+c&s=");
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_target_with_the_same_meaning(path in "/\\PC{0,40}", query in "\\PC{0,40}") {
            let uri = of(&path, Some(&query)).unwrap();
            let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
            prop_assert_eq!(decode(uri.path()), decode(&path));
            prop_assert_eq!(decode(uri.query().unwrap_or_default()), decode(&query));
        }
    }
}
