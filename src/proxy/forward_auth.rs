//! `/oauth2/auth`: another proxy asks whether a request may pass, and forwards it itself. 202 with the identity
//! in headers, 401 or 403. It judges the session, or with `?route=NAME` session or bearer token by that route's
//! audience and rule; it reads no forwarded URI, for whoever sends one would choose what is judged.

use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::docket::{self, Docket};
use super::record::Flight;
use super::{Proxy, Snapshot, denied};
use crate::authn::{Caller, Identity};
use crate::http::{Body, Inbound, Response, respond};
use crate::mcp::Message;
use crate::reject::{Code, Fault, Reject};

pub(super) async fn answer(
    proxy: &Proxy,
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
        let signed_in = snapshot.authn.signed_in(&parts.headers).await;
        let identity = signed_in.inspect_err(|reject| {
            docket::refused(&proxy.audit, inbound, None, &parts.headers, reject);
        })?;
        flight.by(&Caller::Known(identity.clone()));
        return Ok(accepted(snapshot, inbound, Some(&identity)));
    };
    let target = snapshot.routes.named(&name).ok_or_else(|| {
        Reject::bad_request("The parameter `route` names no route of the configuration.")
    })?;
    let caller = snapshot
        .authn
        .authenticate_forwarded(inbound, &target, &parts.headers)
        .await
        .inspect_err(|reject| {
            let route = Some(&**target.route());
            docket::refused(&proxy.audit, inbound, route, &parts.headers, reject);
        })?;
    flight.by(&caller);
    let message = Message::default();
    let said = docket::Asked {
        target: &target,
        method: &parts.method,
        headers: &parts.headers,
        path: None,
        message: &message,
    };
    let docket = Docket::open(&proxy.audit, inbound, &caller, said).await?;
    let permit = match snapshot.policy.decide(caller, target, &message) {
        Ok(permit) => permit,
        Err(denied) => {
            if let Some(docket) = docket {
                docket.denied(&denied).await?;
            }
            return Err(denied::reject(denied, &snapshot.authn));
        }
    };
    if let Some(docket) = docket {
        flight.trail = Some(docket.permitted(&permit).await?);
    }
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
