//! `audit`: the sink has what it needs, the key is one, the patterns are patterns.

use std::time::Duration;

use super::Checker;
use crate::config::audit::{SinkKind, WhenFull};

/// Records in memory at most; each may take some KiB.
const MAX_QUEUE: u32 = 1 << 20;
/// A smaller file would hold hardly more than its own beginning and end.
const MIN_ROTATE: u64 = 64 << 10;
const MAX_ARGUMENTS: u64 = 32 << 10;
const MAX_PATTERNS: usize = 100;

pub(super) fn check(checker: &mut Checker) {
    let audit = &checker.config.audit;
    if audit
        .signing_key
        .as_ref()
        .is_some_and(|key| key.known().is_some())
        && audit.seed().is_none()
    {
        checker.add(
            "audit.signing_key",
            "this is not base64 of exactly 32 bytes; `mcp-oidc-proxy keygen --audit` prints a good one",
        );
    }
    patterns(checker);
    if audit.arguments.max_bytes.0 > MAX_ARGUMENTS {
        checker.add(
            "audit.arguments.max_bytes",
            format!(
                "{} is too much for one record; write 32KiB or less",
                audit.arguments.max_bytes
            ),
        );
    }
    if audit.queue < 16 || audit.queue > MAX_QUEUE {
        checker.add(
            "audit.queue",
            format!("{} is not from 16 to {MAX_QUEUE} records", audit.queue),
        );
    }
    if audit.max_wait.0 > Duration::from_secs(60) {
        checker.add(
            "audit.max_wait",
            format!(
                "{} is too long to keep a request waiting; write 60s or less",
                audit.max_wait
            ),
        );
    }
    if let Err(message) = address(&audit.syslog.address) {
        checker.add("audit.syslog.address", message);
    }
    if let Some(file) = &audit.file {
        let path = &file.path;
        if path.file_name().is_none() {
            checker.add(
                "audit.file.path",
                format!(
                    "{} names no file; write one such as /var/log/mcp-oidc-proxy/audit.jsonl",
                    path.display()
                ),
            );
        }
        if file.rotate_size.0 < MIN_ROTATE {
            checker.add(
                "audit.file.rotate_size",
                format!("{} is too small; write 64KiB or more", file.rotate_size),
            );
        }
    }
    sink(checker);
}

fn sink(checker: &mut Checker) {
    let audit = &checker.config.audit;
    let Some(sink) = audit.sink else {
        let others = ["file", "syslog", "signing_key", "arguments", "format"];
        let set = others.into_iter().find(|key| {
            // The variable may stand in an environment that several programs share.
            *key != "signing_key" && checker.is_set(&format!("audit.{key}"))
        });
        if let Some(key) = set {
            checker.warn(format!(
                "audit.{key} is set, but there is no audit log without audit.sink; write file, stdout, syslog or journald"
            ));
        }
        return;
    };
    if sink == SinkKind::File && audit.file.is_none() && checker.is_whole("audit.file") {
        checker.add(
            "audit.sink",
            "the sink is a file, and no file is named; add audit.file.path",
        );
    }
    if audit.signing_key.is_none() && checker.is_whole("audit.signing_key") {
        checker.warn("audit.signing_key is not set: the audit log is chained but not signed, so whoever may write it can make another; set it with `mcp-oidc-proxy keygen --audit`");
    }
    if sink == SinkKind::Syslog
        && audit.when_full == WhenFull::FailClosed
        && audit.syslog.address.starts_with("udp:")
    {
        checker.add(
            "audit.when_full",
            "what is sent by UDP may be lost unseen, so nothing can be refused for it; use tcp:// or unix: with fail_closed",
        );
    }
}

fn patterns(checker: &mut Checker) {
    let arguments = &checker.config.audit.arguments;
    for (i, pattern) in arguments.redact.iter().enumerate() {
        if i >= MAX_PATTERNS {
            checker.add(
                "audit.arguments.redact",
                format!("more than {MAX_PATTERNS} patterns; join some with `|`"),
            );
            return;
        }
        if let Err(message) = crate::config::audit::pattern(pattern) {
            checker.add(format!("audit.arguments.redact[{i}]"), message);
        }
    }
}

fn address(text: &str) -> Result<(), String> {
    crate::config::audit::SyslogAddress::parse(text).map(drop)
}
