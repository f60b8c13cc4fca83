//! The revocation endpoint (RFC 7009): a client gives back what it was given.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method};

use super::error::OAuthError;
use super::grant::Ending;
use super::token::{self, TokenDesk};
use crate::audit::{Event, Kind, Who};
use crate::http::{Body, Inbound, Request, Response};

/// `POST /oauth2/revoke`. Access and refresh tokens both name their grant, and it ends as a whole. What is no token of
/// this client is answered like one that was revoked (RFC 7009 section 2.2).
pub(super) async fn answer(desk: &TokenDesk, inbound: &Inbound, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return token::other_method();
    }
    let outcome = async {
        let form = token::read(&head.headers, body).await?;
        let client =
            token::authenticated(&desk.clients, &head.headers, &form, inbound.client).await?;
        let token = form
            .secret("token")
            .ok_or(OAuthError::invalid_request("token is missing"))?;
        let grant = match desk.grants.named_by(token, &client) {
            Some(grant) => Some(grant),
            None => {
                desk.access
                    .grant_of(token.expose_secret(), &client.digest)
                    .await
            }
        };
        if let Some(grant) = grant {
            desk.grants.end(&grant, Ending::Revoked).await?;
            desk.audit.note_with(|_| {
                let who = Who::client(&client.id).with_grant(&grant);
                Event::ok(Kind::TokenRevoked).by(who).at(inbound.place())
            });
        }
        Ok::<_, OAuthError>(())
    }
    .await;
    match outcome {
        Ok(()) => {
            let mut response = http::Response::new(Body::full("{}"));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => error.answer(),
    }
}
