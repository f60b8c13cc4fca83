//! Why a secret could not be had.

/// What went wrong, and what to do about it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The configuration does not say where it is kept.
    #[error("the configuration has no `{0}`, or it is switched off")]
    NotConfigured(&'static str),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// No answer.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Whose address.
        server: String,
        /// What happened.
        why: String,
    },
    /// Vault is sealed (`sys/seal-status`).
    #[error("Vault at {0} is sealed; somebody has to unseal it")]
    Sealed(String),
    /// A node that does not serve, and knows no other.
    #[error(
        "{0} is a standby node of Vault and no active node was found; give the address of the cluster"
    )]
    Standby(String),
    /// It answers, with a failure of its own.
    #[error("{server} answers {status}: {why}")]
    Failing {
        /// Whose address.
        server: String,
        /// The status of the answer.
        status: u16,
        /// Its words.
        why: String,
    },
    /// What the proxy logs in with cannot be read.
    #[error("logging in at Vault needs {what}: {why}")]
    Credentials {
        /// What is missing.
        what: &'static str,
        /// What happened.
        why: String,
    },
    /// The login was refused.
    #[error(
        "Vault refuses the login at auth/{mount}: {why}; check the role, what it is bound to, and the credentials"
    )]
    Login {
        /// Where the method is mounted.
        mount: String,
        /// Its words.
        why: String,
    },
    /// A policy is missing, or the token is over.
    #[error(
        "Vault does not let this login read {path} (its policies: {policies}); a policy needs path \"{path}\" {{ capabilities = [\"read\"] }}"
    )]
    Denied {
        /// What was asked for.
        path: String,
        /// The policies of the login.
        policies: String,
    },
    /// Nothing is there.
    #[error("{place} does not exist{hint}")]
    NoPlace {
        /// What was asked for.
        place: String,
        /// What may be the reason.
        hint: String,
    },
    /// The secret is there, and the key is not.
    #[error("{place} has no key `{key}`")]
    NoKey {
        /// The secret.
        place: String,
        /// The key.
        key: String,
    },
    /// A value that is no text.
    #[error("{place}: {what}; a secret is a text that is not empty")]
    NotText {
        /// The secret.
        place: String,
        /// What is there instead.
        what: String,
    },
    /// A secret that is made anew at each reading.
    #[error("{0} gives a new, leased secret at each reading; only key-value secrets can be used")]
    Leased(String),
    /// An answer that makes no sense.
    #[error("{0} does not answer as expected; is that the right address?")]
    NotUnderstood(String),
    /// AWS says no, in its words.
    #[error("{place}: {why}")]
    Aws {
        /// What was asked for.
        place: String,
        /// Its words.
        why: String,
        /// Whether it may be different soon.
        passes: bool,
    },
}

impl SecretError {
    /// Whether asking again soon may help: nobody answers, or not as itself.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Sealed(_)
            | Self::Standby(_)
            | Self::Failing { .. } => true,
            Self::Aws { passes, .. } => *passes,
            _ => false,
        }
    }
}
