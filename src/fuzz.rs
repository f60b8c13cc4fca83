//! Where bytes of strangers are read: one function for each reader. Fuzzing (`fuzz/`) calls them with bytes that it
//! makes up, and a test with the seeds in `fuzz/seeds`. Each tells whether the bytes were taken for what they should
//! be; what matters is that it comes back, and that what the reader promises holds. A promise that does not hold
//! panics, as fuzzing wants it: nothing that serves requests calls these.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::clock::Timestamp;
use crate::config::Config;
use crate::route::Table;
use crate::urls::PublicUrl;

/// Reads bytes; tells whether they were what they should be.
pub type Reader = fn(&[u8]) -> bool;

/// The names of the readers, which are those of the fuzz targets and of the folders with seeds.
pub const TARGETS: [(&str, Reader); 7] = [
    ("cookies", cookies),
    ("request_target", request_target),
    ("token", token),
    ("key_set", key_set),
    ("config", config),
    ("message", message),
    ("endpoint_event", endpoint_event),
];

/// `Cookie` headers, one a line.
///
/// # Panics
/// When the reader breaks its promise.
pub fn cookies(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(http::header::COOKIE, value);
        }
    }
    let mut count = 0;
    for (name, value) in crate::http::cookie::pairs(&headers) {
        let visible = |text: &str| text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        assert!(visible(name) && visible(value), "{name:?}={value:?}");
        assert!(!name.contains('=') && !value.contains(';'));
        count += 1;
    }
    count > 0
}

/// A request-target, judged against routes of every kind.
///
/// # Panics
/// When the reader breaks its promise.
pub fn request_target(bytes: &[u8]) -> bool {
    static TABLE: LazyLock<Option<Table>> = LazyLock::new(|| {
        let config: Config = serde_json::from_value(serde_json::json!({
            "version": 1,
            "backends": [{ "name": "b", "upstream": "http://127.0.0.1:9/base" }],
            "routes": [
                { "path": "/mcp", "backend": "b", "public": true },
                { "path": "/files/*", "backend": "b", "public": true },
            ],
        }))
        .ok()?;
        let public = PublicUrl::parse("https://mcp.example.com").ok()?;
        Some(Table::compile(&config, &public))
    });
    let Some(table) = &*TABLE else { return false };
    let Ok(uri) = Uri::try_from(bytes) else {
        return false;
    };
    match table.find(&Method::GET, &uri) {
        Ok(_) => true,
        Err(reject) => {
            assert!(reject.status().is_client_error(), "{}", reject.status());
            false
        }
    }
}

/// An access token, before its signature is checked.
pub fn token(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|token| crate::authn::could_be_token(token, Timestamp::from_secs(1_800_000_000)))
}

/// A provider's key set.
pub fn key_set(bytes: &[u8]) -> bool {
    crate::oidc::jwks::is_key_set(bytes)
}

/// A configuration file.
pub fn config(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(crate::config::load::is_right)
}

/// The body of an MCP request. What was taken is what every other reader of JSON finds there.
///
/// # Panics
/// When the reader breaks its promise.
pub fn message(bytes: &[u8]) -> bool {
    let body = bytes::Bytes::copy_from_slice(bytes);
    let Ok(message) = crate::mcp::Message::read(&HeaderMap::new(), &body) else {
        return false;
    };
    if bytes.is_empty() {
        return false;
    }
    let plain: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let elements = match &plain {
        serde_json::Value::Array(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    assert_eq!(message.calls().len(), elements.len());
    for (call, element) in message.calls().iter().zip(elements) {
        assert_eq!(call.method.as_deref(), element["method"].as_str());
        if let ([crate::mcp::Reach::Tool(name)], "tools/call") = (
            call.reach.as_slice(),
            call.method.as_deref().unwrap_or_default(),
        ) {
            assert_eq!(Some(&**name), element["params"]["name"].as_str());
        }
    }
    true
}

/// The beginning of an HTTP+SSE stream; how it is cut into pieces makes no difference.
///
/// # Panics
/// When the reader breaks its promise.
pub fn endpoint_event(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(8 << 10)];
    let refused = crate::forward::is_refused_endpoint(bytes, bytes.len());
    assert_eq!(refused, crate::forward::is_refused_endpoint(bytes, 1));
    assert_eq!(refused, crate::forward::is_refused_endpoint(bytes, 7));
    !refused
}
