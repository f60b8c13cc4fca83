use proptest::prelude::*;
use serde_json::Map;

use super::refresh::{Step, note, step};
use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::config::oidc::ClaimMap;
use crate::issuer::client::{Client, ClientAuth, RedirectUris, Standing};
use crate::issuer::error::{OAuthCode, OAuthError};
use crate::session::{NewLogin, ProviderTokens};
use crate::store::memory::MemoryStore;
use crate::telemetry::metrics::Metrics;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "http://127.0.0.1:7777/callback";
const RESOURCE: &str = "https://mcp.example.com/a/mcp";

struct World {
    clock: Arc<ManualClock>,
    ambient: Ambient,
    sessions: Arc<Sessions>,
    grants: Arc<Grants>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let config = SessionConfig::default();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(&config, ambient.clone()));
        let keys = KeyRing::ephemeral(ambient.clone());
        let revocations = Revocations::new(Arc::clone(&store), ambient.clone());
        let sessions = Sessions::new(
            Arc::clone(&store),
            keys.clone(),
            &config,
            &revocations,
            ambient.clone(),
            &Metrics::new(),
        );
        let grants = Grants::new(
            store,
            &keys,
            Arc::clone(&sessions),
            revocations,
            &AuthorizationServer::default(),
            &config,
            ambient.clone(),
            Audit::default(),
        );
        Self {
            clock,
            ambient,
            sessions,
            grants,
        }
    }

    /// Somebody signed in; gives the login's id. Without a refresh token nothing can be prolonged.
    async fn login(&self, refreshes: bool) -> Arc<str> {
        let login = NewLogin {
            claims: Claims::read(ann(), Map::new(), &ClaimMap::default()),
            tokens: ProviderTokens {
                access_token: Secret::new("access"),
                access_expires: None,
                refresh_token: refreshes.then(|| Secret::new("refresh")),
                id_token: None,
                provider_session: None,
            },
        };
        self.sessions.create(login).await.unwrap().0.login
    }

    async fn code(&self, client: &Client, login: &Arc<str>) -> Secret {
        let now = self.ambient.now();
        let about = About {
            client_id: client.id.to_string(),
            client: client.digest.to_string(),
            client_name: None,
            subject: ann(),
            basis: Basis::Login(Arc::clone(login)),
            resource: RESOURCE.to_owned(),
            scopes: ScopeSet::of(["mcp"]),
            created: now,
            ends: self.grants.end_of_new(now),
        };
        let approval = Approval {
            about,
            challenge: CHALLENGE.to_owned(),
            redirect_uri: RedirectUri::register(BACK, &[]).unwrap(),
        };
        self.grants.approve(approval).await.unwrap()
    }

    async fn redeem(
        &self,
        client: &Client,
        code: &Secret,
        change: impl FnOnce(&mut Redemption<'_>),
    ) -> Result<(Arc<str>, Secret), OAuthError> {
        let mut redemption = Redemption {
            code: code.expose_secret(),
            verifier: Some(VERIFIER),
            redirect_uri: Some(BACK),
            resource: Some(RESOURCE),
            refresh: true,
        };
        change(&mut redemption);
        let (id, _, refresh) = self.grants.redeem(client, &redemption).await?;
        Ok((id, refresh.unwrap()))
    }

    async fn granted(&self, client: &Client) -> (Arc<str>, Secret) {
        let login = self.login(true).await;
        let code = self.code(client, &login).await;
        self.redeem(client, &code, |_| {}).await.unwrap()
    }

    async fn refresh(&self, client: &Client, token: &Secret) -> Result<Secret, OAuthCode> {
        let presented = self
            .grants
            .present(token, client)
            .await
            .map_err(|e| e.code)?;
        let rotated = self.grants.rotate(&presented).await.map_err(|e| e.code)?;
        Ok(rotated.refresh)
    }

    async fn lives(&self, grant: &str) -> bool {
        self.grants.find(grant).await.unwrap().is_some()
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}

fn ann() -> Subject {
    Subject {
        issuer: "https://id.example.com".into(),
        subject: "ann".into(),
    }
}

fn client(id: &str) -> Client {
    Client {
        id: id.into(),
        digest: format!("digest-of-{id}").into(),
        standing: Standing::Registered,
        name: None,
        redirect_uris: RedirectUris::default(),
        auth: ClientAuth::None,
        grants: Vec::new(),
        scopes: None,
        routes: None,
        groups: Vec::new(),
    }
}

#[tokio::test]
async fn attack_s8_a_code_is_good_once_and_a_second_use_ends_what_it_gave() {
    let world = World::new();
    let (app, other) = (client("app"), client("other"));
    let login = world.login(true).await;
    let code = world.code(&app, &login).await;
    // Another client's attempt has no effect at all.
    let refused = world.redeem(&other, &code, |_| {}).await.unwrap_err();
    assert_eq!(refused.code, OAuthCode::InvalidGrant);
    let (grant, refresh) = world.redeem(&app, &code, |_| {}).await.unwrap();
    assert!(world.lives(&grant).await);
    assert!(world.redeem(&other, &code, |_| {}).await.is_err());
    assert!(world.lives(&grant).await);

    assert!(world.redeem(&app, &code, |_| {}).await.is_err());
    assert!(!world.lives(&grant).await);
    assert_eq!(
        world.refresh(&app, &refresh).await,
        Err(OAuthCode::InvalidGrant)
    );
}

#[tokio::test]
async fn attack_s7_a_code_without_its_proof_is_used_up() {
    let world = World::new();
    let app = client("app");
    let login = world.login(true).await;
    let wrong: [fn(&mut Redemption<'_>); 5] = [
        |r| r.verifier = None,
        |r| r.verifier = Some(""),
        |r| r.verifier = Some(CHALLENGE),
        |r| r.redirect_uri = None,
        |r| r.redirect_uri = Some("http://127.0.0.1:7777/callback/"),
    ];
    for change in wrong {
        let code = world.code(&app, &login).await;
        assert!(world.redeem(&app, &code, change).await.is_err());
        assert!(world.redeem(&app, &code, |_| {}).await.is_err(), "burnt");
    }
    // A resource that is not the code's harms nobody, and the client may try again.
    let code = world.code(&app, &login).await;
    let refused = world
        .redeem(&app, &code, |r| {
            r.resource = Some("https://mcp.example.com/b/mcp");
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code, OAuthCode::InvalidTarget);
    assert!(world.redeem(&app, &code, |_| {}).await.is_ok());
    let late = world.code(&app, &login).await;
    world.pass(60);
    assert!(world.redeem(&app, &late, |_| {}).await.is_err());
}

#[tokio::test]
async fn several_processes_share_a_refresh_token() {
    let world = World::new();
    let app = client("app");
    let (grant, first) = world.granted(&app).await;
    let second = world.refresh(&app, &first).await.unwrap();
    // Lost, or another process: the same successor, for as long as nobody has presented it.
    for _ in 0..3 {
        world.pass(3600);
        assert_eq!(world.refresh(&app, &first).await.unwrap(), second);
    }
    let third = world.refresh(&app, &second).await.unwrap();
    world.pass(59);
    assert_eq!(world.refresh(&app, &first).await.unwrap(), second);
    assert_eq!(world.refresh(&app, &second).await.unwrap(), third);
    world.pass(1);
    assert!(world.lives(&grant).await);
    assert_eq!(
        world.refresh(&app, &first).await,
        Err(OAuthCode::InvalidGrant)
    );
    assert!(!world.lives(&grant).await, "a stolen one ends the grant");
    assert_eq!(
        world.refresh(&app, &third).await,
        Err(OAuthCode::InvalidGrant)
    );
}

#[tokio::test]
async fn attack_s28_a_refresh_token_of_another_client_is_nothing() {
    let world = World::new();
    let (app, thief) = (client("app"), client("thief"));
    let (grant, token) = world.granted(&app).await;
    assert_eq!(
        world.refresh(&thief, &token).await,
        Err(OAuthCode::InvalidGrant)
    );
    assert!(world.lives(&grant).await);
    assert!(world.refresh(&app, &token).await.is_ok());
}

#[tokio::test]
async fn a_grant_ends_by_idling_by_age_and_with_its_login() {
    let world = World::new();
    let app = client("app");
    let day = 86_400;
    let (idle, mut token) = world.granted(&app).await;
    for _ in 0..7 {
        world.pass(25 * day);
        assert!(world.lives(&idle).await);
        token = world.refresh(&app, &token).await.unwrap();
    }
    world.pass(5 * day);
    assert!(!world.lives(&idle).await, "180 days are over");
    assert_eq!(
        world.refresh(&app, &token).await,
        Err(OAuthCode::InvalidGrant)
    );

    let (unused, _) = world.granted(&app).await;
    world.pass(30 * day);
    assert!(!world.lives(&unused).await);

    let login = world.login(true).await;
    let code = world.code(&app, &login).await;
    let (grant, _) = world.redeem(&app, &code, |_| {}).await.unwrap();
    assert!(world.lives(&grant).await);
    world.sessions.end_login(&login).await.unwrap();
    assert!(!world.lives(&grant).await);
}

#[tokio::test]
async fn without_a_refresh_token_of_the_provider_a_grant_ends_with_the_session() {
    let world = World::new();
    let app = client("app");
    let login = world.login(false).await;
    let code = world.code(&app, &login).await;
    let (grant, _) = world.redeem(&app, &code, |_| {}).await.unwrap();
    world.pass(24 * 3600 - 1);
    assert!(world.lives(&grant).await);
    world.pass(1);
    assert!(!world.lives(&grant).await);
}

#[tokio::test]
async fn signing_out_leaves_apps_what_they_were_given() {
    let world = World::new();
    let app = client("app");
    let login = NewLogin {
        claims: Claims::read(ann(), Map::new(), &ClaimMap::default()),
        tokens: ProviderTokens {
            access_token: Secret::new("access"),
            access_expires: None,
            refresh_token: Some(Secret::new("refresh")),
            id_token: Some(Secret::new("id")),
            provider_session: None,
        },
    };
    let (session, ticket) = world.sessions.create(login).await.unwrap();
    let code = world.code(&app, &session.login).await;
    let (grant, _) = world.redeem(&app, &code, |_| {}).await.unwrap();
    let tokens = world.sessions.end(&ticket).await.unwrap().unwrap();
    assert!(tokens.id_token.is_some(), "for the provider's sign-out");
    assert!(world.sessions.find(&ticket).await.unwrap().is_none());
    assert!(world.lives(&grant).await);
    // With the last grant the login goes.
    world.grants.end(&grant, Ending::Revoked).await.unwrap();
    assert!(
        world
            .sessions
            .login(&session.login)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn all_grants_of_a_subject_are_ended() {
    let world = World::new();
    let (one, _) = world.granted(&client("one")).await;
    let (two, _) = world.granted(&client("two")).await;
    assert_eq!(world.grants.count_of(&ann()).await.unwrap(), 2);
    assert_eq!(world.grants.end_of(&ann()).await.unwrap(), 2);
    assert!(!world.lives(&one).await && !world.lives(&two).await);
    assert_eq!(world.grants.end_of(&ann()).await.unwrap(), 0);
}

#[tokio::test]
async fn all_grants_of_everybody_are_ended() {
    let world = World::new();
    let app = client("one");
    let (grant, refresh) = world.granted(&app).await;
    let login = world.login(true).await;
    let code = world.code(&app, &login).await;
    assert!(world.lives(&grant).await);
    let until = world.sessions.end_everything().await.unwrap();
    assert!(!world.lives(&grant).await);
    assert!(world.grants.present(&refresh, &app).await.is_err());
    assert!(world.redeem(&app, &code, |_| {}).await.is_err());
    assert_eq!(world.grants.count_of(&ann()).await.unwrap(), 0);
    let rest = until.since(world.ambient.now());
    world.clock.advance(rest + Duration::from_millis(1));
    assert!(!world.lives(&grant).await);
    let (later, _) = world.granted(&app).await;
    assert!(world.lives(&later).await);
}

proptest! {
    /// The rule against the words of its definition: a token is good until its successor was presented, and 60 s more.
    #[test]
    fn the_rule_of_predecessors(actions in prop::collection::vec((0u64..6, 0u64..50), 1..30)) {
        let mut now = Timestamp::from_secs(1_000_000);
        let (mut newest, mut seen) = (1u64, Vec::new());
        // When each generation was first presented.
        let mut presented_at: std::collections::HashMap<u64, Timestamp> = std::collections::HashMap::new();
        for (back, wait) in actions {
            now = now.plus(Duration::from_secs(wait));
            let Some(presented) = newest.checked_sub(back).filter(|generation| *generation > 0) else {
                continue;
            };
            let good = presented_at
                .get(&(presented + 1))
                .is_none_or(|at| now < at.plus(Duration::from_secs(60)));
            match step(newest, &seen, presented, now) {
                Step::Replayed => { prop_assert!(!good, "{presented} of {newest}"); break; }
                Step::Again(next) => { prop_assert!(good && next == presented + 1); }
                Step::Advance(next) => {
                    prop_assert!(good && next == presented + 1 && presented == newest);
                    seen = note(&seen, presented, now);
                    newest = next;
                }
            }
            presented_at.entry(presented).or_insert(now);
        }
    }
}
