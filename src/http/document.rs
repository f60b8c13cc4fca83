//! Public JSON documents of ours: metadata and key sets.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

use super::{Body, Response, respond};
use crate::reject::{Code, Fault, Reject};

/// A public JSON document that may be read from anywhere and kept for a while.
pub(crate) fn public(document: &Bytes, method: &Method) -> Result<Response, Reject> {
    match *method {
        Method::GET | Method::HEAD => {
            let mut response = http::Response::new(Body::full(document.clone()));
            let headers = response.headers_mut();
            respond::guard(headers);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=300"),
            );
            Ok(response)
        }
        _ => Err(Reject::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::MethodNotAllowed,
            Fault::Client,
            "This document can only be read.",
        )
        .header(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"))),
    }
}
