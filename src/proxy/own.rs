//! Requests to endpoints of our own. They are never forwarded, whatever the method.

use http::StatusCode;

use super::record::Flight;
use super::{Proxy, Snapshot, forward_auth};
use crate::admin::health::Question;
use crate::http::{Inbound, Request, Response};
use crate::paths::Own;
use crate::reject::{Code, Fault, Reject};

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
    if let (Some((desk, clients)), Own::Authorize | Own::Consent | Own::Register | Own::ServerMetadata | Own::Token) = (&snapshot.desk, own) {
        let admits = |claims: &std::sync::Arc<crate::claims::Claims>, target: &crate::route::Target| snapshot.policy.admits(claims, target);
        let visit = crate::issuer::desk::Visit { inbound, routes: &snapshot.routes, admits: &admits };
        let request = Request::from_parts(parts, body);
        return match own {
            Own::Authorize => Box::pin(crate::issuer::authorize::answer(desk, visit, request)).await,
            Own::Consent => Box::pin(crate::issuer::consent::answer(desk, visit, request)).await,
            Own::Register => Ok(Box::pin(crate::issuer::register::register(clients, inbound, request)).await),
            _ => {
                let o = snapshot.browser.origin_temp();
                let text = format!(r#"{{"issuer":"{o}","authorization_endpoint":"{o}/oauth2/authorize","token_endpoint":"{o}/oauth2/token","registration_endpoint":"{o}/oauth2/register"}}"#);
                let mut r = http::Response::new(crate::http::Body::full(text));
                r.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
                Ok(r)
            }
        };
    }
    match own {
        Own::Auth => forward_auth::answer(snapshot, inbound, &parts, flight).await,
        Own::Unknown => Err(Reject::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            Fault::Client,
            "The proxy has no such endpoint.",
        )),
        own => {
            snapshot
                .browser
                .handle(own, inbound, Request::from_parts(parts, body))
                .await
        }
    }
}
