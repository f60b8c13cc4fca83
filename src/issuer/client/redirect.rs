//! Redirect URIs: which may be registered, and when one that is asked for is one of them (RFC 9700 section 2.1,
//! RFC 8252 section 7).

use serde::{Deserialize, Serialize};

/// A redirect URI that was checked: against the rules when it was registered, against the registered ones when
/// it was asked for. What redirects goes to such a value only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RedirectUri {
    text: String,
    target: Place,
}

/// Where a redirect URI leads: what the consent page says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// An https address on this host.
    Web(String),
    /// An app on the person's own computer, at a loopback address.
    Loopback(String),
    /// The app that handles links of this private-use scheme.
    App(String),
}

/// The redirect URIs of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedirectUris(Vec<RedirectUri>);

impl RedirectUri {
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
    /// The one that is meant by a request: equal byte for byte, but for the port of loopback addresses. Without a
    /// `redirect_uri` in the request it is the only one that is registered.
    pub(crate) fn find(&self, asked: Option<&str>) -> Option<RedirectUri> {
        let _ = (&self.0, asked);
        todo!()
    }
}
