//! Every manipulation is found.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::audit::chain::{Chain, NONE, Signer};
use crate::audit::event::{Event, Kind, Outcome};
use crate::audit::tests::{key, written};
use crate::clock::Timestamp;
use crate::config::audit::AuditFormat;

/// A log in a file, and its head.
struct Log {
    _folder: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    head: Head,
}

fn log(format: AuditFormat) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 6, format);
    Log {
        bytes: std::fs::read(&path).unwrap(),
        head: Head::parse(&crate::audit::head(&path).unwrap()).unwrap(),
        path,
        _folder: folder,
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

impl Log {
    fn with(&self, bytes: &[u8], head: bool) -> Report {
        std::fs::write(&self.path, bytes).unwrap();
        let options = Options {
            keys: vec![key()],
            heads: head.then(|| self.head.clone()).into_iter().collect(),
            ..Options::default()
        };
        verify(std::slice::from_ref(&self.path), &options).unwrap()
    }

    /// Kinds of findings without a head.
    fn found(&self, bytes: &[u8]) -> Vec<FindingKind> {
        kinds(&self.with(bytes, false))
    }
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn the_matrix_of_manipulations() {
    use FindingKind::{BadSignature, Edited, Misplaced, NoRecord, Removed, Replaced};
    for format in [AuditFormat::Native, AuditFormat::Ocsf] {
        let log = log(format);
        let whole = lines(&log.bytes);
        assert_eq!(whole.len(), 8);
        assert!(log.found(&log.bytes).is_empty());
        let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut lines = whole.clone();
            change(&mut lines);
            log.found(&lines.concat())
        };
        // A value is edited.
        let edit = changed(&|lines| {
            let text = String::from_utf8(lines[3].clone()).unwrap();
            lines[3] = text.replace("call 2", "call 7").into_bytes();
        });
        assert_eq!(edit, [Edited]);
        // The outcome is edited, and the hash of the line made anew: the chain shows it.
        let rehashed = changed(&|lines| {
            let text = String::from_utf8(lines[3].clone()).unwrap();
            let text = text.replace("denied", "failed");
            lines[3] = rehash(text.as_bytes());
        });
        assert_eq!(rehashed, [Replaced]);
        // A record is cut out, at the beginning, inside, several.
        assert!(changed(&|lines| drop(lines.remove(0))).contains(&FindingKind::MissingFile));
        assert_eq!(changed(&|lines| drop(lines.remove(3))), [Removed]);
        assert_eq!(changed(&|lines| drop(lines.drain(2..5))), [Removed]);
        // One is put in: a copy, something new, something that is no record.
        assert!(changed(&|lines| lines.insert(5, lines[2].clone())).contains(&Misplaced));
        assert_eq!(
            changed(&|lines| lines.insert(2, b"{\"v\":1}\n".to_vec())),
            [NoRecord]
        );
        assert_eq!(
            changed(&|lines| lines.insert(2, b"\n".to_vec())),
            [NoRecord]
        );
        // Two change places.
        assert!(changed(&|lines| lines.swap(2, 4)).contains(&Misplaced));
        // The checkpoint is changed, unsigned, signed with another key, cut off.
        let other = changed(&|lines| {
            let text = String::from_utf8(lines[7].clone()).unwrap();
            let at = text.find("\"sig\":\"").unwrap() + 7;
            let flipped = if &text[at..=at] == "A" { "B" } else { "A" };
            lines[7] = rehash(format!("{}{flipped}{}", &text[..at], &text[at + 1..]).as_bytes());
        });
        assert!(other.contains(&BadSignature), "{other:?}");
        let unsigned = changed(&|lines| {
            let text = String::from_utf8(lines[7].clone()).unwrap();
            let at = text.find(",\"sig\":\"").unwrap();
            lines[7] = rehash(format!("{}{}", &text[..at], &text[at + 95..]).as_bytes());
        });
        assert!(unsigned.contains(&FindingKind::Unsigned), "{unsigned:?}");
        let cut = whole[..7].concat();
        assert!(log.found(&cut).is_empty(), "as after a crash");
        assert_eq!(kinds(&log.with(&cut, true)), [FindingKind::Truncated]);
        // All is made anew with another key.
        assert_eq!(log.found(&forged(format)), [BadSignature]);
    }
}

/// The line with a hash that fits it.
fn rehash(line: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    let at = text.rfind(",\"hash\":\"").unwrap();
    let prev_at = text.find("\"prev\":\"").unwrap() + 8;
    let prev = unhex(&text[prev_at..prev_at + 64]).unwrap();
    let hash = crate::audit::chain::hash(&prev, &line[..at]);
    let end = &text[at + 9 + 64..];
    format!(
        "{},\"hash\":\"{}{end}",
        &text[..at],
        crate::audit::chain::hex(&hash)
    )
    .into_bytes()
}

/// A log by somebody who has not the key.
fn forged(format: AuditFormat) -> Vec<u8> {
    let mut chain = Chain::new("00", 0, NONE, Signer::new(&[8; 32]), format);
    let mut out = Vec::new();
    let at = Timestamp::from_secs(1);
    chain.append(&mut out, &Event::ok(Kind::LogOpened), at);
    chain.append(&mut out, &Event::new(Kind::Login, Outcome::Success), at);
    chain.append(&mut out, &Event::ok(Kind::LogCheckpoint), at);
    out
}

/// Whoever has not the key can put records at the end, but not checkpoints.
#[test]
fn records_that_no_checkpoint_follows_are_found_after_a_while() {
    let log = log(AuditFormat::Native);
    let head = log.head.clone();
    for (later, found) in [(30, &[][..]), (90, &[FindingKind::Unsealed][..])] {
        let mut chain = Chain::new(&head.chain, head.seq, head.hash, None, AuditFormat::Native);
        let mut bytes = log.bytes.clone();
        for at in [0, later] {
            let event = Event::new(Kind::Login, Outcome::Success);
            chain.append(&mut bytes, &event, Timestamp::from_secs(1_900_000_000 + at));
        }
        assert_eq!(log.found(&bytes), found, "{later} s");
    }
}

#[test]
fn a_cut_end_is_found_against_a_head_and_only_so() {
    let log = log(AuditFormat::Native);
    let whole = lines(&log.bytes);
    // Up to an earlier checkpoint everything looks fine without a head.
    let restarted = {
        let audit = crate::audit::tests::start(&crate::audit::tests::config(&log.path));
        audit.note(Event::ok(Kind::Login));
        audit.close();
        std::fs::read(&log.path).unwrap()
    };
    let head = Head::parse(&crate::audit::head(&log.path).unwrap()).unwrap();
    let later = Log {
        head,
        bytes: restarted,
        path: log.path.clone(),
        _folder: tempfile::tempdir().unwrap(),
    };
    assert!(later.with(&later.bytes, true).is_intact());
    assert!(later.with(&whole.concat(), false).is_intact());
    assert_eq!(
        kinds(&later.with(&whole.concat(), true)),
        [FindingKind::Truncated]
    );
    // An earlier head is met on the way, and shows a chain that was made anew.
    std::fs::write(&log.path, &later.bytes).unwrap();
    assert!(log.with(&later.bytes, true).is_intact());
    let mut other = log.head.clone();
    other.hash[0] ^= 1;
    let options = Options {
        keys: vec![key()],
        heads: vec![other],
        ..Options::default()
    };
    let report = verify(std::slice::from_ref(&log.path), &options).unwrap();
    assert_eq!(kinds(&report), [FindingKind::OtherThanHead]);
    // A head of a chain that is not there.
    let mut foreign = log.head.clone();
    foreign.chain = "ff".to_owned();
    let options = Options {
        heads: vec![foreign],
        ..Options::default()
    };
    let report = verify(std::slice::from_ref(&log.path), &options).unwrap();
    assert_eq!(kinds(&report), [FindingKind::MissingFile]);
}

#[test]
fn records_are_found_between_other_lines() {
    let log = log(AuditFormat::Native);
    let mut mixed = Vec::new();
    for line in lines(&log.bytes) {
        mixed.extend_from_slice(b"{\"ts\":\"now\",\"event\":\"request\"}\n");
        mixed.extend_from_slice(b"<85>1 - host mcp-oidc-proxy 1 audit - ");
        mixed.extend_from_slice(&line);
        // Delivered twice.
        mixed.extend_from_slice(&line);
    }
    std::fs::write(&log.path, &mixed).unwrap();
    let options = Options {
        keys: vec![key()],
        mixed: true,
        ..Options::default()
    };
    let report = verify(std::slice::from_ref(&log.path), &options).unwrap();
    assert!(report.is_intact(), "{}", report.text());
    assert_eq!(report.chains[0].records, 8);
}

#[test]
fn an_unfinished_line_counts_only_where_its_record_says_so() {
    let log = log(AuditFormat::Native);
    let torn = [&log.bytes[..], b"{\"v\":1,\"chain\":\"ab"].concat();
    std::fs::write(&log.path, &torn).unwrap();
    crate::audit::tests::start(&crate::audit::tests::config(&log.path)).close();
    let recovered = std::fs::read(&log.path).unwrap();
    assert!(log.found(&recovered).is_empty());
    // Another unfinished line in its place.
    let text = String::from_utf8(recovered).unwrap();
    assert_eq!(
        log.found(
            text.replace("\"chain\":\"ab\n", "\"chain\":\"ac\n")
                .as_bytes()
        ),
        [FindingKind::NoRecord]
    );
    // A second one.
    let doubled = text.replace(
        "\"chain\":\"ab\n",
        "\"chain\":\"ab\n{\"v\":1,\"chain\":\"ab\n",
    );
    assert_eq!(log.found(doubled.as_bytes()), [FindingKind::NoRecord]);
}

#[test]
fn every_single_byte_counts() {
    for format in [AuditFormat::Native, AuditFormat::Ocsf] {
        let log = log(format);
        let mut missed = BTreeSet::new();
        for at in 0..log.bytes.len() {
            let mut bytes = log.bytes.clone();
            bytes[at] ^= 1;
            if log.with(&bytes, true).is_intact() {
                missed.insert(at);
            }
        }
        assert!(missed.is_empty(), "{missed:?}");
    }
}

fn check(path: &Path, bytes: &[u8], head: &Head) -> Report {
    std::fs::write(path, bytes).unwrap();
    let options = Options {
        keys: vec![key()],
        heads: vec![head.clone()],
        ..Options::default()
    };
    verify(&[path.to_owned()], &options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any byte to any other, any line out, any two lines swapped, any line twice, any bytes put in anywhere.
    #[test]
    fn every_change_is_found(which in 0..5_u8, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), byte in any::<u8>(), extra in prop::collection::vec(any::<u8>(), 1..40)) {
        thread_local! {
            static LOG: Log = log(AuditFormat::Native);
        }
        LOG.with(|log| {
            let mut whole = lines(&log.bytes);
            let changed = match which {
                0 => {
                    let mut bytes = log.bytes.clone();
                    let at = a.index(bytes.len());
                    bytes[at] = byte;
                    bytes
                }
                1 => {
                    whole.remove(a.index(whole.len()));
                    whole.concat()
                }
                2 => {
                    let (one, two) = (a.index(whole.len()), b.index(whole.len()));
                    whole.swap(one, two);
                    whole.concat()
                }
                3 => {
                    let copy = whole[a.index(whole.len())].clone();
                    whole.insert(b.index(whole.len() + 1), copy);
                    whole.concat()
                }
                _ => {
                    let mut bytes = log.bytes.clone();
                    let at = a.index(bytes.len() + 1);
                    bytes.splice(at..at, extra);
                    bytes
                }
            };
            let report = check(&log.path, &changed, &log.head);
            // What stands unfinished behind the end is what a crash leaves, and is told.
            let crash = report.chains.first().is_some_and(|chain| chain.crashes > 0);
            prop_assert_eq!(report.is_intact() && !crash, changed == log.bytes, "{}", report.text());
            Ok(())
        })?;
    }
}
