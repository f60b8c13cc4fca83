//! The command line: serve, check, show, generate.
//!
//! Data goes to standard output, everything else to standard error. Secrets are never flags: a process list shows
//! them.

mod audit;
mod check;
mod exit;
pub mod generate;
mod health;
mod online;
mod operator;
mod out;
mod policy;
mod print;
mod process;
mod serve;
mod sessions;

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use self::exit::Exit;
use crate::clock::Ambient;
use crate::config::{Config, Sources};
use crate::{build, route};

/// Puts an OIDC identity provider in front of any MCP server.
#[derive(Debug, Parser)]
#[command(name = "mcp-oidc-proxy", version = build::VERSION, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    sources: SourceArgs,
    /// What to do.
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from. Later wins: defaults, files in order, environment, flags.
#[derive(Clone, Debug, Args)]
struct SourceArgs {
    /// Configuration file; may be given several times, the later over the earlier. Default: ./config.yaml, else
    /// /etc/mcp-proxy/config.yaml, else the environment alone.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// Log level or filter (`logging.level`).
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    /// Port of the first listener.
    #[arg(long, value_name = "PORT", global = true)]
    port: Option<u16>,
    /// The origin under which the proxy is reached (`public_url`).
    #[arg(long, value_name = "URL", global = true)]
    public_url: Option<String>,
    /// Set any key, as in `--set sessions.idle_timeout=4h`; may be given several times. The value is YAML. Not for
    /// secrets, which a process list would show.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and print all its problems.
    CheckConfig {
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Also read the secrets that other systems keep, and ask the identity provider, Redis and the backends whether
        /// they answer.
        #[arg(long)]
        online: bool,
        /// Leave the secrets of variables, files and systemd credentials where they are: everything but their values is
        /// checked. For whoever may not read them.
        #[arg(long, conflicts_with = "online")]
        no_secrets: bool,
    },
    /// Print the effective configuration as YAML, without secrets, each value with who set it.
    PrintConfig,
    /// Generate reference files from the program itself.
    Config {
        /// What to generate.
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Ask a running proxy whether it is alive; for container health checks.
    Healthcheck {
        /// What to ask: `http://host:port/path` or `unix:/path/to.sock:/path`. Default: `/health/live` on the
        /// metrics listener of the configuration, or `/health` on the first listener when metrics are off.
        #[arg(long)]
        url: Option<String>,
        /// Time for the whole check.
        #[arg(long, value_name = "TIME", default_value = "3s", value_parser = crate::config::Span::parse)]
        timeout: crate::config::Span,
    },
    /// What the rules of the routes say.
    Policy {
        /// What to do.
        #[command(subcommand)]
        what: policy::PolicyCommand,
    },
    /// Make a running proxy load its configuration again, and wait for what comes of it. The answer is one JSON object.
    Reload(process::Where),
    /// Make a running proxy end in order, as SIGTERM does. The answer is one JSON object.
    Drain(process::Drain),
    /// What a person has open, and that it ends. The answer is one JSON object.
    Sessions {
        /// What to do.
        #[command(subcommand)]
        what: sessions::SessionsCommand,
    },
    /// The audit log: prove that it is whole and unchanged, and give its head to be kept elsewhere.
    Audit {
        /// What to do.
        #[command(subcommand)]
        what: audit::AuditCommand,
    },
    /// Print a new root secret for `secret_keys`: 32 random bytes in base64url.
    Keygen {
        /// Print a signing key for `audit.signing_key` instead: its seed, and the public key for `audit verify`.
        #[arg(long)]
        audit: bool,
    },
    /// Print the version.
    Version {
        /// As JSON, with revision and compiler.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// All keys with their defaults, as YAML (configs/reference.yaml).
    Reference(Mode),
    /// JSON Schema of the configuration (docs/config.schema.json).
    Schema(Mode),
    /// All keys as tables, with their environment names (docs/configuration.md).
    Markdown(Mode),
    /// All metrics (docs/metrics.md).
    Metrics(Mode),
    /// This command line (docs/cli.md).
    Commands(Mode),
    /// Kinds and fields of audit records (docs/audit-records.md).
    Audit(Mode),
    /// JSON Schema of audit records (docs/audit.schema.json).
    AuditSchema(Mode),
    /// All of them.
    All(Mode),
}

/// Without a flag, print. Paths are those named above, from the working directory.
#[derive(Clone, Copy, Debug, Args)]
struct Mode {
    /// Exit with 1 when the file differs from what would be written.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Write the file.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for eyes.
    Text,
    /// One JSON object.
    Json,
}

/// Reads the process's arguments and does what they say.
pub fn run() -> ExitCode {
    // One provider of cryptography for the whole process; an error would mean that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too; they go to standard output and are no failure.
            let usage = error.use_stderr();
            if usage {
                out::stderr(&error.render().to_string());
            } else {
                out::stdout(&error.render().to_string());
            }
            return if usage { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    dispatch(cli).into()
}

fn dispatch(cli: Cli) -> Exit {
    let sources = sources(cli.sources);
    match cli.command {
        None => serve::run(sources),
        Some(Command::CheckConfig {
            format,
            no_secrets: true,
            ..
        }) => check::run(&sources.without_secrets(), format, false),
        Some(Command::CheckConfig { format, online, .. }) => check::run(&sources, format, online),
        Some(Command::PrintConfig) => print::run(&sources),
        Some(Command::Config { what }) => generate::run(what),
        Some(Command::Healthcheck { url, timeout }) => {
            health::run(&sources, url.as_deref(), timeout.0)
        }
        Some(Command::Policy { what }) => policy::run(&sources, &what),
        Some(Command::Reload(place)) => process::reload(&sources, &place),
        Some(Command::Drain(how)) => process::drain(&sources, &how),
        Some(Command::Sessions { what }) => sessions::run(&sources, &what),
        Some(Command::Audit { what }) => audit::run(&sources, what),
        Some(Command::Keygen { audit: true }) => audit::keygen(),
        Some(Command::Keygen { audit: false }) => {
            let key: [u8; 32] = Ambient::system().random();
            out::line(&URL_SAFE_NO_PAD.encode(key));
            Exit::Ok
        }
        Some(Command::Version { json }) => {
            version(json);
            Exit::Ok
        }
    }
}

fn sources(args: SourceArgs) -> Sources {
    Sources {
        port: args.port,
        log_level: args.log_level,
        public_url: args.public_url,
        flags: args.set,
        ..sources_of_process(args.config)
    }
}

/// The sources of this process, with the rules that other modules have on the configuration.
pub(crate) fn sources_of_process(files: Vec<PathBuf>) -> Sources {
    Sources {
        checks: vec![route_problems],
        ..Sources::of_process(files)
    }
}

/// Prints to standard error.
#[cfg(feature = "lambda")]
pub(crate) fn complain(text: &str) {
    out::stderr(text);
}

/// What the route table says about paths and collisions.
fn route_problems(config: &Config) -> Vec<(String, String)> {
    route::Table::problems(config)
        .into_iter()
        .map(|(index, key, message)| (format!("routes[{index}].{key}"), message))
        .collect()
}

fn version(json: bool) {
    if json {
        let about = serde_json::json!({
            "name": "mcp-oidc-proxy",
            "version": build::VERSION,
            "revision": build::REVISION,
            "rustc": build::RUSTC,
        });
        out::line(&about.to_string());
    } else {
        out::line(&format!(
            "mcp-oidc-proxy {} ({})",
            build::VERSION,
            build::REVISION
        ));
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write KEY=VALUE, as in logging.level=debug")?;
    crate::config::KeyPath::parse(key)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The definition, for the generated documentation.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for args in [
            ["x", "--config", "a.yaml", "check-config"],
            ["x", "check-config", "--config", "a.yaml"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(cli.sources.config, [PathBuf::from("a.yaml")]);
        }
        let cli = Cli::try_parse_from(["x", "-c", "a", "-c", "b", "--set", "a.b=c=d"]).unwrap();
        assert_eq!(cli.sources.config.len(), 2);
        assert_eq!(cli.sources.set, [("a.b".to_owned(), "c=d".to_owned())]);
        assert!(Cli::try_parse_from(["x", "--set", "novalue"]).is_err());
        assert!(Cli::try_parse_from(["x", "--set", "a..b=c"]).is_err());
    }
}
