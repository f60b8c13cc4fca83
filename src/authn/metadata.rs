//! Protected resource metadata (RFC 9728): where a client of a route finds the authorization server.
//!
//! Built from the configuration, served from memory, whatever the provider does. Members without a value are left
//! out: clients refuse `null`.

use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::challenge::scopes;
use crate::http::{Body, Inbound, Response, respond};
use crate::mcp::edge::open_cors;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;

#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    authorization_servers: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'a str>,
    bearer_methods_supported: [&'static str; 1],
}

/// Answers GET, HEAD and OPTIONS for a resource's metadata. 404 when no issuer's tokens count here.
pub(super) fn answer(
    servers: &[Arc<str>],
    target: &Target,
    method: &Method,
    headers: &HeaderMap,
    inbound: &Inbound,
) -> Result<Response, Reject> {
    if servers.is_empty() {
        return Err(Reject::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            Fault::Client,
            "No authorization server is set up here; use an API key.",
        ));
    }
    let mut response = match *method {
        Method::GET | Method::HEAD => {
            let document = Document {
                resource: target.resource(),
                authorization_servers: servers,
                scopes_supported: scopes(target),
                bearer_methods_supported: ["header"],
            };
            let body = serde_json::to_vec(&document).map_err(|_| Reject::internal())?;
            let mut response = http::Response::new(Body::full(body));
            respond::guard(response.headers_mut());
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().insert(
                CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=300"),
            );
            response
        }
        Method::OPTIONS => {
            let mut response = http::Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => {
            return Err(Reject::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::MethodNotAllowed,
                Fault::Client,
                "This document can only be read.",
            )
            .header(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS")));
        }
    };
    open_cors(method, headers, response.headers_mut());
    response
        .headers_mut()
        .insert("x-request-id", respond::request_id(inbound.id));
    Ok(response)
}
