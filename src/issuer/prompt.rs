//! `prompt` (OpenID Connect Core section 3.1.2.1): how much a person wants or has to be asked.

/// What `prompt` said. Values that we do not know mean nothing.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four words that are there or not"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// Nothing may be shown.
    pub(super) none: bool,
    /// The person has to sign in again.
    login: bool,
    /// The question has to be asked, whatever was remembered.
    pub(super) consent: bool,
    /// The person chooses the account.
    select_account: bool,
}

impl Prompt {
    /// Reads the parameter; `None` when `none` does not stand alone.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut prompt = Self::default();
        for word in text.split(' ') {
            match word {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                _ => {}
            }
        }
        let others = prompt.login || prompt.consent || prompt.select_account;
        (!(prompt.none && others)).then_some(prompt)
    }

    /// What the provider is asked for, where the person has to go there even with a session.
    pub(super) fn at_provider(self) -> Option<&'static str> {
        match (self.login, self.select_account) {
            (true, true) => Some("login select_account"),
            (true, false) => Some("login"),
            (false, true) => Some("select_account"),
            (false, false) => None,
        }
    }

    /// What stands in for the parameter when the person comes back from the provider: what was done there is not
    /// done again, and the question is asked.
    pub(super) fn once(self) -> Option<&'static str> {
        self.at_provider().map(|_| "consent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_read_word_by_word() {
        let parse = |text| Prompt::parse(text).unwrap();
        assert_eq!(parse(""), Prompt::default());
        assert!(parse("none").none);
        assert_eq!(Prompt::parse("none login"), None);
        assert_eq!(parse("login").at_provider(), Some("login"));
        assert_eq!(
            parse("select_account consent login").at_provider(),
            Some("login select_account")
        );
        assert_eq!(parse("consent").at_provider(), None);
        assert_eq!(parse("consent").once(), None);
        assert_eq!(parse("login").once(), Some("consent"));
        assert!(parse("consent unknown").consent);
    }
}
