//! `/oauth2/auth`: another proxy asks whether a request may pass, and forwards it itself. 202 with the identity
//! in headers, 401 or 403. It judges the session, or with `?route=NAME` session or bearer token by that route's
//! audience and rule; it reads no forwarded URI, for whoever sends one would choose what is judged.

use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::record::Flight;
use super::{Snapshot, denied};
use crate::authn::{Caller, Identity};
use crate::http::{Body, Inbound, Response, respond};
use crate::mcp::Message;
use crate::reject::{Code, Fault, Reject};

pub(super) async fn answer(
    snapshot: &Snapshot,
    inbound: &Inbound,
    parts: &Parts,
    flight: &mut Flight,
) -> Result<Response, Reject> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Reject::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::MethodNotAllowed,
            Fault::Client,
            "Ask this endpoint with GET.",
        )
        .header(ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    let mut routes = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "route");
    let named = routes.next();
    if routes.next().is_some() {
        return Err(Reject::bad_request("The parameter `route` is given twice."));
    }
    let Some((_, name)) = named else {
        let identity = snapshot.authn.signed_in(&parts.headers).await?;
        flight.by(&Caller::Known(identity.clone()));
        return Ok(accepted(snapshot, inbound, Some(&identity)));
    };
    let target = snapshot.routes.named(&name).ok_or_else(|| {
        Reject::bad_request("The parameter `route` names no route of the configuration.")
    })?;
    let caller = snapshot
        .authn
        .authenticate_forwarded(inbound, &target, &parts.headers)
        .await?;
    flight.by(&caller);
    let permit = snapshot
        .policy
        .decide(caller, target, &Message::default())
        .map_err(|denied| denied::reject(denied, &snapshot.authn))?;
    Ok(accepted(snapshot, inbound, permit.identity()))
}

/// 202, with the identity in the same headers that backends get.
fn accepted(snapshot: &Snapshot, inbound: &Inbound, identity: Option<&Identity>) -> Response {
    let mut response = http::Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    respond::guard(headers);
    headers.insert("x-request-id", respond::request_id(inbound.id));
    if let Some(identity) = identity {
        snapshot.forwarder.introduce(identity, headers);
    }
    response
}
