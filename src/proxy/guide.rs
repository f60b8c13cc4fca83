//! A person opened the address of an MCP server in a browser: they are told what it is for. 401 with the same challenge
//! as ever, for nobody has come in; a page like this never leads anywhere by itself.

use http::Method;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;

use super::Snapshot;
use crate::http::pages::{Account, Help};
use crate::http::{Inbound, Response, navigation, respond};
use crate::route::Target;

/// The page, when it is a person who asks; `None` for programs, and where no client can sign in.
pub(super) async fn answer(
    snapshot: &Snapshot,
    inbound: &Inbound,
    target: &Target,
    parts: &Parts,
) -> Option<Response> {
    if parts.method != Method::GET || !navigation::wants_page(&parts.method, &parts.headers) {
        return None;
    }
    let challenge = snapshot.authn.guide(target, &parts.headers)?;
    let pages = snapshot.browser.pages();
    let here = parts
        .uri
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str);
    // Who cannot be looked up just now is told the same as who is not signed in.
    let session = snapshot
        .browser
        .session(&parts.headers)
        .await
        .ok()
        .flatten();
    let who = session.map(|session| {
        let may = snapshot.policy.admits(&session.claims, target);
        (Account::of(&session.claims), may)
    });
    let name = target.route().name.as_str();
    let page = Help {
        name: (!name.starts_with('/')).then_some(name),
        url: target.resource(),
        who,
        login: snapshot.browser.has_provider(),
    };
    let mut response = pages.help(&pages.view(&parts.headers, None, here), &page);
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, challenge);
    headers.insert("x-request-id", respond::request_id(inbound.id));
    Some(response)
}
