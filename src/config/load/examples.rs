//! The files in `configs/` load, alone or in the layers that their comments name.

use std::path::Path;

use super::*;

fn example(files: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    load(&Sources {
        files: files.iter().map(|file| folder.join(file)).collect(),
        env: variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        checks: vec![|config| {
            let problems = crate::route::Table::problems(config);
            problems
                .into_iter()
                .map(|(i, key, message)| (format!("routes[{i}].{key}"), message))
                .collect()
        }],
        ..Sources::default()
    })
}

const SECRET: (&str, &str) = ("OIDC_CLIENT_SECRET", "0123456789abcdef");
const KEY: (&str, &str) = (
    "MCP_ENCRYPTION_KEY",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
);

#[test]
fn the_first_example_loads() {
    let config = example(&["config.example.yaml"], &[SECRET]).unwrap().config;
    assert_eq!(config.routes[0].path, "/mcp");
    let error = example(&["config.example.yaml"], &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("OIDC_CLIENT_SECRET is not set"), "{error}");
}

#[test]
fn development_loads_over_the_base() {
    let config = example(&["base.yaml", "development.yaml"], &[SECRET])
        .unwrap()
        .config;
    assert_eq!(config.listen[0].address, "127.0.0.1:8080");
    assert_eq!(config.oidc.unwrap().client_id, "mcp-proxy");
}

#[test]
fn staging_loads_over_the_base() {
    let variables = [
        SECRET,
        KEY,
        ("REDIS_URL", "redis://redis:6379"),
        ("CI_API_KEY", "0123456789abcdef0"),
    ];
    let loaded = example(&["base.yaml", "staging.yaml"], &variables).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.key_material().len(), 1);
}

#[test]
fn production_loads_once_its_files_exist() {
    let variables = [SECRET, KEY, ("REDIS_PASSWORD", "hunter2hunter2")];
    let found = example(&["base.yaml", "production.yaml"], &variables);
    // Its certificates lie where a deployment has them: those, and nothing else, are missing here.
    let problems = found.unwrap_err();
    let paths: Vec<&str> = problems
        .all()
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "listen[0].tls.cert_file",
            "listen[0].tls.key_file",
            "sessions.redis.tls.ca_file"
        ],
        "{problems}"
    );
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["mcp.example.com".to_owned()]).unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let cert = write("tls.crt", &made.cert.pem());
    let key = write("tls.key", &made.signing_key.serialize_pem());
    let files = [
        ("MCP_PROXY__LISTEN__0__TLS__CERT_FILE", cert.as_str()),
        ("MCP_PROXY__LISTEN__0__TLS__KEY_FILE", &key),
        ("MCP_PROXY__SESSIONS__REDIS__TLS__CA_FILE", &cert),
    ];
    let all: Vec<_> = variables.into_iter().chain(files).collect();
    let config = example(&["base.yaml", "production.yaml"], &all)
        .unwrap()
        .config;
    assert!(config.listen[1].redirect_to_https);
    assert_eq!(
        config.sessions.redis.unwrap().sentinel.unwrap().nodes.len(),
        3
    );
}

/// Every whole configuration on the pages about identity providers.
#[test]
fn the_pages_about_providers_have_configurations_that_load() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![docs.join("identity-providers.md")];
    let folder = std::fs::read_dir(docs.join("identity-providers")).unwrap();
    pages.extend(folder.map(|entry| entry.unwrap().path()));
    let place = tempfile::tempdir().unwrap();
    let mut loaded = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if !block.starts_with("version: 1") {
                continue;
            }
            // What the reader has to fill in.
            let block = block
                .replace("tenant id", "tenant")
                .replace("application id", "app")
                .replace(['<', '>'], "");
            let file = place.path().join("config.yaml");
            std::fs::write(&file, block).unwrap();
            let outcome = load(&Sources {
                files: vec![file],
                env: [(SECRET.0.to_owned(), SECRET.1.to_owned())].into(),
                ..Sources::default()
            });
            assert!(
                outcome.is_ok(),
                "{}: {}",
                page.display(),
                outcome.unwrap_err()
            );
            loaded += 1;
        }
    }
    assert_eq!(loaded, 11);
}
