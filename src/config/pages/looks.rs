//! Logo, colour and contact of the operator: what can be shown, and what cannot.

use std::path::Path;

use bytes::Bytes;

use crate::secret::Digest;

/// Bytes of a logo.
const MAX_LOGO: u64 = 256 << 10;

/// The operator's logo.
#[derive(Clone, Debug)]
pub struct Logo {
    bytes: Bytes,
    kind: &'static str,
}

/// Where people find help.
#[derive(Clone, Debug)]
pub(crate) enum Contact {
    Mail(String),
    Web(String),
    Text(String),
}

/// Contrast that text needs (WCAG 2.2, 1.4.3).
pub(crate) const TEXT: f64 = 4.5;

/// Grounds of the two themes, as the style sheet has them.
pub(crate) const LIGHT_GROUND: Colour = Colour([255, 255, 255]);
pub(crate) const DARK_GROUND: Colour = Colour([0x19, 0x1d, 0x21]);
/// Dark text on light buttons.
pub(crate) const INK: Colour = Colour([0x0b, 0x14, 0x20]);

/// A colour, `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colour(pub(crate) [u8; 3]);

impl Contact {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim();
        if text.starts_with("https://") {
            Self::Web(text.to_owned())
        } else if is_mail(text) {
            Self::Mail(text.to_owned())
        } else {
            Self::Text(text.to_owned())
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Mail(text) | Self::Web(text) | Self::Text(text) => text,
        }
    }

    /// Where it leads; an e-mail takes the reference id of the page along.
    pub(crate) fn href(&self, reference: Option<&str>) -> Option<String> {
        match self {
            Self::Mail(address) => Some(match reference {
                Some(id) => format!("mailto:{address}?subject=Reference%20{id}"),
                None => format!("mailto:{address}"),
            }),
            Self::Web(address) => Some(address.clone()),
            Self::Text(_) => None,
        }
    }
}

impl Logo {
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(file)
            .map_err(|error| format!("it cannot be read: {error}"))?
            .len();
        if size > MAX_LOGO {
            return Err(format!(
                "it has {size} bytes; a logo has at most {MAX_LOGO}"
            ));
        }
        let bytes = std::fs::read(file).map_err(|error| format!("it cannot be read: {error}"))?;
        let kind = kind_of(&bytes)?;
        Ok(Self {
            bytes: bytes.into(),
            kind,
        })
    }

    /// The file.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Its media type.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Changes with the content.
    pub(crate) fn tag(&self) -> String {
        let digest = Digest::of(&self.bytes);
        let [a, b, c, d, ..] = *digest.as_bytes();
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

/// What a logo is, by its content; its name says nothing.
fn kind_of(bytes: &[u8]) -> Result<&'static str, String> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok("image/png");
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "it is neither PNG nor SVG".to_owned())?
        .to_ascii_lowercase();
    let Some(root) = text.find("<svg") else {
        return Err("it is neither PNG nor SVG".to_owned());
    };
    // It is shown as an image, where none of this runs, and served sandboxed; a logo needs none of it.
    for bad in [
        "<!doctype",
        "<!entity",
        "<script",
        "<foreignobject",
        "<iframe",
        "javascript:",
    ] {
        if text.contains(bad) {
            return Err(format!("the SVG holds `{bad}`, which no logo needs"));
        }
    }
    let before = text[..root].trim_start_matches('\u{feff}').trim_start();
    if before.is_empty() || before.starts_with("<?xml") || before.starts_with("<!--") {
        Ok("image/svg+xml")
    } else {
        Err("it is neither PNG nor SVG".to_owned())
    }
}

impl Colour {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix('#')?;
        if hex.len() != 6 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let channel = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        Some(Self([channel(0)?, channel(2)?, channel(4)?]))
    }

    pub(crate) fn css(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Relative luminance (WCAG 2.2, definitions).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// The same colour, lightened as far as it has to be to be read on a dark ground.
    pub(crate) fn readable_on(self, ground: Self) -> Self {
        let mut colour = self;
        while colour.contrast(ground) < TEXT && colour != LIGHT_GROUND {
            colour = Self(
                colour
                    .0
                    .map(|value| value.saturating_add(((255 - value) / 16).max(1))),
            );
        }
        colour
    }
}

fn is_mail(text: &str) -> bool {
    let plain = |part: &str, more: &[u8]| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    text.split_once('@')
        .is_some_and(|(local, domain)| plain(local, b".+-_") && plain(domain, b".-"))
}

/// Checks `pages.accent`.
pub(in crate::config) fn check_accent(text: &str) -> Result<(), String> {
    let colour = Colour::parse(text)
        .ok_or_else(|| format!("`{text}` is no colour; write it as `#0b57d0`"))?;
    let contrast = colour.contrast(LIGHT_GROUND);
    if contrast < TEXT {
        return Err(format!(
            "`{text}` has a contrast of {contrast:.1} to 1 on white, and text needs {TEXT}; choose a darker colour"
        ));
    }
    Ok(())
}

/// Checks `pages.logo_file`.
pub(in crate::config) fn check_logo(file: &Path) -> Result<(), String> {
    Logo::read(file)
        .map(drop)
        .map_err(|why| format!("the logo {} cannot be used: {why}", file.display()))
}

/// Checks `pages.support_contact`.
pub(in crate::config) fn check_contact(text: &str) -> Result<(), String> {
    check_text(text, 200)?;
    match Contact::of(text) {
        Contact::Web(address) if url::Url::parse(&address).is_err() => {
            Err(format!("`{address}` is no address"))
        }
        _ => Ok(()),
    }
}

/// Checks a text that is shown on pages.
pub(in crate::config) fn check_text(text: &str, most: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the text is empty; leave the key out instead".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("the text has control characters; write it on one line".to_owned());
    }
    if text.chars().count() > most {
        return Err(format!(
            "the text is longer than {most} characters; shorten it"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_readable_in_both_themes() {
        assert!(check_accent("#0b57d0").is_ok());
        assert!(check_accent("#ffcc00").unwrap_err().contains("contrast"));
        assert!(check_accent("red").is_err());
        assert!(check_accent("#12345").is_err());
        assert!(check_accent("#12345g").is_err());
        for text in ["#0b57d0", "#000000", "#7a0019", "#006644"] {
            let dark = Colour::parse(text).unwrap().readable_on(DARK_GROUND);
            assert!(dark.contrast(DARK_GROUND) >= TEXT, "{text}");
            let on = if LIGHT_GROUND.contrast(dark) >= TEXT {
                LIGHT_GROUND
            } else {
                INK
            };
            assert!(on.contrast(dark) >= TEXT, "{text}");
        }
    }

    #[test]
    fn a_logo_is_png_or_a_harmless_svg() {
        assert_eq!(kind_of(b"\x89PNG\r\n\x1a\nrest"), Ok("image/png"));
        assert_eq!(
            kind_of(b"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\"/>"),
            Ok("image/svg+xml")
        );
        assert_eq!(kind_of(b"<svg/>"), Ok("image/svg+xml"));
        for bad in [
            &b"<svg><script>x</script></svg>"[..],
            b"<!DOCTYPE svg [<!ENTITY x \"y\">]><svg/>",
            b"<html><svg/></html>",
            b"GIF89a",
            b"\xff\xd8\xff",
            b"",
        ] {
            assert!(kind_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contacts() {
        let href = |text: &str| Contact::of(text).href(Some("abc"));
        assert_eq!(
            href("help@corp.example").as_deref(),
            Some("mailto:help@corp.example?subject=Reference%20abc")
        );
        assert_eq!(
            href("https://help.example/x").as_deref(),
            Some("https://help.example/x")
        );
        assert_eq!(href("extension 42"), None);
        assert_eq!(href("javascript:alert(1)"), None);
        assert_eq!(href("a@b?cc=c@d"), None);
    }
}
