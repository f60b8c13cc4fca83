//! `pages`: what people see of the operator on our pages.

mod looks;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::looks::Logo;
pub(crate) use self::looks::{Colour, Contact, DARK_GROUND, INK, LIGHT_GROUND, TEXT};
pub(super) use self::looks::{check_accent, check_contact, check_logo, check_text};

/// How our pages look, and whose they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pages {
    /// The organisation's or service's name, in titles and at the top. Unset: the host of `public_url`.
    pub name: Option<String>,
    /// PNG or SVG file of at most 256 KiB, shown beside the name. It is served by the proxy itself.
    pub logo_file: Option<PathBuf>,
    /// Where people find help: an e-mail address, an https address, or a short text such as an extension.
    pub support_contact: Option<String>,
    /// Colour of buttons and links, `#rrggbb`. It needs a contrast of 4.5 to 1 on white; for dark screens it is
    /// lightened until it has that on their ground.
    pub accent: Option<String>,
    /// A line above every page, such as a maintenance window or a rule of use.
    pub notice: Notice,
    /// The language of people whose browser asks for none that there is.
    pub default_language: Language,
}

/// A text in each language. A language without one shows none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Notice {
    /// English.
    pub en: Option<String>,
    /// Japanese.
    pub ja: Option<String>,
}

/// A language of our pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::En, Self::Ja];

    /// The BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }
}

impl Notice {
    /// The text in a language.
    pub fn text(&self, language: Language) -> Option<&str> {
        match language {
            Language::En => self.en.as_deref(),
            Language::Ja => self.ja.as_deref(),
        }
    }
}
