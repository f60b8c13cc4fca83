//! Requests to endpoints of our own. They are never forwarded, whatever the method.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};

use super::record::Flight;
use super::{Proxy, Snapshot, docket, forward_auth};
use crate::admin::health::Question;
use crate::claims::Claims;
use crate::http::{Body, Inbound, Request, Response, document, respond};
use crate::issuer::{self, Surroundings};
use crate::mcp::edge::open_cors;
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};
use crate::route::Target;

pub(super) async fn answer(
    proxy: &Proxy,
    snapshot: &Snapshot,
    own: Own,
    inbound: &Inbound,
    request: Request,
    flight: &mut Flight,
) -> Result<Response, Reject> {
    // Probes come under any host name; everything else only under ours.
    match own {
        Own::Health => return Ok(proxy.health.public(Question::Health, request.method())),
        Own::Ready => return Ok(proxy.health.public(Question::Ready, request.method())),
        Own::Metrics => return Ok(crate::admin::exposition(&proxy.metrics, request.method())),
        _ => {}
    }
    let (parts, body) = request.into_parts();
    snapshot.edge.host(&parts)?;
    if leaves_a_record(own) {
        proxy.audit.ready().await.map_err(docket::unrecorded)?;
    }
    match own {
        Own::Auth => forward_auth::answer(proxy, snapshot, inbound, &parts, flight).await,
        Own::Unknown => Err(Reject::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            Fault::Client,
            "The proxy has no such endpoint.",
        )),
        Own::AssertionJwks => assertion_keys(snapshot, inbound, &parts),
        Own::Authorize
        | Own::Consent
        | Own::Token
        | Own::Register
        | Own::Revoke
        | Own::Jwks
        | Own::ServerMetadata => {
            let issuer = snapshot.issuer.as_ref().ok_or_else(issuer::not_here)?;
            let admits =
                |claims: &Arc<Claims>, target: &Target| snapshot.policy.admits(claims, target);
            let around = Surroundings {
                inbound,
                routes: &snapshot.routes,
                admits: &admits,
            };
            issuer
                .handle(own, &around, Request::from_parts(parts, body))
                .await
        }
        own => {
            snapshot
                .browser
                .handle(own, inbound, Request::from_parts(parts, body))
                .await
        }
    }
}

/// The keys that verify identity assertions. They are served from memory, to anybody, from any origin.
fn assertion_keys(
    snapshot: &Snapshot,
    inbound: &Inbound,
    parts: &Parts,
) -> Result<Response, Reject> {
    let keys = snapshot
        .assertion_keys
        .as_ref()
        .ok_or_else(issuer::not_here)?;
    let mut response = if parts.method == Method::OPTIONS {
        let mut response = http::Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        let set = keys.current().ok_or_else(|| {
            Reject::unavailable(
                Code::StoreUnavailable,
                Fault::Proxy,
                "The keys cannot be read just now. Try again in a moment.",
            )
        })?;
        document::public(set.document(), &parts.method)?
    };
    open_cors(&parts.method, &parts.headers, response.headers_mut());
    response
        .headers_mut()
        .insert("x-request-id", respond::request_id(inbound.id));
    Ok(response)
}

/// Whether something may happen there that has to be on record, and so must not where it cannot be.
fn leaves_a_record(own: Own) -> bool {
    matches!(
        own,
        Own::Authorize
            | Own::Consent
            | Own::Token
            | Own::Register
            | Own::Revoke
            | Own::Callback
            | Own::SignOut
            | Own::SwitchAccount
            | Own::BackchannelLogout
    )
}
