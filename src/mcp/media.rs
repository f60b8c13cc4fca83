//! That servers read a body as what it was judged as: JSON in UTF-8, as it stands.
//!
//! Some take its characters for what `charset` says (the HTTP+SSE transport of the TypeScript SDK, Express): in UTF-7,
//! `+ACI-` is a quote, and the text of one argument becomes the name of another tool.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::unreadable::Why;

/// Compares `Content-Type` and `Content-Encoding` with what we read. Without a type servers know what to say.
pub(super) fn judge(headers: &HeaderMap) -> Result<(), Why> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Why::Media("`Content-Encoding` is not supported here"));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let Some(first) = types.next() else {
        return Ok(());
    };
    if types.next().is_some() {
        return Err(Why::Media("`Content-Type` is sent twice"));
    }
    if first == "application/json" {
        return Ok(());
    }
    let is_json = first.to_str().is_ok_and(is_json);
    if is_json {
        Ok(())
    } else {
        Err(Why::Media(
            "`Content-Type` is not `application/json` in UTF-8",
        ))
    }
}

fn is_json(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    if parts.next() != Some("application/json") {
        return false;
    }
    let mut parameters = parts.filter(|part| !part.is_empty());
    let Some(parameter) = parameters.next() else {
        return true;
    };
    let charset = parameter.strip_prefix("charset=");
    parameters.next().is_none()
        && matches!(charset, Some("utf-8" | "\"utf-8\"" | "utf8" | "\"utf8\""))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judged(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        judge(&headers).is_ok()
    }

    #[test]
    fn only_json_in_utf8_passes() {
        assert!(judged(&[]));
        for good in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=\"UTF-8\"",
            "application/json ; charset=utf8;",
            "application/json;",
        ] {
            assert!(judged(&[("content-type", good)]), "{good}");
        }
        for bad in [
            "application/json; charset=utf-7",
            "application/json; charset=utf-16le",
            "application/json; charset=ibm037",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset='utf-8'",
            "application/json; charset = utf-7",
            "application/json; charset*=utf-7''x",
            "application/json; x=\"; charset=utf-7\"",
            "application/json, application/json; charset=utf-7",
            "application/json charset=utf-7",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json-rpc",
            "",
        ] {
            assert!(!judged(&[("content-type", bad)]), "{bad}");
        }
        let twice = ("content-type", "application/json");
        assert!(!judged(&[twice, twice]));
    }

    #[test]
    fn no_encoding_passes() {
        assert!(judged(&[("content-encoding", "Identity")]));
        for bad in ["gzip", "br", "identity, gzip", "", "utf-7"] {
            assert!(!judged(&[("content-encoding", bad)]), "{bad}");
        }
        assert!(!judged(&[
            ("content-encoding", "identity"),
            ("content-encoding", "gzip")
        ]));
    }
}
