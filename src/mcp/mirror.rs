//! Headers that repeat parts of a body (2026-07-28): compared, never trusted.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};

use super::message::Read;
use super::unreadable::Why;
use super::{Call, Era};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The revision from which on every request stands alone.
const MODERN: &str = "2026-07-28";

/// The only revision with batches.
const BATCHES: &str = "2025-03-26";

/// `MCP-Protocol-Version` as it was sent.
pub(super) fn version(headers: &HeaderMap) -> Result<Option<&str>, Why> {
    one(headers, &VERSION, "`MCP-Protocol-Version` is sent twice")
}

/// Whether a body may be an array: without a version header it is the revision of then.
pub(super) fn may_be_batch(version: Option<&str>) -> bool {
    version.is_none_or(|version| version == BATCHES)
}

/// Whether a revision is of the modern family. Revisions are dates; a name that is none is newer than all of them.
fn is_modern(version: &str) -> bool {
    version >= MODERN
}

/// Finds out the family of a message, and compares it with the headers.
pub(super) fn compare(
    read: &Read<'_>,
    said: Option<&str>,
    headers: &HeaderMap,
) -> Result<Era, Why> {
    let call = &read.call;
    // A server of the newer revisions has no `initialize`, and says so itself in the way that clients look for.
    if call.method.as_deref() == Some("initialize") && read.version.is_none() {
        return Ok(Era::Legacy);
    }
    let era = match read.version.as_deref().or(said) {
        Some(version) if is_modern(version) => Era::Modern,
        Some(_) | None => Era::Legacy,
    };
    if let (Some(body), Some(said)) = (read.version.as_deref(), said)
        && body != said
    {
        return Err(Why::Header(
            "`MCP-Protocol-Version` differs from the revision in `_meta`",
        ));
    }
    if era == Era::Modern {
        mirrored(call, headers)?;
    }
    Ok(era)
}

fn mirrored(call: &Call, headers: &HeaderMap) -> Result<(), Why> {
    let method = one(headers, &METHOD, "`Mcp-Method` is sent twice")?;
    let name = one(headers, &NAME, "`Mcp-Name` is sent twice")?;
    let Some(in_body) = call.method.as_deref() else {
        return Ok(());
    };
    if let Some(method) = method
        && decoded(method).as_deref() != Some(in_body)
    {
        return Err(Why::Header(
            "`Mcp-Method` differs from the method of the message",
        ));
    }
    let named = match in_body {
        "tools/call" | "prompts/get" | "resources/read" => call.name(),
        method if method.starts_with("tasks/") => call.name(),
        _ => None,
    };
    if let (Some(name), Some(in_body)) = (name, named)
        && decoded(name).as_deref() != Some(in_body)
    {
        return Err(Why::Header(
            "`Mcp-Name` differs from the name in the message, or cannot be decoded",
        ));
    }
    Ok(())
}

/// A value in its plain or in its base64 form, `=?base64?…?=`. `None` when that cannot be decoded.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The only value of a header.
fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    twice: &'static str,
) -> Result<Option<&'h str>, Why> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Why::Header(twice));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Why::Header(
            "a header that repeats a part of the message is not plain ASCII",
        )),
    }
}
