//! One refresh, from the lease to the new claims.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{Due, Life, Outcome, Refresher, Stage};
use crate::audit::{Event, Kind, Outcome as How};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::config::oidc::Userinfo;
use crate::ids::Subject;
use crate::oidc::browser::provider_of;
use crate::oidc::id_token::{self, Expected};
use crate::oidc::provider::{Provider, Ready};
use crate::oidc::token::{TokenError, Tokens};
use crate::oidc::userinfo::{self, Question, UserinfoError};
use crate::secret::Secret;
use crate::session::ProviderTokens;
use crate::store::Unavailable;

/// Longest time between the moment a refresh is due and the end of its access token.
const LEAD: Duration = Duration::from_secs(60);

/// How long the work of another replica is waited for.
const OTHERS: Duration = Duration::from_secs(10);

/// Tries to write a rotated refresh token down before it is given up for lost.
const WRITES: u32 = 6;

/// Whether a refusal is about the login (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6). The others are about
/// us or the request, and no reason to sign anybody out.
fn is_conclusive(code: &str) -> bool {
    matches!(
        code,
        "invalid_grant"
            | "access_denied"
            | "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required"
    )
}

/// The provider of a login.
#[derive(Clone, Copy)]
struct At<'a> {
    provider: &'a Provider,
    ready: &'a Ready,
}

/// What a refresh says about the person.
enum Fresh {
    /// This, by this ID token.
    Claims(Option<Secret>, Claims),
    /// Nothing new: the former claims stay.
    Former,
    /// They may not sign in any more, by what the operator demands of this provider's people.
    Unwanted(String),
}

impl Fresh {
    fn judged(
        provider: &Provider,
        subject: &Subject,
        id_token: Option<Secret>,
        mut all: Map<String, Value>,
    ) -> Self {
        match provider.profile().complete(provider.config(), &mut all) {
            Ok(()) => Self::Claims(
                id_token,
                Claims::read(subject.clone(), all, provider.claims()),
            ),
            Err(why) => Self::Unwanted(why),
        }
    }

    fn unread(error: &UserinfoError) -> Self {
        tracing::warn!(%error, "claims could not be read again at a refresh; the former ones stay");
        Self::Former
    }
}

/// One refresh of one login.
pub(super) struct Work {
    home: Arc<Refresher>,
    login: Arc<str>,
    claims: Arc<Claims>,
    due: Timestamp,
    tell: watch::Sender<Stage>,
    over: bool,
}

impl Drop for Work {
    /// Also when the task ends by a panic or with the runtime: nobody may wait for it for ever.
    fn drop(&mut self) {
        self.leave();
    }
}

impl Work {
    pub(super) fn new(home: Arc<Refresher>, due: &Due<'_>, tell: watch::Sender<Stage>) -> Self {
        Self {
            home,
            login: Arc::clone(due.login),
            claims: Arc::clone(due.claims),
            due: due.since,
            tell,
            over: false,
        }
    }

    pub(super) async fn run(mut self) {
        let outcome = self.lead().await.unwrap_or_else(Outcome::Store);
        self.home.note(&self.login, &outcome);
        // Before it is told, so that who looks again begins anew.
        self.leave();
        let _ = self.tell.send(Stage::Done(outcome));
    }

    /// Leaves the list of refreshes under way, once: the next entry of this login is not ours.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.home.flights().remove(&self.login);
        }
    }

    /// Takes the right to refresh this login, or waits for the one who has it: their result is ours.
    async fn lead(&self) -> Result<Outcome, Unavailable> {
        let sessions = &self.home.sessions;
        if let Some(mut lease) = sessions.lease(&self.login).await? {
            let outcome = lease.keep(self.refresh()).await;
            lease.release().await;
            return outcome;
        }
        let Some((revision, tokens)) = sessions.tokens(&self.login).await? else {
            return Ok(Outcome::Changed);
        };
        let life = self.know(&tokens);
        if sessions.changed(&self.login, revision, OTHERS).await? {
            return Ok(Outcome::Changed);
        }
        Ok(Outcome::Trouble(life))
    }

    async fn refresh(&self) -> Result<Outcome, Unavailable> {
        let issuer = &self.claims.subject.issuer;
        let Some(provider) = provider_of(&self.home.providers, issuer) else {
            tracing::warn!(%issuer, "the provider of a login is no longer configured; the login is over");
            self.over("provider_gone").await?;
            return Ok(Outcome::Changed);
        };
        let Some((revision, old)) = self.home.sessions.tokens(&self.login).await? else {
            return Ok(Outcome::Changed);
        };
        let life = self.know(&old);
        let Some(spent) = old.refresh_token.clone() else {
            return Ok(Outcome::Kept);
        };
        if old
            .access_expires
            .is_some_and(|end| end.since(self.due) > LEAD)
        {
            // These are not the tokens that were due: another replica was faster.
            return Ok(Outcome::Changed);
        }
        let count = |result, reason| self.home.count(provider, result, reason);
        let Ok(ready) = provider.ready().await else {
            count("failure", "provider_unavailable");
            return Ok(Outcome::Trouble(life));
        };
        match provider
            .caller(&ready.metadata)
            .redeem_refresh(&spent)
            .await
        {
            Ok(tokens) => {
                let at = At {
                    provider,
                    ready: &ready,
                };
                self.keep(at, revision, &spent, old, tokens).await
            }
            Err(TokenError::Refused { code, description }) if is_conclusive(&code) => {
                count("failure", "refused");
                self.end(&spent, &code, &description).await
            }
            Err(TokenError::Refused { code, description }) => {
                tracing::error!(error = %code, %description, "the provider refused a refresh for a reason that is not the person's (is oidc.client_secret still good?); sessions are kept");
                count("failure", "provider_refused_us");
                Ok(Outcome::Trouble(life))
            }
            Err(error @ (TokenError::Unavailable(_) | TokenError::Unusable(_))) => {
                tracing::warn!(%error, "a session could not be refreshed; it is kept, and tried again");
                count("failure", "provider_unavailable");
                Ok(Outcome::Trouble(life))
            }
        }
    }

    /// A conclusive refusal ends the login, unless it was about a token that somebody else has replaced.
    async fn end(
        &self,
        spent: &Secret,
        code: &str,
        description: &str,
    ) -> Result<Outcome, Unavailable> {
        if let Some((_, current)) = self.home.sessions.tokens(&self.login).await?
            && current.refresh_token.as_ref() != Some(spent)
        {
            return Ok(Outcome::Changed);
        }
        tracing::info!(error = %code, %description, "the provider refused a refresh; the login is over");
        self.over("refused_by_provider").await?;
        Ok(Outcome::Changed)
    }

    /// Ends the login, and all that rests on it.
    async fn over(&self, why: &'static str) -> Result<(), Unavailable> {
        self.home.sessions.end_login(&self.login).await?;
        self.home.audit.note_with(|audit| {
            Event::new(Kind::SessionEnded, How::Denied)
                .because(why)
                .by(audit.who(&self.claims))
        });
        Ok(())
    }

    /// Writes the new tokens down first, for the old refresh token may be spent; then sees to the claims.
    async fn keep(
        &self,
        at: At<'_>,
        revision: u64,
        spent: &Secret,
        old: ProviderTokens,
        new: Tokens,
    ) -> Result<Outcome, Unavailable> {
        let now = self.home.ambient.now();
        let before = old.access_token.clone();
        let kept = ProviderTokens {
            access_token: new.access_token.clone(),
            access_expires: new.expires_in.map(|life| now.plus(life)),
            refresh_token: new.refresh_token.clone().or(old.refresh_token),
            id_token: old.id_token,
            provider_session: old.provider_session,
        };
        if !self.write(revision, spent, &before, &kept).await? {
            return Ok(Outcome::Changed);
        }
        match self.claims(at, &new, kept.id_token.as_ref()).await {
            Fresh::Claims(id_token, claims) => {
                let kept = ProviderTokens { id_token, ..kept };
                self.renew(&kept, &claims).await?;
            }
            Fresh::Former => {}
            Fresh::Unwanted(why) => {
                tracing::info!(%why, "somebody may not sign in any more; the login is over");
                self.home.count(at.provider, "failure", "refused");
                self.over("may_not_sign_in").await?;
                return Ok(Outcome::Changed);
            }
        }
        self.home.count(at.provider, "success", "none");
        Ok(Outcome::Changed)
    }

    /// Writes new claims beside the tokens that we have just written, unless somebody has replaced those since.
    async fn renew(&self, kept: &ProviderTokens, claims: &Claims) -> Result<(), Unavailable> {
        let sessions = &self.home.sessions;
        for _ in 0..WRITES {
            match sessions.tokens(&self.login).await? {
                Some((revision, now)) if now.access_token == kept.access_token => {
                    let (kept, claims) = (kept.clone(), claims.clone());
                    if sessions
                        .update_login(&self.login, revision, kept, claims)
                        .await?
                    {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
        tracing::warn!(
            "new claims of a login could not be written; they are read again at its next refresh"
        );
        Ok(())
    }

    /// Writes rotated tokens with the claims as they were. `false`: the login is gone, or is not what it was. That is
    /// how a refresh whose lease was lost is fenced: where the tokens are not those that it began with, another one
    /// has been there, whose claims are newer. (A provider may give the same refresh token again, so the access token
    /// is looked at too.)
    async fn write(
        &self,
        mut revision: u64,
        spent: &Secret,
        before: &Secret,
        kept: &ProviderTokens,
    ) -> Result<bool, Unavailable> {
        let mut pause = Duration::from_millis(100);
        let mut attempt = 1;
        loop {
            let claims = (*self.claims).clone();
            let written = match self
                .home
                .sessions
                .update_login(&self.login, revision, kept.clone(), claims)
                .await
            {
                Ok(true) => return Ok(true),
                Ok(false) => match self.home.sessions.tokens(&self.login).await {
                    Ok(Some((now, current)))
                        if current.refresh_token.as_ref() == Some(spent)
                            && current.access_token == *before =>
                    {
                        revision = now;
                        Ok(())
                    }
                    Ok(_) => return Ok(false),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            if attempt == WRITES {
                tracing::error!(
                    "rotated tokens could not be written; this login may have to be repeated"
                );
                return written.map(|()| false);
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// The new claims, with the ID token they rest on.
    async fn claims(&self, at: At<'_>, new: &Tokens, old_id_token: Option<&Secret>) -> Fresh {
        let At { provider, ready } = at;
        let subject = &self.claims.subject;
        let profile = provider.profile();
        if let Some(api) = provider.github() {
            let asked = api
                .ask(provider.calls(), &new.access_token, &self.home.ambient)
                .await;
            return match asked {
                Ok(person) if *person.subject == *subject.subject => {
                    Fresh::judged(provider, subject, None, person.claims)
                }
                Ok(_) => {
                    tracing::warn!("refreshed claims are about another subject; they are dropped");
                    Fresh::Former
                }
                Err(error) => Fresh::unread(&error),
            };
        }
        let mode = profile.userinfo(provider.config().userinfo);
        let fresh = self.verified(at, new).await;
        let renewed = fresh.is_some();
        let (id_token, base, asks) = if let Some(claims) = fresh {
            let asks = userinfo::wanted(mode, &claims, provider.claims());
            (new.id_token.clone(), claims, asks)
        } else {
            let Some((old, claims)) =
                old_id_token.and_then(|old| Some((old, id_token::stored_claims(old)?)))
            else {
                return Fresh::Former;
            };
            (Some(old.clone()), claims, mode != Userinfo::Never)
        };
        let question = Question {
            provider,
            ready,
            access_token: &new.access_token,
            subject: &subject.subject,
            now: self.home.ambient.now(),
            skew: self.home.skew,
        };
        let extra = match &ready.metadata.userinfo_endpoint {
            Some(endpoint) if asks => match userinfo::ask(endpoint, &question).await {
                Ok(claims) => Some(claims),
                Err(error) => return Fresh::unread(&error),
            },
            _ if !renewed => return Fresh::Former,
            _ => None,
        };
        Fresh::judged(provider, subject, id_token, userinfo::join(&base, extra))
    }

    /// The claims of the new ID token. One that does not count, or is about somebody else, is dropped (OpenID
    /// Connect Core section 12.2).
    async fn verified(&self, at: At<'_>, new: &Tokens) -> Option<Map<String, Value>> {
        let token = new.id_token.as_ref()?;
        let expected = Expected {
            client_id: &at.provider.config().client_id,
            nonce: None,
            access_token: &new.access_token,
            now: self.home.ambient.now(),
            skew: self.home.skew,
        };
        let subject = &self.claims.subject;
        match id_token::verify(token, at.ready, &expected).await {
            Ok(verified)
                if *verified.subject == *subject.subject
                    && at.ready.canonical(verified.issuer()) == subject.issuer =>
            {
                Some(verified.claims)
            }
            Ok(_) => {
                tracing::warn!("a refreshed ID token is about another subject; it is dropped");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a refreshed ID token is dropped");
                None
            }
        }
    }

    fn know(&self, tokens: &ProviderTokens) -> Life {
        let life = Life::of(tokens.access_expires);
        let _ = self.tell.send(Stage::Working(Some(life)));
        life
    }
}
