//! Keeps the house in shape: which module may use which, how long a file may be, what never stands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Depends on nothing of ours but itself; everybody may use it.
const VOCABULARY: [&str; 13] = [
    "build", "claims", "clock", "headers", "ids", "keys", "paths", "peer", "reject", "scope",
    "seal", "secret", "urls",
];

/// Who may use whom, besides the vocabulary, `config` (a module's own section), `telemetry` (names) and `audit` (the
/// handle that is handed in).
/// An arrow that is missing here is a design question, not a line to add in passing.
const ARROWS: [(&str, &[&str]); 23] = [
    (
        "admin",
        &[
            "http",
            "issuer",
            "oidc",
            "revocation",
            "session",
            "store",
            "upstream",
        ],
    ),
    // The composition root knows everybody.
    ("app", &["*"]),
    // Whoever has something to record uses it, so it uses nobody.
    ("audit", &[]),
    // `upstream` is how keys of further issuers are fetched; `mcp` is where CORS for metadata is judged.
    (
        "authn",
        &[
            "http",
            "issuer",
            "mcp",
            "oidc",
            "revocation",
            "route",
            "session",
            "upstream",
        ],
    ),
    // For types only: what was found out, and where it leads.
    ("authz", &["authn", "mcp", "route"]),
    // The command line checks what the composition root would build, and asks issuers and backends; it explains the
    // rules on messages as they would be read.
    (
        "cli",
        &[
            "app", "authz", "mcp", "oidc", "route", "secrets", "store", "upstream",
        ],
    ),
    (
        "forward",
        &[
            "authn",
            "authz",
            "http",
            "mcp",
            "revocation",
            "signing",
            "upstream",
        ],
    ),
    // Calls every reader of strangers' bytes.
    (
        "fuzz",
        &["authn", "config", "forward", "http", "mcp", "oidc", "route"],
    ),
    ("http", &[]),
    // `mcp` is where CORS is judged; routes are the resources that tokens are for.
    (
        "issuer",
        &[
            "http",
            "mcp",
            "oidc",
            "revocation",
            "route",
            "session",
            "signing",
            "store",
            "upstream",
        ],
    ),
    // Another way to start the whole: requests come from a platform instead of listeners.
    ("lambda", &["app", "cli", "http", "listen"]),
    ("lifecycle", &["listen"]),
    ("listen", &["http"]),
    // Sessions are counted over all replicas.
    ("mcp", &["http", "store"]),
    (
        "oidc",
        &["http", "revocation", "session", "store", "upstream"],
    ),
    (
        "proxy",
        &[
            "admin",
            "authn",
            "authz",
            "forward",
            "http",
            "issuer",
            "listen",
            "mcp",
            "oidc",
            "revocation",
            "route",
            "signing",
        ],
    ),
    ("revocation", &["store"]),
    // Asks other servers for secrets.
    ("secrets", &["upstream"]),
    ("session", &["revocation", "store"]),
    // Keys that sign, kept in the store.
    ("signing", &["store"]),
    // TLS towards Redis is the same as towards any other server.
    ("store", &["upstream"]),
    // The access record names routes, and watches bodies to their end.
    ("telemetry", &["http", "route"]),
    ("upstream", &["http"]),
];

/// Production lines of a file.
const LONGEST: usize = 500;

/// Words that are promises to come back later, or ways to fall over, in code that ships.
const FORBIDDEN: [&str; 8] = [
    "TODO",
    "FIXME",
    "XXX",
    "todo!(",
    "unimplemented!(",
    "dbg!(",
    "#[allow(",
    "unsafe ",
];

/// A source file without its tests.
struct Source {
    path: PathBuf,
    /// Its top-level module: `forward` for `src/forward/request.rs`.
    module: String,
    code: String,
}

#[test]
fn modules_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let sources = sources();
    let modules: BTreeSet<&str> = sources
        .iter()
        .map(|source| source.module.as_str())
        .collect();
    let mut wrong = Vec::new();
    for source in &sources {
        let from = source.module.as_str();
        for to in used(&source.code) {
            let named = modules.contains(to.as_str()) && to != from;
            let common = VOCABULARY.contains(&to.as_str())
                || (matches!(to.as_str(), "audit" | "config" | "telemetry")
                    && !matches!(from, "config"));
            let listed = allowed
                .get(from)
                .is_some_and(|to_of| to_of.contains(&to.as_str()) || to_of == &["*"]);
            if named && !common && !listed {
                wrong.push(format!("{}: {from} -> {to}", source.path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not in the list:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn vocabulary_depends_on_nothing_else() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !VOCABULARY.contains(&source.module.as_str()) {
            continue;
        }
        // `claims` reads the map of claim names, which is written in the configuration.
        let excused =
            |to: &str| VOCABULARY.contains(&to) || (source.module == "claims" && to == "config");
        wrong.extend(
            used(&source.code)
                .into_iter()
                .filter(|to| !excused(to))
                .map(|to| format!("{} -> {to}", source.path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source, source.code.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path.display()))
        .collect();
    assert!(
        long.is_empty(),
        "longer than {LONGEST} lines without tests:\n{}",
        long.join("\n")
    );
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            found.extend(
                FORBIDDEN
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{}: {word}", source.path.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn folders_have_their_file_beside_them() {
    for source in sources() {
        let name = source.path.file_name().unwrap();
        assert_ne!(
            name,
            "mod.rs",
            "{}: write foo.rs beside foo/",
            source.path.display()
        );
    }
}

/// The top-level modules that a file names as `crate::module`, in `use` lines and in full paths.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (c.is_alphanumeric() || c == '_') {
                    name.push(c);
                } else if depth == 1 && c == ':' {
                    found.insert(std::mem::take(&mut name));
                    name.push(' ');
                } else if c == ',' && depth == 1 || depth == 0 {
                    if !name.starts_with(' ') {
                        found.insert(name.clone());
                    }
                    name.clear();
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.insert(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    found.retain(|name| !name.is_empty() && !name.starts_with(' '));
    found
}

/// All files of the product, without what is compiled for tests only.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let texts: BTreeMap<PathBuf, String> = files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect();
    let only_tests: BTreeSet<PathBuf> = texts
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    texts
        .into_iter()
        .filter(|(path, _)| {
            !only_tests
                .iter()
                .any(|test| path.starts_with(test) || *path == test.with_extension("rs"))
        })
        .map(|(path, text)| {
            let relative = path.strip_prefix(&root).unwrap();
            let module = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            Source {
                module: module.trim_end_matches(".rs").to_owned(),
                code: without_tests(&text),
                path,
            }
        })
        .filter(|source| !matches!(source.module.as_str(), "main" | "lib"))
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

/// Folders (and, with `.rs` put on, files) of the modules that a file declares for tests only.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.with_extension("");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("#[cfg(test)]"))
        .filter_map(|pair| {
            let declared = pair[1]
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            declared.strip_prefix("mod ")?.strip_suffix(';')
        })
        .map(|name| folder.join(name))
        .collect()
}

/// The part before the tests, which stand last.
fn without_tests(text: &str) -> String {
    let inline = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod "];
    let end = inline.iter().filter_map(|start| text.find(start)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}

#[test]
fn the_reader_of_use_lines_reads_them_all() {
    let code = "use crate::authn::Caller;\nuse crate::{build, route::{Table, x::Y}, store};\nlet a = crate::seal::open();\n// crate::nothing";
    let expected = ["authn", "build", "route", "seal", "store"];
    assert_eq!(
        used(code),
        expected.into_iter().map(str::to_owned).collect()
    );
}
