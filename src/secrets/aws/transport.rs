//! Requests of AWS's crates over our own client: the same TLS, the same roots, the same bounds as everywhere.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::LIMIT;
use crate::upstream::fetch::{Fetch, FetchError};

/// Sends over `fetch`, within the shorter of its own limit and what the caller asks for.
pub(super) fn client(fetch: &Fetch) -> SharedHttpClient {
    let fetch = fetch.clone();
    http_client_fn(
        move |settings: &HttpConnectorSettings, _: &RuntimeComponents| {
            let asked = [settings.connect_timeout(), settings.read_timeout()];
            let limit = asked.into_iter().flatten().sum::<Duration>();
            SharedHttpConnector::new(Connector {
                fetch: fetch.clone(),
                limit: if limit.is_zero() { LIMIT } else { limit },
            })
        },
    )
}

#[derive(Debug)]
struct Connector {
    fetch: Fetch,
    limit: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (fetch, limit) = (self.fetch.clone(), self.limit);
        HttpConnectorFuture::new(async move {
            tokio::time::timeout(limit, send(&fetch, request))
                .await
                .unwrap_or_else(|late| Err(ConnectorError::timeout(late.into())))
        })
    }
}

async fn send(fetch: &Fetch, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let user = |error: &dyn std::fmt::Display| ConnectorError::user(error.to_string().into());
    let request = request.try_into_http1x().map_err(|error| user(&error))?;
    let (head, body) = request.into_parts();
    // Questions are small and whole: nothing that is asked here streams.
    let body = body.bytes().map(Bytes::copy_from_slice);
    let body = body.ok_or_else(|| user(&"the request has a streaming body"))?;
    let answer = fetch.send(http::Request::from_parts(head, body)).await;
    let answer = answer.map_err(|error| match error {
        FetchError::Timeout(_) => ConnectorError::timeout(error.into()),
        FetchError::Address(_) => ConnectorError::user(error.into()),
        error => ConnectorError::io(error.into()),
    })?;
    HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|error| user(&error))
}
