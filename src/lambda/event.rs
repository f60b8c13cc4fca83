//! Events of function URLs, API Gateway and load balancers, as requests.
//!
//! What an event says of the connection is taken from where its sender put it and no client can: the source address
//! stands in `requestContext`. What it left of the request's target is kept as it is; only what cannot stand in one is
//! encoded.

mod request;
mod shape;
mod target;

use std::sync::Arc;

use self::shape::{Context, Event};
use super::fit::is_of_api_gateway;
use crate::http::Request;
use crate::peer::Conn;

/// Whose event it is, which decides how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A function URL (payload 2.0).
    Url,
    /// An HTTP API of API Gateway, payload 2.0.
    HttpApi,
    /// A REST API of API Gateway, or an HTTP API with payload 1.0.
    RestApi,
    /// An Application Load Balancer.
    LoadBalancer {
        /// The target group has multi-value headers switched on.
        multi_value: bool,
    },
}

/// An event that asks for something over HTTP.
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// The request, or why it is answered at once.
    pub(super) request: Result<(Arc<Conn>, Request), Unusable>,
}

/// The event is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
    /// It cannot be read.
    #[error("the event cannot be read ({0}); {ANSWERED}")]
    Unreadable(#[from] serde_json::Error),
    /// It is something else.
    #[error("the event is none of a request; {ANSWERED}")]
    Other,
}

const ANSWERED: &str = "this function answers function URLs, REST and HTTP APIs of API Gateway and Application Load Balancers; connect it to one of them";

/// Why a request is answered without being judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It came by an address under which the proxy cannot be.
    #[error(
        "This address has the stage of an API in front of each path, where the proxy cannot serve sign-in and metadata. Use the custom domain that is mapped to the stage, or, with an HTTP API, its stage `$default`."
    )]
    Stage,
    /// A part of it is no HTTP.
    #[error("The {0} of the request cannot be read.")]
    Part(&'static str),
    /// It has too many headers.
    #[error("The request has too many headers.")]
    Headers,
}

/// Bounds of a request's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Number of header fields.
    pub(super) headers: usize,
    /// Bytes of target and headers together.
    pub(super) bytes: usize,
}

/// Reads an event.
pub(super) fn read(json: &[u8], bounds: Bounds) -> Result<Asked, EventError> {
    let event: Event = serde_json::from_slice(json)?;
    let kind = kind(&event).ok_or(EventError::Other)?;
    let request = if has_stage(kind, &event.request_context) {
        Err(Unusable::Stage)
    } else {
        request::of(kind, event, bounds)
    };
    Ok(Asked { kind, request })
}

fn kind(event: &Event) -> Option<Kind> {
    let context = &event.request_context;
    if context.elb.is_some() {
        event.http_method.as_ref()?;
        return Some(Kind::LoadBalancer {
            multi_value: event.multi_value_headers.is_some(),
        });
    }
    if event.version.as_deref() == Some("2.0") {
        context.http.as_ref()?;
        let domain = context.domain_name.as_deref().unwrap_or_default();
        let label = domain.split('.').nth(1);
        return Some(if label == Some("lambda-url") {
            Kind::Url
        } else {
            Kind::HttpApi
        });
    }
    (event.http_method.is_some() && event.path.is_some() && context.identity.is_some())
        .then_some(Kind::RestApi)
}

/// Whether clients had to put a stage in front of the path. An HTTP API puts a named stage in front of the path
/// itself, whatever the client did, and nobody can tell the two apart.
fn has_stage(kind: Kind, context: &Context) -> bool {
    let named = context
        .stage
        .as_deref()
        .is_some_and(|stage| stage != "$default");
    let domain = context.domain_name.as_deref().unwrap_or_default();
    match kind {
        Kind::HttpApi => named,
        Kind::RestApi => named && is_of_api_gateway(domain),
        Kind::Url | Kind::LoadBalancer { .. } => false,
    }
}

#[cfg(test)]
mod tests;
