//! The only way out for a [`Reject`]: page, JSON or JSON-RPC.

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::pages::{Account, ErrorPage, Pages, View};
use crate::http::{Body, Inbound, Response};
use crate::ids::RequestId;
use crate::reject::Reject;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// For whom an error is written.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// A client of an `mcp` route; the JSON-RPC request id as its original text, when it is known.
    Mcp {
        /// The request's `id`.
        id: Option<&'a str>,
    },
    /// A plain client.
    Http,
    /// A person's browser, which navigated here.
    Page {
        /// Our pages.
        pages: &'a Pages,
        /// How the person sees them.
        view: &'a View,
        /// Who is signed in, as far as it was found out.
        account: Option<&'a Account>,
    },
}

/// Writes the answer for a rejection. Security headers, `X-Request-Id` and `Cache-Control: no-store` are set;
/// a login redirect is the caller's business (see [`Reject::wants_login`]).
pub fn reject(reject: &Reject, audience: Audience<'_>, inbound: &Inbound) -> Response {
    let mut response = match audience {
        Audience::Mcp { id } => json(json_rpc(reject, id, inbound.id)),
        Audience::Http => json(plain(reject, inbound.id)),
        Audience::Page {
            pages,
            view,
            account,
        } => pages.error(
            view,
            &ErrorPage {
                status: reject.status(),
                code: reject.code(),
                message: reject.message(),
                request_id: inbound.id,
                at: inbound.received,
                account,
            },
        ),
    };
    *response.status_mut() = reject.status();
    let headers = response.headers_mut();
    guard(headers);
    headers.insert(X_REQUEST_ID, request_id(inbound.id));
    for (name, value) in reject.headers() {
        headers.append(name, value.clone());
    }
    response
}

/// A JSON answer, without the headers of [`guard`].
pub fn json(body: Vec<u8>) -> Response {
    let mut response = http::Response::new(Body::full(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Sets the headers that every answer of our own making has.
pub fn guard(headers: &mut http::HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}

/// The value of `X-Request-Id`.
pub fn request_id(id: RequestId) -> HeaderValue {
    HeaderValue::from_bytes(&id.hex()).unwrap_or(HeaderValue::from_static(""))
}

#[derive(Serialize)]
struct Plain<'a> {
    error: &'a str,
    message: &'a str,
    request_id: String,
}

fn plain(reject: &Reject, id: RequestId) -> Vec<u8> {
    to_bytes(&Plain {
        error: reject.code().as_str(),
        message: reject.message(),
        request_id: id.to_string(),
    })
}

#[derive(Serialize)]
struct Rpc<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    error: RpcError<'a>,
}

#[derive(Serialize)]
struct RpcError<'a> {
    code: i32,
    message: &'a str,
    data: RpcData<'a>,
}

#[derive(Serialize)]
struct RpcData<'a> {
    code: &'a str,
    request_id: String,
}

/// The HTTP status as a positive number is the code: outside of every range that JSON-RPC and MCP reserve, so
/// that no client takes it for an answer of the backend. A rejection may name a code of the specification instead.
fn json_rpc(reject: &Reject, id: Option<&str>, request: RequestId) -> Vec<u8> {
    let rpc = reject.rpc();
    let id = rpc.and_then(|rpc| rpc.id.as_deref()).or(id);
    to_bytes(&Rpc {
        jsonrpc: "2.0",
        id: id.and_then(|text| serde_json::from_str(text).ok()),
        error: RpcError {
            code: rpc.map_or(i32::from(reject.status().as_u16()), |rpc| rpc.code),
            message: reject.message(),
            data: RpcData {
                code: reject.code().as_str(),
                request_id: request.to_string(),
            },
        },
    })
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Texts and a checked raw value: nothing here can fail to serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;
    use crate::clock::Timestamp;
    use crate::peer::{Conn, Peer, TokenMemo};
    use crate::reject::{Code, Fault};

    fn inbound() -> Inbound {
        Inbound {
            id: RequestId::new([0xab; 16]),
            received: Timestamp::from_secs(0),
            started: tokio::time::Instant::now(),
            conn: Arc::new(Conn {
                peer: Peer::Unix,
                listener: "test".into(),
                tls: None,
                memo: TokenMemo::default(),
            }),
            client: None,
            https: false,
        }
    }

    async fn text(response: Response) -> String {
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn plain_errors_are_json_with_code_and_request_id() {
        let error = Reject::unavailable(Code::StoreUnavailable, Fault::Proxy, "Say \"again\".")
            .because("10.0.0.1 refused");
        let response = reject(&error, Audience::Http, &inbound());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["x-request-id"], "ab".repeat(16));
        assert_eq!(
            text(response).await,
            format!(
                r#"{{"error":"session_store_unavailable","message":"Say \"again\".","request_id":"{}"}}"#,
                "ab".repeat(16)
            )
        );
    }

    #[tokio::test]
    async fn json_rpc_errors_echo_the_id_or_leave_it_out() {
        let error = Reject::new(StatusCode::FORBIDDEN, Code::Forbidden, Fault::Client, "No.");
        for (id, start) in [
            (Some("7"), r#"{"jsonrpc":"2.0","id":7,"error":{"code":403,"#),
            (
                Some(r#""a\u0000b""#),
                r#"{"jsonrpc":"2.0","id":"a\u0000b","error""#,
            ),
            (
                None,
                r#"{"jsonrpc":"2.0","error":{"code":403,"message":"No.","data":{"code":"forbidden","#,
            ),
            (Some("}, nonsense"), r#"{"jsonrpc":"2.0","error""#),
        ] {
            let body = text(reject(&error, Audience::Mcp { id }, &inbound())).await;
            assert!(body.starts_with(start), "{body}");
        }
    }
}
