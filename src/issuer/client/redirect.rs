//! The redirect URIs of a client, and when one that is asked for is one of them (RFC 9700 section 2.1). Which may be
//! registered at all is said in [`crate::urls::redirect`].

use serde::{Deserialize, Serialize};

pub(crate) use crate::urls::redirect::{Place, RedirectError};

use crate::urls::redirect::{is_match, judge};

/// A redirect URI that was checked: against the rules when it was registered, against the registered ones when
/// it was asked for. What redirects goes to such a value only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RedirectUri {
    text: String,
    target: Place,
}

/// The redirect URIs of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedirectUris {
    uris: Vec<RedirectUri>,
    /// Private-use schemes that are allowed.
    schemes: Vec<String>,
}

impl RedirectUri {
    /// A redirect URI that is registered, judged by the rules.
    pub(crate) fn register(text: &str, schemes: &[String]) -> Result<Self, RedirectError> {
        let target = judge(text, schemes)?;
        Ok(Self {
            text: text.to_owned(),
            target,
        })
    }

    /// The address, byte for byte as it was asked for.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it leads.
    pub(crate) fn place(&self) -> &Place {
        &self.target
    }
}

impl RedirectUris {
    /// The registered ones of a client, under the private-use schemes that are allowed.
    pub(super) fn new(uris: Vec<RedirectUri>, schemes: &[String]) -> Self {
        Self {
            uris,
            schemes: schemes.to_vec(),
        }
    }

    /// The one that is meant by a request: equal byte for byte, but for the port of loopback addresses. Without a
    /// `redirect_uri` in the request it is the only one that is registered.
    pub(crate) fn find(&self, asked: Option<&str>) -> Option<RedirectUri> {
        let Some(asked) = asked else {
            return match &self.uris[..] {
                [only] => Some(only.clone()),
                _ => None,
            };
        };
        let asked = RedirectUri::register(asked, &self.schemes).ok()?;
        self.uris
            .iter()
            .any(|each| is_match(&each.text, &asked.text))
            .then_some(asked)
    }

    /// The registered ones.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &RedirectUri> {
        self.uris.iter()
    }
}
