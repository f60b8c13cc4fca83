//! The way out for a [`Reject`]: for whom the answer is written, and when it is a login instead.

use http::{HeaderMap, Method};

use super::record::Flight;
use super::{Snapshot, wants_page};
use crate::config::route::Kind;
use crate::http::pages::View;
use crate::http::respond::{self, Audience};
use crate::http::{Inbound, Request, Response};
use crate::oidc::Wish;
use crate::reject::{Fault, Reject};
use crate::telemetry::access::Rejected;

/// What has to be known of a request after it was used up.
pub(super) struct Asked {
    /// How a person sees the answer, if it is for one.
    page: Option<View>,
    /// For a login that returns here; only kept when the answer may be one.
    navigation: Option<(String, HeaderMap)>,
}

impl Asked {
    pub(super) fn of(request: &Request, snapshot: &Snapshot) -> Self {
        let wanted = wants_page(request.method(), request.headers());
        let place = request
            .uri()
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let get = request.method() == Method::GET;
        let page = wanted.then(|| {
            let here = get.then_some(place);
            let pages = snapshot.browser.pages();
            pages.view(request.headers(), None, here)
        });
        let navigation = (wanted && get).then(|| {
            let mut cookies = HeaderMap::new();
            for cookie in request.headers().get_all(http::header::COOKIE) {
                cookies.append(http::header::COOKIE, cookie.clone());
            }
            (place.to_owned(), cookies)
        });
        Self { page, navigation }
    }
}

/// Writes the answer, and the part of the rejection that goes into the access record.
pub(super) async fn answer(
    snapshot: &Snapshot,
    inbound: &Inbound,
    asked: &Asked,
    flight: &Flight,
    reject: Reject,
) -> (Response, Option<Rejected>) {
    let mcp = flight
        .route
        .as_ref()
        .is_some_and(|route| route.kind == Kind::Mcp);
    if reject.wants_login()
        && !mcp
        && let Some((place, headers)) = &asked.navigation
    {
        // Not an error: the person is on the way to the provider. If that fails, that failure is the answer.
        let wish = Wish::default();
        return match Box::pin(
            snapshot
                .browser
                .login_redirect(inbound, headers, place, wish),
        )
        .await
        {
            Ok(response) => (response, None),
            Err(failed) => write(snapshot, inbound, asked, flight, mcp, &failed),
        };
    }
    write(snapshot, inbound, asked, flight, mcp, &reject)
}

fn write(
    snapshot: &Snapshot,
    inbound: &Inbound,
    asked: &Asked,
    flight: &Flight,
    mcp: bool,
    reject: &Reject,
) -> (Response, Option<Rejected>) {
    if reject.fault() == Fault::Proxy && reject.status().is_server_error() {
        tracing::warn!(request_id = %inbound.id, code = reject.code().as_str(), reason = reject.reason(), "a request was refused for a fault of ours");
    }
    let view = asked.page.as_ref().map(|view| {
        if flight.is_own() {
            // The address may hold what is good once, or not for links.
            view.clone().at(None)
        } else {
            view.clone()
        }
    });
    let account = flight.account();
    let audience = if let Some(view) = &view {
        Audience::Page {
            pages: snapshot.browser.pages(),
            view,
            account: account.as_ref(),
        }
    } else if mcp {
        Audience::Mcp {
            id: flight.message.only().and_then(|call| call.id.as_deref()),
        }
    } else {
        Audience::Http
    };
    let rejected = Rejected {
        code: reject.code(),
        fault: reject.fault(),
        reason: reject.reason().map(Into::into),
    };
    (respond::reject(reject, audience, inbound), Some(rejected))
}
