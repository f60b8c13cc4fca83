//! One refresh, from the lease to the new claims.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Due, Life, Outcome, Refresher, Stage};
use crate::claims::Claims;
use crate::clock::Timestamp;
use crate::config::oidc::Userinfo;
use crate::oidc::id_token::{self, Expected};
use crate::oidc::provider::Ready;
use crate::oidc::token::{TokenError, Tokens};
use crate::oidc::userinfo;
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
        let Ok(ready) = self.home.provider.ready().await else {
            self.home.count("failure", "provider_unavailable");
            return Ok(Outcome::Trouble(life));
        };
        match self
            .home
            .provider
            .caller(&ready.metadata)
            .redeem_refresh(&spent)
            .await
        {
            Ok(tokens) => self.keep(&ready, revision, &spent, old, tokens).await,
            Err(TokenError::Refused { code, description }) if is_conclusive(&code) => {
                self.end(&spent, &code, &description).await
            }
            Err(TokenError::Refused { code, description }) => {
                tracing::error!(error = %code, %description, "the provider refused a refresh for a reason that is not the person's (is oidc.client_secret still good?); sessions are kept");
                self.home.count("failure", "provider_refused_us");
                Ok(Outcome::Trouble(life))
            }
            Err(error @ (TokenError::Unavailable(_) | TokenError::Unusable(_))) => {
                tracing::warn!(%error, "a session could not be refreshed; it is kept, and tried again");
                self.home.count("failure", "provider_unavailable");
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
        self.home.sessions.end_login(&self.login).await?;
        self.home.count("failure", "refused");
        Ok(Outcome::Changed)
    }

    /// Writes the new tokens down first, for the old refresh token may be spent; then sees to the claims.
    async fn keep(
        &self,
        ready: &Ready,
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
        if let Some((id_token, claims)) = self.claims(ready, &new, kept.id_token.as_ref()).await {
            let kept = ProviderTokens { id_token, ..kept };
            self.renew(&kept, &claims).await?;
        }
        self.home.count("success", "none");
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

    /// The new claims, with the ID token they rest on. `None`: the old ones stay.
    async fn claims(
        &self,
        ready: &Ready,
        new: &Tokens,
        old_id_token: Option<&Secret>,
    ) -> Option<(Option<Secret>, Claims)> {
        let config = self.home.provider.config();
        let subject = &self.claims.subject;
        let fresh = self.verified(ready, new).await;
        let renewed = fresh.is_some();
        let (id_token, base, asks) = if let Some(claims) = fresh {
            let asks = userinfo::wanted(config.userinfo, &claims, &config.claims);
            (new.id_token.clone(), claims, asks)
        } else {
            let old = old_id_token?;
            let asks = config.userinfo != Userinfo::Never;
            (Some(old.clone()), id_token::stored_claims(old)?, asks)
        };
        let extra = match &ready.metadata.userinfo_endpoint {
            Some(endpoint) if asks => {
                let asked = userinfo::ask(
                    self.home.provider.calls(),
                    endpoint,
                    &new.access_token,
                    &subject.subject,
                )
                .await;
                match asked {
                    Ok(claims) => Some(claims),
                    Err(error) => {
                        tracing::warn!(%error, "claims could not be read again at a refresh; the former ones stay");
                        return None;
                    }
                }
            }
            _ if !renewed => return None,
            _ => None,
        };
        Some((
            id_token,
            Claims::read(
                subject.clone(),
                userinfo::join(&base, extra),
                &config.claims,
            ),
        ))
    }

    /// The claims of the new ID token. One that does not count, or is about somebody else, is dropped (OpenID
    /// Connect Core section 12.2).
    async fn verified(
        &self,
        ready: &Ready,
        new: &Tokens,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let token = new.id_token.as_ref()?;
        let expected = Expected {
            issuer: &ready.issuer,
            client_id: &self.home.provider.config().client_id,
            nonce: None,
            access_token: &new.access_token,
            now: self.home.ambient.now(),
            skew: self.home.skew,
        };
        match id_token::verify(token, &ready.jwks, &expected).await {
            Ok(verified)
                if *verified.subject == *self.claims.subject.subject
                    && *ready.issuer == *self.claims.subject.issuer =>
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
