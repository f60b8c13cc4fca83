//! The answer of a listener that only leads to https.

use http::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};

use crate::http::{Body, Response};
use crate::telemetry::metrics::{Metrics, Name};
use crate::urls::PublicUrl;

/// Leads to the same path and query on `public_url`, byte for byte; never to what `Host` says.
///
/// 301 for GET and HEAD, 308 for methods that must not be turned into GET (RFC 9110 section 15.4). A target
/// without a path of its own (`*`, `CONNECT host:port`), or with bytes that a header cannot carry, is 400.
pub(super) fn to_public_url(
    public_url: Option<&PublicUrl>,
    method: &Method,
    target: &Uri,
) -> Response {
    let Some(location) = public_url.and_then(|url| location(url, target)) else {
        return answer(StatusCode::BAD_REQUEST);
    };
    let status = if matches!(*method, Method::GET | Method::HEAD) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    };
    let mut response = answer(status);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Counts an answer of a redirecting listener among the others, as a route of its own. Not prepared: these are
/// few, a client that was led once comes to the right listener.
pub(super) fn count(metrics: &Metrics, method: &Method, status: StatusCode) {
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "_other",
    };
    let labels = [
        ("status", status.as_str()),
        ("method", method),
        ("route", "_redirect"),
    ];
    metrics.counter(Name::Requests, &labels).increment(1);
}

fn location(public_url: &PublicUrl, target: &Uri) -> Option<HeaderValue> {
    let path_and_query = target.path_and_query()?.as_str();
    let fits = path_and_query.starts_with('/')
        && path_and_query
            .bytes()
            .all(|b| (0x21..=0x7e).contains(&b) && b != b'\\');
    if !fits {
        return None;
    }
    HeaderValue::try_from(public_url.join(path_and_query)).ok()
}

fn answer(status: StatusCode) -> Response {
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lead(method: &Method, target: &str) -> (u16, Option<String>) {
        let public_url = PublicUrl::parse("https://mcp.example.com").unwrap();
        let response = to_public_url(Some(&public_url), method, &target.parse().unwrap());
        let location = response
            .headers()
            .get(LOCATION)
            .map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), location)
    }

    #[test]
    fn path_and_query_stay_as_they_are() {
        let to = |rest: &str| Some(format!("https://mcp.example.com{rest}"));
        assert_eq!(
            lead(&Method::GET, "/a/%2e%2e/b?x=%20&y"),
            (301, to("/a/%2e%2e/b?x=%20&y"))
        );
        assert_eq!(lead(&Method::HEAD, "/"), (301, to("/")));
        assert_eq!(lead(&Method::POST, "/mcp"), (308, to("/mcp")));
        assert_eq!(
            lead(&Method::GET, "//evil.example/"),
            (301, to("//evil.example/"))
        );
        assert_eq!(
            lead(&Method::GET, "http://evil.example/x?y"),
            (301, to("/x?y"))
        );
    }

    #[test]
    fn what_has_no_path_is_refused() {
        assert_eq!(lead(&Method::OPTIONS, "*"), (400, None));
        assert_eq!(lead(&Method::CONNECT, "evil.example:443"), (400, None));
        assert_eq!(lead(&Method::GET, "/a\\b"), (400, None));
    }

    proptest! {
        #[test]
        fn every_redirect_stays_on_our_origin(target in "[!-~]{1,60}") {
            let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
            let public_url = PublicUrl::parse("https://mcp.example.com").unwrap();
            let response = to_public_url(Some(&public_url), &Method::GET, &uri);
            if let Some(location) = response.headers().get(LOCATION) {
                let url = url::Url::parse(location.to_str().unwrap()).unwrap();
                prop_assert_eq!(url.origin().ascii_serialization(), "https://mcp.example.com");
                prop_assert_eq!(url.username(), "");
            }
        }
    }
}
