//! The default command: load the configuration, then run the proxy until it is told to end.

use super::{Exit, out};
use crate::app::{self, StartError};
use crate::config::{Sources, load};

pub(super) fn run(sources: Sources) -> Exit {
    let loaded = match load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let count = problems.all().len();
            let word = if count == 1 { "problem" } else { "problems" };
            out::stderr(&format!(
                "{problems}\nnothing was started: the configuration has {count} {word}\n"
            ));
            return Exit::Config;
        }
    };
    match app::serve(loaded, sources) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            out::stderr(&format!("mcp-oidc-proxy: {error}\n"));
            match error {
                StartError::Config(_) => Exit::Config,
                StartError::Unavailable(_) => Exit::Unavailable,
                StartError::Failed(_) => Exit::Failure,
            }
        }
    }
}
