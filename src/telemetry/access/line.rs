//! How a line looks.

use super::{Ending, Record};
use crate::config::service::LogFormat;
use crate::reject::Fault;
use crate::telemetry::mcp::Kind;

/// Appends the line of a record, its newline included.
pub(super) fn write(out: &mut Vec<u8>, format: LogFormat, record: &Record, ending: Ending) {
    match format {
        LogFormat::Json => json(out, record, ending),
        LogFormat::Text => text(out, record, ending),
    }
}

fn json(out: &mut Vec<u8>, record: &Record, ending: Ending) {
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(&record.at.rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(level(record).as_bytes());
    out.extend_from_slice(b"\",\"event\":\"request\",\"request_id\":\"");
    out.extend_from_slice(&record.id.hex());
    out.push(b'"');
    let field = &mut Fields { out };
    if let Some(trace) = &record.trace {
        let (id, span) = (trace.server.trace_hex(), trace.server.span_hex());
        field.optional("trace_id", std::str::from_utf8(&id).ok());
        field.optional("span_id", std::str::from_utf8(&span).ok());
    }
    if let Some(client) = record.client {
        field.shown("client.address", client);
    }
    if let Some(peer) = record.conn.peer.ip() {
        if record.client != Some(peer) {
            field.shown("peer.address", peer);
        }
    } else {
        field.text("peer.address", "unix");
    }
    field.text("http.method", record.method.as_str());
    field.text("url.path", &record.path);
    field.number("http.status", u64::from(record.status.as_u16()));
    field.text("http.version", record.version_text());
    if let Some(tls) = &record.conn.tls {
        field.text("tls.version", tls.version);
    }
    field.number("bytes_in", record.bytes_in);
    field.number("bytes_out", ending.bytes_out);
    field.millis("duration_ms", ending.took);
    field.millis("ttfb_ms", record.to_head);
    if !ending.complete {
        field.text("stream.close_reason", "client");
    }
    if let Some(route) = &record.route {
        field.text("http.route", route.name.as_str());
        field.text("upstream.backend", route.backend.as_str());
    }
    if let Some(took) = record.backend_took {
        field.millis("upstream.duration_ms", took);
    }
    field.optional("auth.flow", record.credential);
    if let Some(subject) = &record.subject {
        field.optional("auth.subject_hash", std::str::from_utf8(subject).ok());
    }
    field.optional("auth.client_id", record.client_id.as_deref());
    field.optional("mcp.method", record.mcp_method.as_deref());
    field.optional("mcp.name", record.mcp_name.as_deref());
    if let Some(verdict) = &record.mcp_verdict {
        let kind = verdict.worst();
        field.text("mcp.status", kind.as_str());
        if let Kind::ProtocolError(code) = kind {
            field.shown("mcp.error", code);
        }
    }
    if let Some(rejected) = &record.rejected {
        field.text("error.code", rejected.code.as_str());
        field.text("error.fault", rejected.fault.as_str());
        field.optional("error.reason", rejected.reason.as_deref());
    }
    field.optional("user_agent", record.user_agent.as_deref());
    out.extend_from_slice(b"}\n");
}

fn text(out: &mut Vec<u8>, record: &Record, ending: Ending) {
    out.extend_from_slice(&record.at.rfc3339());
    out.push(b' ');
    out.extend_from_slice(level(record).as_bytes());
    out.push(b' ');
    out.extend_from_slice(record.method.as_str().as_bytes());
    out.push(b' ');
    escape(out, &record.path);
    out.push(b' ');
    number(out, u64::from(record.status.as_u16()));
    out.push(b' ');
    millis(out, ending.took);
    out.extend_from_slice(b"ms request_id=");
    out.extend_from_slice(&record.id.hex());
    for (name, value) in [
        (" auth=", record.credential),
        (
            " route=",
            record.route.as_ref().map(|route| route.name.as_str()),
        ),
        (" mcp=", record.mcp_method.as_deref()),
        (" name=", record.mcp_name.as_deref()),
        (
            " status=",
            record
                .mcp_verdict
                .as_ref()
                .map(|verdict| verdict.worst().as_str()),
        ),
        (
            " error=",
            record
                .rejected
                .as_ref()
                .map(|rejected| rejected.code.as_str()),
        ),
        (
            " reason=",
            record
                .rejected
                .as_ref()
                .and_then(|rejected| rejected.reason.as_deref()),
        ),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            escape(out, value);
            out.push(b'"');
        }
    }
    out.push(b'\n');
}

/// The line's level: our and our neighbours' faults are louder than the client's.
fn level(record: &Record) -> &'static str {
    match record.rejected.as_ref().map(|rejected| rejected.fault) {
        Some(Fault::Proxy | Fault::Provider | Fault::Backend) => "warn",
        _ if record.status.is_server_error() => "warn",
        _ => "info",
    }
}

struct Fields<'a> {
    out: &'a mut Vec<u8>,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, value);
        self.out.push(b'"');
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn shown(&mut self, name: &str, value: impl std::fmt::Display) {
        use std::io::Write;
        self.name(name);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        number(self.out, value);
    }

    fn millis(&mut self, name: &str, value: std::time::Duration) {
        self.name(name);
        millis(self.out, value);
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Milliseconds with three decimals.
fn millis(out: &mut Vec<u8>, value: std::time::Duration) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    let rest = micros % 1000;
    out.push(b'.');
    for divisor in [100, 10, 1] {
        out.push(b'0' + u8::try_from(rest / divisor % 10).unwrap_or(0));
    }
}

/// Escapes as RFC 8259 section 7 asks, and the two line separators that some viewers break lines at.
fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if text
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.extend_from_slice(b"\\u");
                let code = u32::from(c);
                for shift in [12, 8, 4, 0] {
                    out.push(HEX[usize::try_from(code >> shift & 15).unwrap_or(0)]);
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests_support::record;
    use super::*;

    fn ending() -> Ending {
        Ending {
            bytes_out: 12,
            took: std::time::Duration::from_micros(1_234_567),
            complete: true,
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut out = Vec::new();
        write(&mut out, LogFormat::Json, &record("/mcp"), ending());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["url.path"], "/mcp");
        assert_eq!(value["duration_ms"], 1234.567);
        assert_eq!(value["bytes_out"], 12);
    }

    proptest! {
        #[test]
        fn no_text_forges_a_line(text in "\\PC*|[\\x00-\\x7f]*", agent in any::<String>()) {
            let mut record = record(&text);
            record.user_agent = Some(Record::clip(&agent));
            for format in [LogFormat::Json, LogFormat::Text] {
                let mut out = Vec::new();
                write(&mut out, format, &record, ending());
                let newlines = memchr::memchr_iter(b'\n', &out).count();
                prop_assert_eq!(newlines, 1);
                if format == LogFormat::Json {
                    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
                    let clipped = Record::clip(&text);
                    prop_assert_eq!(value["url.path"].as_str().unwrap(), &*clipped);
                }
            }
        }
    }
}
