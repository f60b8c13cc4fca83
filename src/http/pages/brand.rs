//! What people see of the operator: name, logo, colour, contact, notice. Checked when the configuration is loaded.

use super::name;
use crate::config::pages::{
    Colour, Contact, DARK_GROUND, INK, LIGHT_GROUND, Logo, Notice, Pages as Config, TEXT,
};
use std::fmt::Write as _;

#[derive(Debug)]
pub(super) struct Brand {
    pub(super) name: Option<String>,
    pub(super) logo: Option<Logo>,
    pub(super) contact: Option<Contact>,
    pub(super) notice: Notice,
    accent: Option<Colour>,
}

impl Brand {
    pub(super) fn new(config: &Config) -> Self {
        let logo = config.logo_file.as_deref().and_then(|file| {
            Logo::read(file)
                .map_err(|why| tracing::warn!(file = %file.display(), %why, "the logo is left out"))
                .ok()
        });
        Self {
            name: config.name.as_deref().and_then(name::shown),
            logo,
            contact: config.support_contact.as_deref().map(Contact::of),
            notice: config.notice.clone(),
            accent: config.accent.as_deref().and_then(Colour::parse),
        }
    }

    /// The operator's colour, put behind the style sheet.
    pub(super) fn style(&self) -> String {
        let Some(accent) = self.accent else {
            return String::new();
        };
        let dark = accent.readable_on(DARK_GROUND);
        let mut css = String::new();
        for (at, colour) in [("", accent), ("@media (prefers-color-scheme: dark) ", dark)] {
            let on = if LIGHT_GROUND.contrast(colour) >= TEXT {
                LIGHT_GROUND
            } else {
                INK
            };
            let rule = format!(
                ":root {{ --accent: {0}; --focus: {0}; --on-accent: {1}; }}",
                colour.css(),
                on.css()
            );
            // Writing into a String does not fail.
            let _ = if at.is_empty() {
                writeln!(css, "{rule}")
            } else {
                writeln!(css, "{at}{{ {rule} }}")
            };
        }
        css
    }
}
