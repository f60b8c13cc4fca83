//! HTTP+SSE (revision 2024-11-05): the first event of the stream, `endpoint`, names the URL to post to. Clients
//! resolve it against the URL of the stream and insist on the same origin, so behind a proxy it has to be put into
//! the proxy's own terms.
//!
//! On a subtree it is mapped back below the route's prefix. Where there is no such path (an exact route, or a path
//! outside of the backend's own), or where the backend has several endpoints of which only one knows this stream, it is
//! sealed to the caller, the route and the endpoint: `/x?mcp_endpoint=…`.

pub(super) mod fuzz;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http::uri::PathAndQuery;
use url::Url;

use super::events::boundary::Boundary;
use crate::authn::Identity;
use crate::config::Config;
use crate::ids::Subject;
use crate::keys::{KeyRing, Purpose};
use crate::reject::{Code, Fault, Reject};
use crate::seal::Sealer;
use crate::upstream::{EndpointTag, Pick, Upstream};
use crate::urls::PublicUrl;

const PARAMETER: &str = "?mcp_endpoint=";

/// Longest first event that is looked at; a longer one is no `endpoint` event.
const MAX_EVENT: usize = 8 << 10;

/// The sealed endpoint in what follows a route's path, if that is what it is.
pub(super) fn sealed(below: &str) -> Option<&str> {
    below.strip_prefix(PARAMETER)
}

/// Translates endpoint URLs between backends and clients.
pub(super) struct Endpoints {
    routes: Box<[Arc<Facts>]>,
    sealer: Sealer,
    public: Arc<str>,
}

/// Of a route.
struct Facts {
    name: String,
    /// The path without final slash, and without the pattern's `/*`.
    prefix: String,
    subtree: bool,
}

impl Endpoints {
    pub(super) fn new(config: &Config, public_url: &PublicUrl, keys: &KeyRing) -> Self {
        let routes = config.routes.iter().map(|route| {
            let (prefix, subtree) = match route.path.strip_suffix("/*") {
                Some(prefix) => (prefix, true),
                None => (route.path.trim_end_matches('/'), false),
            };
            // The path is unique among the routes, and stays the same over restarts and replicas.
            Arc::new(Facts {
                name: route.path.clone(),
                prefix: prefix.to_owned(),
                subtree,
            })
        });
        Self {
            routes: routes.collect(),
            sealer: keys.sealer(Purpose::Endpoint, None),
            public: public_url.as_str().into(),
        }
    }

    /// Opens a sealed endpoint: its path, and who gave it. One of another caller or route is not found: there is nothing of theirs here.
    pub(super) fn open(
        &self,
        route: usize,
        identity: Option<&Identity>,
        sealed: &str,
    ) -> Result<(PathAndQuery, Pick), Reject> {
        let unknown = |why: &'static str| {
            Reject::new(
                StatusCode::NOT_FOUND,
                Code::NotFound,
                Fault::Client,
                "This endpoint is not known. Open the event stream again to be given a new one.",
            )
            .because(why)
        };
        let facts = self
            .routes
            .get(route)
            .ok_or_else(|| unknown("the route is not there"))?;
        let blob = URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|_| unknown("the sealed endpoint is not base64url"))?;
        let plain = self
            .sealer
            .open(
                &context(facts, identity.map(|identity| &identity.claims().subject)),
                &blob,
            )
            .map_err(|_| {
                unknown("the endpoint was sealed for another caller or route, or not by us")
            })?;
        let (tag, path) = plain
            .split_first_chunk()
            .ok_or_else(|| unknown("the sealed endpoint is too short"))?;
        let path = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(path))
            .map_err(|_| unknown("the sealed endpoint is no path"))?;
        Ok((path, Pick::Only(EndpointTag::from_bytes(*tag))))
    }

    /// Looks at the first event of a stream that was opened with a GET of `asked`, a path of the backend's.
    pub(super) fn rewriter(
        &self,
        route: usize,
        identity: Option<&Identity>,
        upstream: &Upstream,
        endpoint: EndpointTag,
        asked: &str,
    ) -> Option<Rewriter> {
        let from = upstream.endpoint(endpoint)?;
        let place = &from.place;
        let host = from
            .host()
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        Some(Rewriter {
            facts: Arc::clone(self.routes.get(route)?),
            sealer: self.sealer.clone(),
            subject: identity.map(|identity| identity.claims().subject.clone()),
            stream: format!("{}://{}{asked}", place.scheme, place.authority),
            // A backend that builds absolute URLs takes the origin from the Host that it was sent, or from what it is
            // told of the public one.
            also: [
                format!("{}://{host}", place.scheme).into(),
                Arc::clone(&self.public),
            ],
            base: place.base().trim_end_matches('/').to_owned(),
            endpoint,
            sticks: upstream.is_several(),
            held: Vec::new(),
        })
    }
}

fn context(facts: &Facts, subject: Option<&Subject>) -> Vec<u8> {
    let (issuer, name) = subject.map_or(("", ""), |subject| (&*subject.issuer, &*subject.subject));
    // Lengths in front, so that no two sets of parts give the same bytes.
    let mut out = Vec::new();
    for part in [&facts.name, issuer, name] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

/// Holds back the first event of a stream until it is whole, and rewrites it if it is `endpoint`.
pub(super) struct Rewriter {
    facts: Arc<Facts>,
    sealer: Sealer,
    subject: Option<Subject>,
    /// The backend's URL of the stream.
    stream: String,
    /// Origins that mean the backend besides that of `stream`.
    also: [Arc<str>; 2],
    /// The path of the backend's address, without final slash.
    base: String,
    endpoint: EndpointTag,
    /// The backend has other endpoints too, which do not know this stream.
    sticks: bool,
    held: Vec<u8>,
}

/// What becomes of a piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rewritten {
    /// Held back until the event is whole.
    Held,
    /// Comments before the first event; the rest is held back.
    Released(Bytes),
    /// The first event is through; what follows needs no look.
    Done(Bytes),
    /// The event names a URL that is not the backend's own.
    Refused(&'static str),
}

impl Rewriter {
    /// Takes in a piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Rewritten {
        self.held.extend_from_slice(piece);
        let mut out = Vec::new();
        while let Some(end) = Boundary::default().first_end(&self.held) {
            let rest = self.held.split_off(end);
            let event = std::mem::replace(&mut self.held, rest);
            if lines(&event).all(|(line, _)| line.is_empty() || line.starts_with(b":")) {
                out.extend_from_slice(&event);
                continue;
            }
            match self.rewrite(&event) {
                Ok(Some(rewritten)) => out.extend_from_slice(&rewritten),
                Ok(None) => out.extend_from_slice(&event),
                Err(why) => return Rewritten::Refused(why),
            }
            out.append(&mut self.held);
            return Rewritten::Done(out.into());
        }
        if self.held.len() > MAX_EVENT {
            out.append(&mut self.held);
            return Rewritten::Done(out.into());
        }
        if out.is_empty() {
            Rewritten::Held
        } else {
            Rewritten::Released(out.into())
        }
    }

    /// What was still held back when the stream ended.
    pub(super) fn into_rest(self) -> Bytes {
        self.held.into()
    }

    /// The event with its URL in our terms; `None` when it is another event.
    fn rewrite(&self, event: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        let mut kind = None;
        let mut data = None;
        for (line, _) in lines(event) {
            match field(line) {
                (b"event", value) => kind = Some(value),
                (b"data", _) if data.is_some() => data = Some(None),
                (b"data", value) => data = Some(Some(value)),
                _ => {}
            }
        }
        if kind != Some(b"endpoint") {
            return Ok(None);
        }
        let url = data
            .flatten()
            .ok_or("it does not have exactly one line of data")?;
        let url = std::str::from_utf8(url).map_err(|_| "its URL is not UTF-8")?;
        let ours = self.translate(url)?;
        let mut out = Vec::with_capacity(event.len() + ours.len());
        for (line, end) in lines(event) {
            if field(line).0 == b"data" {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(ours.as_bytes());
            } else {
                out.extend_from_slice(line);
            }
            out.extend_from_slice(end);
        }
        Ok(Some(out))
    }

    fn translate(&self, url: &str) -> Result<String, &'static str> {
        let stream = Url::parse(&self.stream).map_err(|_| "the stream's own URL is not usable")?;
        let url = stream.join(url).map_err(|_| "its URL is not usable")?;
        let is_also =
            |origin: &Arc<str>| Url::parse(origin).is_ok_and(|also| also.origin() == url.origin());
        if url.origin() != stream.origin() && !self.also.iter().any(is_also) {
            return Err("its URL is of another origin than the stream");
        }
        let path = url.path();
        let query = url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        if let Some(rest) = self.below(path) {
            let ours = [&self.facts.prefix, rest].concat();
            return Ok(if ours.is_empty() {
                format!("/{query}")
            } else {
                format!("{ours}{query}")
            });
        }
        let mut plain = self.endpoint.to_bytes().to_vec();
        plain.extend_from_slice(path.as_bytes());
        plain.extend_from_slice(query.as_bytes());
        let blob = self
            .sealer
            .seal(&context(&self.facts, self.subject.as_ref()), &plain);
        let prefix = if self.facts.prefix.is_empty() {
            "/"
        } else {
            &self.facts.prefix
        };
        Ok(format!(
            "{prefix}{PARAMETER}{}",
            URL_SAFE_NO_PAD.encode(blob)
        ))
    }

    /// What follows the backend's own path, where the route's prefix can stand for that; only of plain characters, so
    /// that the way back through the route leads to the same bytes.
    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        if !self.facts.subtree || self.sticks {
            return None;
        }
        let rest = path.strip_prefix(&*self.base)?;
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~')
        };
        let good = (rest.is_empty() || rest.starts_with('/'))
            && !rest.contains("//")
            && rest.bytes().all(plain);
        good.then_some(rest)
    }
}

/// Name and value of a line (HTML Standard, section 9.2.6): one space behind the colon does not count.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(at) => {
            let value = &line[at + 1..];
            (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}

/// Lines, each with what ends it.
fn lines(mut text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let at = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
        let length = match &text[at..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        let (line, end) = (&text[..at], &text[at..at + length]);
        text = &text[at + length..];
        Some((line, end))
    })
}

#[cfg(test)]
mod tests;
