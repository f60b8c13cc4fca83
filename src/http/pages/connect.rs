//! How each client is told of an MCP server: links that it opens, commands and files that it reads.
//!
//! Every one of these is parsed by somebody else's program, and a wrong one fails without a word. So each is pinned
//! byte for byte by a test. Checked on 2026-11-20 against the vendors' documentation, as far as there is some.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

/// Longest key of a server.
const MAX_KEY: usize = 32;

/// All but unreserved characters (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A server, as clients are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Its name in files: 1 to 32 of `a-z0-9-`, not beginning with a digit.
    pub(crate) key: String,
    /// Its name for people.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: String,
}

/// A link that a client opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The client's name.
    pub(crate) client: &'static str,
    pub(crate) href: String,
}

/// What a person types or pastes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// The client's name.
    pub(crate) client: &'static str,
    /// The file that it goes into; `None` for commands.
    pub(crate) file: Option<&'static str>,
    pub(crate) text: String,
}

impl Server {
    /// Clients that a link is enough for.
    pub(crate) fn links(&self) -> Vec<Link> {
        let Self { key, name, url } = self;
        let config = STANDARD.encode(json!({ "url": url }).to_string());
        let code = json!({ "name": key, "type": "http", "url": url }).to_string();
        vec![
            Link {
                client: "Claude",
                href: format!(
                    "https://claude.ai/customize/connectors?modal=add-custom-connector&connectorName={}&connectorUrl={}",
                    encode(name),
                    encode(url)
                ),
            },
            Link {
                client: "Cursor",
                href: format!(
                    "cursor://anysphere.cursor-deeplink/mcp/install?name={}&config={}",
                    encode(key),
                    encode(&config)
                ),
            },
            Link {
                client: "VS Code",
                href: format!("vscode:mcp/install?{}", encode(&code)),
            },
        ]
    }

    /// Commands of clients that run in a terminal.
    pub(crate) fn commands(&self) -> Vec<Snippet> {
        let key = &self.key;
        let url = quoted(&self.url);
        let command = |client, text| Snippet {
            client,
            file: None,
            text,
        };
        vec![
            command(
                "Claude Code",
                format!(
                    "claude mcp add --transport http --scope user {key} {url}\nclaude mcp login {key}"
                ),
            ),
            command(
                "Codex",
                format!("codex mcp add {key} --url {url}\ncodex mcp login {key}"),
            ),
            command(
                "Gemini CLI",
                format!("gemini mcp add -s user -t http {key} {url}"),
            ),
        ]
    }

    /// Files of clients that read their servers from one. The shapes differ, and a wrong one is passed over without
    /// an error.
    pub(crate) fn files(&self) -> Vec<Snippet> {
        let (key, url) = (&self.key, &self.url);
        let snippet = |client, file, value: serde_json::Value| Snippet {
            client,
            file: Some(file),
            text: format!("{value:#}"),
        };
        vec![
            snippet(
                "Cursor",
                "~/.cursor/mcp.json",
                json!({ "mcpServers": { key: { "url": url } } }),
            ),
            snippet(
                "VS Code",
                ".vscode/mcp.json",
                json!({ "servers": { key: { "type": "http", "url": url } } }),
            ),
            snippet(
                "Claude Code",
                ".mcp.json",
                json!({ "mcpServers": { key: { "type": "http", "url": url } } }),
            ),
            snippet(
                "Windsurf",
                "~/.codeium/windsurf/mcp_config.json",
                json!({ "mcpServers": { key: { "serverUrl": url } } }),
            ),
            snippet(
                "Zed",
                "settings.json",
                json!({ "context_servers": { key: { "url": url } } }),
            ),
            snippet(
                "Cline",
                "cline_mcp_settings.json",
                json!({ "mcpServers": { key: { "type": "streamableHttp", "url": url } } }),
            ),
            snippet(
                "OpenCode",
                "opencode.json",
                json!({ "mcp": { key: { "type": "remote", "url": url } } }),
            ),
            snippet(
                "Copilot CLI",
                "~/.copilot/mcp-config.json",
                json!({ "mcpServers": { key: { "type": "http", "url": url } } }),
            ),
        ]
    }

    /// For clients that are not in the list: the shape that most of them read.
    pub(crate) fn generic(&self) -> String {
        let (key, url) = (&self.key, &self.url);
        format!(
            "{:#}",
            json!({ "mcpServers": { key: { "type": "http", "url": url } } })
        )
    }
}

/// A key made of names, the first that gives one.
pub(crate) fn key_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(key)
        .find(|key| !key.is_empty())
        .unwrap_or_else(|| "mcp-server".to_owned())
}

fn key(name: &str) -> String {
    let mut key = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => key.push(c),
            _ if !key.is_empty() && !key.ends_with('-') => key.push('-'),
            _ => {}
        }
        if key.len() == MAX_KEY {
            break;
        }
    }
    key.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
        .trim_end_matches('-')
        .to_owned()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// An argument of a command. Single quotes hold in POSIX shells and in PowerShell alike, and no address of ours has
/// one inside.
fn quoted(url: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":/._~-".contains(&b);
    if url.bytes().all(plain) {
        url.to_owned()
    } else {
        format!("'{}'", url.replace('\'', "%27"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server() -> Server {
        Server {
            key: "acme-github".to_owned(),
            name: "Acme GitHub".to_owned(),
            url: "https://mcp.example.com/github/mcp".to_owned(),
        }
    }

    #[test]
    fn links_are_what_clients_read_byte_for_byte() {
        let links: Vec<_> = server().links().into_iter().map(|link| link.href).collect();
        assert_eq!(
            links,
            [
                "https://claude.ai/customize/connectors?modal=add-custom-connector&connectorName=Acme%20GitHub&connectorUrl=https%3A%2F%2Fmcp.example.com%2Fgithub%2Fmcp",
                "cursor://anysphere.cursor-deeplink/mcp/install?name=acme-github&config=eyJ1cmwiOiJodHRwczovL21jcC5leGFtcGxlLmNvbS9naXRodWIvbWNwIn0%3D",
                "vscode:mcp/install?%7B%22name%22%3A%22acme-github%22%2C%22type%22%3A%22http%22%2C%22url%22%3A%22https%3A%2F%2Fmcp.example.com%2Fgithub%2Fmcp%22%7D",
            ]
        );
    }

    #[test]
    fn commands_and_files_are_what_clients_read() {
        let commands: Vec<_> = server()
            .commands()
            .into_iter()
            .map(|each| each.text)
            .collect();
        assert_eq!(
            commands,
            [
                "claude mcp add --transport http --scope user acme-github https://mcp.example.com/github/mcp\nclaude mcp login acme-github",
                "codex mcp add acme-github --url https://mcp.example.com/github/mcp\ncodex mcp login acme-github",
                "gemini mcp add -s user -t http acme-github https://mcp.example.com/github/mcp",
            ]
        );
        let url = "https://mcp.example.com/github/mcp";
        let files: Vec<_> = server()
            .files()
            .into_iter()
            .map(|each| serde_json::from_str::<serde_json::Value>(&each.text).unwrap())
            .collect();
        assert_eq!(
            files,
            [
                json!({ "mcpServers": { "acme-github": { "url": url } } }),
                json!({ "servers": { "acme-github": { "type": "http", "url": url } } }),
                json!({ "mcpServers": { "acme-github": { "type": "http", "url": url } } }),
                json!({ "mcpServers": { "acme-github": { "serverUrl": url } } }),
                json!({ "context_servers": { "acme-github": { "url": url } } }),
                json!({ "mcpServers": { "acme-github": { "type": "streamableHttp", "url": url } } }),
                json!({ "mcp": { "acme-github": { "type": "remote", "url": url } } }),
                json!({ "mcpServers": { "acme-github": { "type": "http", "url": url } } }),
            ]
        );
        assert_eq!(
            server().generic(),
            "{\n  \"mcpServers\": {\n    \"acme-github\": {\n      \"type\": \"http\",\n      \"url\": \"https://mcp.example.com/github/mcp\"\n    }\n  }\n}"
        );
    }

    #[test]
    fn keys_are_plain() {
        assert_eq!(key_of(["GitHub Enterprise"]), "github-enterprise");
        assert_eq!(key_of(["日本語", "2nd server"]), "nd-server");
        assert_eq!(key_of(["", "--"]), "mcp-server");
        assert_eq!(key_of(["--Ünï cöde--"]), "n-c-de");
        assert!(key_of(["x".repeat(100).as_str()]).len() <= MAX_KEY);
    }

    proptest! {
        #[test]
        fn links_add_no_parameter_and_decode_to_exactly_the_url(
            path in "[ -~é'\"<>#&?=+%]{0,40}",
            name in "\\PC{0,30}",
        ) {
            let server = Server { key: "a".into(), name: name.clone(), url: format!("https://x/{path}") };
            let links = server.links();
            let pairs = |href: &str| {
                url::Url::parse(href).unwrap().query_pairs().into_owned().collect::<Vec<_>>()
            };
            let claude = pairs(&links[0].href);
            prop_assert_eq!(claude.len(), 3);
            prop_assert_eq!(&claude[1].1, &name);
            prop_assert_eq!(&claude[2].1, &server.url);
            let cursor = pairs(&links[1].href);
            prop_assert_eq!(cursor.len(), 2);
            let config: serde_json::Value =
                serde_json::from_slice(&STANDARD.decode(&cursor[1].1).unwrap()).unwrap();
            prop_assert_eq!(config["url"].as_str(), Some(server.url.as_str()));
            let code = links[2].href.split_once('?').unwrap().1;
            let code = percent_encoding::percent_decode_str(code).decode_utf8().unwrap();
            let code: serde_json::Value = serde_json::from_str(&code).unwrap();
            prop_assert_eq!(code["url"].as_str(), Some(server.url.as_str()));
        }

        #[test]
        fn keys_are_always_good(name in "\\PC{0,80}") {
            let key = key_of([name.as_str()]);
            prop_assert!((1..=MAX_KEY).contains(&key.len()));
            prop_assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(!key.as_bytes()[0].is_ascii_digit());
        }
    }
}
