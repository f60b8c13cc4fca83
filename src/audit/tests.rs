//! The log as it is written: chained, rotated, resumed, and what happens when it cannot be.

mod full;
mod life;
mod records;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::verify::{Options, PublicKey, Report, verify};
use super::*;
use crate::clock::Ambient;
use crate::config::audit::{Audit as Config, AuditFile, AuditFormat, FileMode, SinkKind};
use crate::config::{ByteSize, SecretRef};
use crate::telemetry::metrics::Metrics;

pub(super) const SEED: [u8; 32] = [7; 32];

pub(super) fn config(path: &Path) -> Config {
    Config {
        sink: Some(SinkKind::File),
        file: Some(AuditFile {
            path: path.to_owned(),
            rotate_size: ByteSize(100 << 20),
            keep: 0,
            mode: FileMode::default(),
        }),
        signing_key: Some(SecretRef::inline(STANDARD.encode(SEED))),
        ..Config::default()
    }
}

pub(super) fn start(config: &Config) -> Audit {
    // Checkpoints only where the log itself puts them, however slow the machine.
    let hour = Duration::from_secs(3600);
    Audit::start_sealing(config, &Ambient::system(), &Metrics::new(), hour).unwrap()
}

pub(super) fn some(n: usize) -> Event {
    Event::new(Kind::Decision, Outcome::Denied).detail(&format!("call {n}"))
}

pub(super) fn key() -> PublicKey {
    PublicKey::parse(&public_key(&SEED).unwrap()).unwrap()
}

pub(super) fn verified(paths: &[PathBuf]) -> Report {
    let options = Options {
        keys: vec![key()],
        ..Options::default()
    };
    verify(paths, &options).unwrap()
}

/// A log of some records that ended in order; gives its file.
pub(super) fn written(folder: &Path, records: usize, format: AuditFormat) -> PathBuf {
    let path = folder.join("audit.jsonl");
    let audit = start(&Config {
        format,
        ..config(&path)
    });
    (0..records).for_each(|n| audit.note(some(n)));
    audit.close();
    path
}

fn metrics() -> Arc<Metrics> {
    Metrics::new()
}
