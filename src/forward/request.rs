//! The head that a backend sees: one pass over what the client sent, then what only we may say.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::Body as _;

use super::identity::Introducer;
use crate::authn::Identity;
use crate::config::Config;
use crate::config::backend::Backend;
use crate::http::cookie::CookieNames;
use crate::http::headers::{Fate, Reserved, connection_listed};
use crate::http::inbound::TrustedProxies;
use crate::http::{Inbound, RequestBody};
use crate::upstream::Upstream;
use crate::urls::PublicUrl;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest `X-Forwarded-For` chain of a trusted proxy that is continued; a longer one begins anew.
const MAX_CHAIN: usize = 2048;

/// Room for what is added to a request.
const ADDED: usize = 14;

/// How heads are made.
pub(super) struct HeadRules {
    reserved: Reserved,
    pub(super) cookies: CookieNames,
    introducer: Introducer,
    trusted: TrustedProxies,
    authority: Box<str>,
    host: HeaderValue,
    public_https: bool,
}

impl HeadRules {
    pub(super) fn new(config: &Config, public_url: &PublicUrl) -> Self {
        let claim_headers = config.identity_headers.claims.keys();
        let static_headers = config.backends.iter().flat_map(Backend::header_names);
        Self {
            reserved: Reserved::new(claim_headers.map(String::as_str).chain(static_headers)),
            cookies: CookieNames::new(public_url, &config.sessions.cookie_name),
            introducer: Introducer::new(&config.identity_headers),
            trusted: TrustedProxies::new(&config.trusted_proxies),
            authority: public_url.authority().into(),
            // An authority is visible ASCII.
            host: HeaderValue::from_str(public_url.authority())
                .unwrap_or(HeaderValue::from_static("localhost")),
            public_https: public_url.is_https(),
        }
    }

    /// The headers for a backend, but for the `Host` of its endpoint.
    pub(super) fn head(
        &self,
        request: &Request<RequestBody>,
        upstream: &Upstream,
        identity: Option<&Identity>,
        inbound: &Inbound,
        is_mcp: bool,
    ) -> HeaderMap {
        let from = request.headers();
        let mut to = HeaderMap::with_capacity(from.len() + ADDED);
        self.copy(from, upstream, is_mcp, &mut to);
        if upstream.keeps_host() {
            to.insert(HOST, self.client_host(request));
        }
        self.introduce(from, inbound, &mut to);
        if let Some(identity) = identity {
            self.identify(identity, &mut to);
        }
        for (name, value) in upstream.headers() {
            to.insert(name.clone(), value.clone());
        }
        to
    }

    /// The identity headers alone.
    pub(super) fn identify(&self, identity: &Identity, to: &mut HeaderMap) {
        for (name, value) in self.introducer.prepare(identity.claims()).headers() {
            to.insert(name.clone(), value.clone());
        }
    }

    fn copy(&self, from: &HeaderMap, upstream: &Upstream, is_mcp: bool, to: &mut HeaderMap) {
        let listed = connection_listed(from);
        for (name, value) in from {
            match self.reserved.fate(name.as_str()) {
                Fate::Drop | Fate::Cookie => {}
                Fate::Origin => {
                    if upstream.forward_origin() {
                        to.append(name.clone(), value.clone());
                    }
                }
                Fate::AcceptEncoding | Fate::Session if is_mcp => {}
                Fate::AcceptEncoding | Fate::Session | Fate::Keep => {
                    if listed.is_empty() || !listed.iter().any(|each| each == name.as_str()) {
                        to.append(name.clone(), value.clone());
                    }
                }
            }
        }
        if is_mcp {
            to.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(cookies) = other_cookies(from, &self.cookies) {
            to.insert(COOKIE, cookies);
        }
    }

    /// What the client sent as `Host`; in HTTP/2 that is `:authority`.
    fn client_host(&self, request: &Request<RequestBody>) -> HeaderValue {
        let of_uri = || HeaderValue::from_str(request.uri().authority()?.as_str()).ok();
        request
            .headers()
            .get(HOST)
            .cloned()
            .or_else(of_uri)
            .unwrap_or_else(|| self.host.clone())
    }

    /// Who the client is, how it reached us, and the request's name. `X-Forwarded-For` continues the chain of a
    /// trusted proxy; the others hold what was found to be true. All values share one allocation.
    fn introduce(&self, from: &HeaderMap, inbound: &Inbound, to: &mut HeaderMap) {
        let proto = if inbound.https || self.public_https {
            "https"
        } else {
            "http"
        };
        let mut text = BytesMut::with_capacity(224);
        let peer = inbound.conn.peer.ip();
        // Written once: three headers hold it.
        if let Some(client) = inbound.client {
            let _ = write!(text, "{client}");
        }
        let client = text.split().freeze();
        if self.trusted.believes(inbound.conn.peer) {
            chain(
                from,
                inbound.client.filter(|client| Some(*client) != peer),
                &mut text,
            );
        }
        if text.is_empty() && peer == inbound.client {
            insert(to, FORWARDED_FOR, client.clone());
        } else {
            if let Some(peer) = peer {
                if !text.is_empty() {
                    text.extend_from_slice(b", ");
                }
                let _ = write!(text, "{peer}");
            }
            insert(to, FORWARDED_FOR, text.split().freeze());
        }
        insert(to, REAL_IP, client.clone());
        // RFC 7239 section 6: IPv6 addresses are bracketed and quoted.
        let [before, after] = match inbound.client {
            Some(IpAddr::V6(_)) => ["for=\"[", "]\""],
            Some(IpAddr::V4(_)) => ["for=", ""],
            None => ["for=unknown", ""],
        };
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(&client);
        text.extend_from_slice(after.as_bytes());
        let _ = write!(text, ";host=\"{}\";proto={proto}", self.authority);
        insert(to, FORWARDED, text.split().freeze());
        text.extend_from_slice(&inbound.id.hex());
        insert(to, REQUEST_ID, text.freeze());
        to.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
        to.insert(FORWARDED_HOST, self.host.clone());
    }
}

/// The chain that a trusted proxy sent; when it said who the client is in another way, that.
fn chain(from: &HeaderMap, client: Option<IpAddr>, text: &mut BytesMut) {
    let lines = || {
        from.get_all(FORWARDED_FOR)
            .iter()
            .map(HeaderValue::as_bytes)
            .filter(|line| !line.is_empty())
    };
    let length: usize = lines().map(|line| line.len() + 2).sum();
    if length > 0 && length <= MAX_CHAIN {
        for line in lines() {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(line);
        }
    } else if let Some(client) = client {
        let _ = write!(text, "{client}");
    }
}

fn insert(to: &mut HeaderMap, name: HeaderName, text: Bytes) {
    if !text.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(text)
    {
        to.insert(name, value);
    }
}

/// The client's cookies without ours, in one line: HTTP/2 may split them (RFC 9113 section 8.2.3). A line that has
/// none of ours goes on as it is.
fn other_cookies(from: &HeaderMap, ours: &CookieNames) -> Option<HeaderValue> {
    let lines = || from.get_all(COOKIE).iter();
    let is_ours = |pair: &[u8]| {
        let name = pair
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        // What is not UTF-8 is no name of ours.
        std::str::from_utf8(name).is_ok_and(|name| ours.is_ours(name))
    };
    let pairs = || {
        lines()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty())
    };
    let mut all = lines();
    let first = all.next()?;
    if all.next().is_none() && !pairs().any(is_ours) {
        return Some(first.clone());
    }
    let kept: Vec<&[u8]> = pairs().filter(|pair| !is_ours(pair)).collect();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(Bytes::from(kept.join(&b"; "[..]))).ok()
}

/// `Content-Length: 0` where the client said so or where a body is usual and there is none (RFC 9110 section 8.6).
/// Other lengths are written by hyper from what the body knows of itself.
pub(super) fn set_length(request: &mut Request<RequestBody>, from: &HeaderMap) {
    let usual = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    if request.body().is_end_stream() && (usual || from.contains_key(CONTENT_LENGTH)) {
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}
