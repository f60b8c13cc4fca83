use std::os::unix::fs::PermissionsExt;

use super::*;

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn kinds_of(path: &Path) -> Vec<String> {
    lines(path)
        .iter()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["kind"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_log_that_ended_in_order_is_intact() {
    for format in [AuditFormat::Native, AuditFormat::Ocsf] {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 20, format);
        let report = verified(std::slice::from_ref(&path));
        assert!(report.is_intact(), "{}", report.text());
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        assert_eq!(report.chains[0].records, 22);
        assert_eq!(report.chains[0].sealed_seq, 22);
        assert_eq!(report.chains[0].head, head(&path).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_restart_continues_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 3, AuditFormat::Native);
    let first = head(&path).unwrap();
    // The format may change in between.
    written(folder.path(), 3, AuditFormat::Ocsf);
    let report = verified(std::slice::from_ref(&path));
    assert!(
        report.is_intact() && report.notes.is_empty(),
        "{}",
        report.text()
    );
    assert_eq!(report.chains.len(), 1);
    assert_eq!(report.chains[0].records, 9);
    assert_ne!(head(&path).unwrap(), first);
}

#[test]
fn a_torn_tail_is_a_crash_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 3, AuditFormat::Native);
    let whole = std::fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for cut in last + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        // As it is found after the crash.
        let report = verified(std::slice::from_ref(&path));
        assert!(report.is_intact(), "cut at {cut}: {}", report.text());
        assert_eq!(report.chains[0].crashes, 1, "cut at {cut}");
        if cut % 16 != 0 && cut + 2 < whole.len() {
            continue;
        }
        // And after the restart.
        let audit = start(&config(&path));
        audit.note(some(9));
        audit.close();
        let text = std::fs::read(&path).unwrap();
        assert!(text.starts_with(&whole[..cut]), "what was torn is kept");
        let report = verified(std::slice::from_ref(&path));
        assert!(report.is_intact(), "cut at {cut}: {}", report.text());
        assert_eq!(report.chains[0].crashes, 1);
    }
}

#[test]
fn an_end_without_a_checkpoint_is_recorded_as_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 3, AuditFormat::Native);
    let kept: Vec<String> = lines(&path)[..3].to_vec();
    std::fs::write(&path, format!("{}\n", kept.join("\n"))).unwrap();
    start(&config(&path)).close();
    let kinds = kinds_of(&path);
    assert_eq!(kinds[3], "log.recovered");
    let report = verified(std::slice::from_ref(&path));
    assert!(report.is_intact(), "{}", report.text());
    assert_eq!(report.chains[0].crashes, 1);
}

#[test]
fn what_a_crash_cannot_have_left_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 3, AuditFormat::Native);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"v\":1,\"kind\":\"forged\"}\n");
    std::fs::write(&path, &text).unwrap();
    let audit = start(&config(&path));
    audit.note(some(1));
    audit.close();
    let report = verified(std::slice::from_ref(&path));
    assert!(!report.is_intact());
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.line == Some(6))
    );
}

#[test]
fn a_file_that_is_no_log_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "root:x:0:0\n").unwrap();
    let error = Audit::start(&config(&path), &Ambient::system(), &metrics()).unwrap_err();
    assert!(error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "root:x:0:0\n");
}

#[test]
fn one_file_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = start(&config(&path));
    audit.note(some(0));
    let error = Audit::start(&config(&path), &Ambient::system(), &metrics()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    audit.close();
}

fn rotated(folder: &Path, keep: u32, records: usize) -> PathBuf {
    let path = folder.join("audit.jsonl");
    let mut small = config(&path);
    small.queue = 1 << 20;
    if let Some(file) = &mut small.file {
        file.rotate_size = ByteSize(4096);
        file.keep = keep;
    }
    let audit = start(&small);
    (0..records).for_each(|n| audit.note(some(n)));
    audit.close();
    path
}

#[test]
fn rotation_keeps_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = rotated(folder.path(), 0, 100);
    let files = files_of(&path);
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        let kinds = kinds_of(file);
        assert_eq!(kinds.first().unwrap(), "log.opened");
        assert_eq!(kinds.last().unwrap(), "log.checkpoint");
    }
    // In any order, by names or as a folder; and it goes on after a restart.
    let mut backwards = files.clone();
    backwards.reverse();
    for paths in [files.clone(), backwards, vec![folder.path().to_owned()]] {
        let report = verified(&paths);
        assert!(
            report.is_intact() && report.notes.is_empty(),
            "{}",
            report.text()
        );
    }
    rotated(folder.path(), 0, 100);
    let report = verified(&[folder.path().to_owned()]);
    assert!(
        report.is_intact() && report.notes.is_empty(),
        "{}",
        report.text()
    );
    assert_eq!(report.chains.len(), 1);
}

#[test]
fn a_missing_file_is_found_and_a_removed_one_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = rotated(folder.path(), 3, 200);
    let files = files_of(&path);
    assert_eq!(files.len(), 4, "{files:?}");
    let report = verified(&files);
    assert!(report.is_intact(), "{}", report.text());
    assert!(report.chains[0].first_seq > 1);
    for missing in 0..files.len() - 1 {
        let mut rest = files.clone();
        rest.remove(missing);
        assert!(!verified(&rest).is_intact(), "file {missing}");
    }
    // The last file is the end, which only a head shows.
    let head = verify::Head::parse(&head(&path).unwrap()).unwrap();
    let options = Options {
        keys: vec![key()],
        heads: vec![head],
        ..Options::default()
    };
    assert!(verify(&files, &options).unwrap().is_intact());
    let report = verify(&files[..3], &options).unwrap();
    let truncated = |finding: &verify::Finding| finding.kind == verify::FindingKind::Truncated;
    assert!(report.findings.iter().any(truncated), "{}", report.text());
}

#[test]
fn after_a_crash_between_two_files_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 3, AuditFormat::Native);
    std::fs::rename(&path, folder.path().join("audit.jsonl.000001")).unwrap();
    written(folder.path(), 3, AuditFormat::Native);
    let report = verified(&[folder.path().to_owned()]);
    assert!(report.is_intact(), "{}", report.text());
    assert_eq!(report.chains[0].files.len(), 2);
}
