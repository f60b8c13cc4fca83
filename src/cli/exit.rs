//! Exit codes, spelt once. 69 and 78 are those of sysexits.h, which service managers know.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// It failed, or a check found something.
    Failure,
    /// The command line is wrong.
    Usage,
    /// Something that is needed cannot be had: an address is in use, a service does not answer.
    Unavailable,
    /// The configuration is wrong; starting again does not help.
    Config,
}

impl Exit {
    /// All of them, with their meaning.
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Ok, "all went well"),
        (Self::Failure, "it failed, or a check found something"),
        (Self::Usage, "the command line is wrong"),
        (
            Self::Unavailable,
            "an address is in use, or something that was asked for does not answer",
        ),
        (
            Self::Config,
            "the configuration is wrong; starting again does not help",
        ),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The end of `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0   all went well
  1   it failed, or a check found something
  2   the command line is wrong
  69  an address is in use, or something that was asked for does not answer
  78  the configuration is wrong; starting again does not help";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_every_code() {
        for (exit, meaning) in Exit::ALL {
            assert!(
                HELP.contains(&format!("  {:<4}{meaning}", exit.code())),
                "{exit:?}"
            );
        }
    }
}
