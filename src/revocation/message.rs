//! What replicas say to each other: `<who> beat`, `<who> <session|login|grant> <changed|ended> <id>`, `<who> all ended`.

use super::{Name, News};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The sender lives, and the channel works.
    Beat,
    /// Something ended or changed.
    News(Name, News),
    /// Everything of everybody ended.
    AllEnded,
}

impl Message {
    pub(super) fn write(&self, from: &str) -> String {
        match self {
            Self::Beat => format!("{from} beat"),
            Self::AllEnded => format!("{from} all ended"),
            Self::News(name, news) => {
                let (kind, id) = match name {
                    Name::Session(id) => ("session", id),
                    Name::Login(id) => ("login", id),
                    Name::Grant(id) => ("grant", id),
                };
                let news = match news {
                    News::Changed => "changed",
                    News::Ended => "ended",
                };
                format!("{from} {kind} {news} {id}")
            }
        }
    }

    /// The sender and the message; `None` for what this version does not know.
    pub(super) fn read(text: &str) -> Option<(&str, Self)> {
        let mut words = text.split(' ');
        let from = words.next()?;
        let message = match (words.next()?, words.next(), words.next(), words.next()) {
            ("beat", None, None, None) => Self::Beat,
            ("all", Some("ended"), None, None) => Self::AllEnded,
            (kind, Some(news), Some(id), None) => {
                let id = is_id(id).then(|| id.into())?;
                let name = match kind {
                    "session" => Name::Session(id),
                    "login" => Name::Login(id),
                    "grant" => Name::Grant(id),
                    _ => return None,
                };
                let news = match news {
                    "changed" => News::Changed,
                    "ended" => News::Ended,
                    _ => return None,
                };
                Self::News(name, news)
            }
            _ => return None,
        };
        Some((from, message))
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let id: std::sync::Arc<str> = "0123456789abcdef0123456789abcdef".into();
        for message in [
            Message::Beat,
            Message::AllEnded,
            Message::News(Name::Login(id.clone()), News::Changed),
            Message::News(Name::Grant(id), News::Ended),
        ] {
            let text = message.write("me");
            assert_eq!(Message::read(&text), Some(("me", message)));
        }
        for unknown in [
            "",
            "me",
            "me login ended",
            "me all changed",
            "me login ended ABC",
            "me policy ended 0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(Message::read(unknown), None);
        }
    }
}
