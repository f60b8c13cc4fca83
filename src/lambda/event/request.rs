//! One event as a request on a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::shape::{Event, Single, texts};
use super::{Bounds, Kind, Unusable, target};
use crate::headers::is_hop_by_hop;
use crate::http::{Request, RequestBody};
use crate::peer::{Conn, Peer, TlsInfo, TokenMemo};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

pub(super) fn of(
    kind: Kind,
    event: Event,
    bounds: Bounds,
) -> Result<(Arc<Conn>, Request), Unusable> {
    let method = event
        .request_context
        .http
        .as_ref()
        .map(|http| http.method.as_str())
        .or(event.http_method.as_deref())
        .unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Unusable::Part("method"))?;
    let (path, query) = place(kind, &event);
    let uri = target::of(path, query.as_deref()).ok_or(Unusable::Part("address"))?;
    let room = bounds
        .bytes
        .checked_sub(path.len() + query.as_deref().map_or(0, str::len))
        .ok_or(Unusable::Headers)?;
    let mut headers = headers(
        &event,
        Bounds {
            bytes: room,
            ..bounds
        },
    )?;
    let conn = conn(kind, &event, &headers)?;
    let body = body(event.body, event.is_base64_encoded)?;
    if body.is_empty() {
        headers.remove(CONTENT_LENGTH);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut request = Request::new(if body.is_empty() {
        RequestBody::Empty
    } else {
        RequestBody::full(body)
    });
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok((Arc::new(conn), request))
}

/// Path and query.
fn place(kind: Kind, event: &Event) -> (&str, Option<String>) {
    match kind {
        Kind::Url | Kind::HttpApi => (
            event.raw_path.as_deref().unwrap_or_default(),
            event.raw_query_string.clone(),
        ),
        Kind::RestApi | Kind::LoadBalancer { .. } => {
            let parameters = event
                .multi_value_query_string_parameters
                .as_ref()
                .or(event.query_string_parameters.as_ref());
            // A load balancer hands parameters on as they are; API Gateway decodes them.
            let write: fn(&Single) -> String = if kind == Kind::RestApi {
                target::decoded_query
            } else {
                target::raw_query
            };
            (
                event.path.as_deref().unwrap_or_default(),
                parameters.map(write),
            )
        }
    }
}

/// All headers but those of the connection that ended in front of us.
fn headers(event: &Event, bounds: Bounds) -> Result<HeaderMap, Unusable> {
    let all = event
        .multi_value_headers
        .as_ref()
        .or(event.headers.as_ref());
    let cookies = event.cookies.as_deref().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let mut room = bounds.bytes;
    let mut append = |name: HeaderName, text: &str| {
        room = room
            .checked_sub(name.as_str().len() + text.len())
            .ok_or(Unusable::Headers)?;
        let value =
            HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Unusable::Part("headers"))?;
        if headers.len() >= bounds.headers {
            return Err(Unusable::Headers);
        }
        headers.append(name, value);
        Ok(())
    };
    for (name, value) in all.into_iter().flatten() {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unusable::Part("headers"))?;
        let moved = name == COOKIE && !cookies.is_empty();
        if moved || name == EXPECT || is_hop_by_hop(name.as_str()) {
            continue;
        }
        for text in texts(value) {
            append(name.clone(), text)?;
        }
    }
    if !cookies.is_empty() {
        append(COOKIE, &cookies.join("; "))?;
    }
    Ok(headers)
}

fn conn(kind: Kind, event: &Event, headers: &HeaderMap) -> Result<Conn, Unusable> {
    let context = &event.request_context;
    let (listener, source, tls) = match kind {
        Kind::Url | Kind::HttpApi => (
            if kind == Kind::Url {
                "lambda:url"
            } else {
                "lambda:http-api"
            },
            context.http.as_ref().map(|http| http.source_ip.as_str()),
            true,
        ),
        Kind::RestApi => (
            "lambda:rest-api",
            context
                .identity
                .as_ref()
                .and_then(|it| it.source_ip.as_deref()),
            true,
        ),
        Kind::LoadBalancer { .. } => {
            let last = |name| headers.get_all(name).iter().next_back()?.to_str().ok();
            let source = last(FORWARDED_FOR).and_then(|list| list.rsplit(',').next());
            let proto = last(FORWARDED_PROTO);
            ("lambda:load-balancer", source, proto == Some("https"))
        }
    };
    let address = match (source.map(str::trim).and_then(address), kind) {
        (Some(address), _) => address,
        // Health checks come from nobody, and so do requests whose balancer keeps the address to itself.
        (None, Kind::LoadBalancer { .. }) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (None, _) => return Err(Unusable::Part("source address")),
    };
    Ok(Conn {
        peer: Peer::Tcp(SocketAddr::new(address, 0)),
        listener: listener.into(),
        tls: tls.then_some(TlsInfo {
            version: "unknown",
            server_name: None,
        }),
        memo: TokenMemo::default(),
    })
}

/// An address, which load balancers may write with the client's port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
}

fn body(text: Option<String>, base64: bool) -> Result<Bytes, Unusable> {
    let text = text.unwrap_or_default();
    if !base64 {
        return Ok(text.into());
    }
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|_| Unusable::Part("body"))
}
