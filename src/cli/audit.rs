//! `audit`: proves that an audit log is what was written, and gives its head to be kept elsewhere.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};

use super::{Exit, Format, out};
use crate::audit;
use crate::audit::verify::{Head, Options, PublicKey, verify};
use crate::clock::Ambient;
use crate::config::{Sources, load};

/// What is to be done.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Prove that files of an audit log are whole and unchanged. Exit code 1 when they are not, 69 when a file cannot
    /// be read.
    Verify(VerifyArgs),
    /// Print the present end of an audit log, to be kept elsewhere: `chain/record/hash`.
    Head {
        /// The file that is written to. Default: `audit.file.path` of the configuration.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct VerifyArgs {
    /// Files of the log, in any order, or folders that hold them. Default: the file of the configuration and the full
    /// ones beside it.
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Public key of the checkpoints, as `keygen --audit` printed it; may be given several times, after a change of the
    /// key. Without it whoever can write the log can make another.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A head that was kept elsewhere, or a file with one on each line; may be given several times. Without it, what
    /// was cut off at the end is not seen.
    #[arg(long, value_name = "HEAD|FILE")]
    head: Vec<String>,
    /// The files are a part of the log: do not ask for those before the first.
    #[arg(long)]
    partial: bool,
    /// The records stand between other lines, or behind other text on their line: output of the process, syslog.
    #[arg(long)]
    mixed: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(sources: &Sources, command: AuditCommand) -> Exit {
    match command {
        AuditCommand::Verify(args) => verified(sources, args),
        AuditCommand::Head { file } => {
            let file = match file.map_or_else(|| configured(sources), Ok) {
                Ok(file) => file,
                Err(exit) => return exit,
            };
            match audit::head(&file) {
                Ok(head) => {
                    out::line(&head);
                    Exit::Ok
                }
                Err(error) => {
                    out::stderr(&format!("{error}\n"));
                    Exit::Unavailable
                }
            }
        }
    }
}

/// A new signing key: the seed for the configuration, the public key for whoever verifies.
pub(super) fn keygen() -> Exit {
    let seed: [u8; 32] = Ambient::system().random();
    let Some(public) = audit::public_key(&seed) else {
        out::stderr("the key could not be made\n");
        return Exit::Failure;
    };
    out::line(&format!("seed:   {}", STANDARD.encode(seed)));
    out::line(&format!("public: {public}"));
    Exit::Ok
}

fn verified(sources: &Sources, args: VerifyArgs) -> Exit {
    let options = match options(&args) {
        Ok(options) => options,
        Err(message) => {
            out::stderr(&format!("{message}\n"));
            return Exit::Usage;
        }
    };
    let files = if args.files.is_empty() {
        match configured(sources) {
            Ok(file) => audit::files_of(&file),
            Err(exit) => return exit,
        }
    } else {
        args.files
    };
    match verify(&files, &options) {
        Err(error) => {
            out::stderr(&format!("{error}\n"));
            Exit::Unavailable
        }
        Ok(report) => {
            match args.format {
                Format::Text => out::stdout(&report.text()),
                Format::Json => {
                    let mut shown = serde_json::to_value(&report).unwrap_or_default();
                    shown["intact"] = report.is_intact().into();
                    out::line(&shown.to_string());
                }
            }
            if report.is_intact() && !report.chains.is_empty() {
                Exit::Ok
            } else {
                Exit::Failure
            }
        }
    }
}

fn options(args: &VerifyArgs) -> Result<Options, String> {
    let keys = args.key.iter().map(|key| PublicKey::parse(key));
    let mut heads = Vec::new();
    for given in &args.head {
        match Head::parse(given) {
            Ok(head) => heads.push(head),
            Err(message) => {
                let text = std::fs::read_to_string(given)
                    .map_err(|error| format!("{message}, or a file with one: {error}"))?;
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    heads.push(Head::parse(line)?);
                }
            }
        }
    }
    Ok(Options {
        keys: keys.collect::<Result<_, _>>()?,
        heads,
        partial: args.partial,
        mixed: args.mixed,
    })
}

/// The file that the configuration names.
fn configured(sources: &Sources) -> Result<PathBuf, Exit> {
    let loaded = load(&sources.without_secrets()).map_err(|problems| {
        out::stderr(&format!("{problems}\n"));
        Exit::Config
    })?;
    loaded
        .config
        .audit
        .file
        .map(|file| file.path)
        .ok_or_else(|| {
            out::stderr("the configuration has no audit.file; name the files of the log\n");
            Exit::Usage
        })
}
