use bytes::Bytes;

use super::sealed::TAG;
use super::*;
use crate::clock::{ManualClock, SystemRandom, Timestamp};
use crate::config::session::Sessions as StoreConfig;
use crate::store::memory::MemoryStore;

const FILES: usize = 0;
const MAILS: usize = 1;
const SMALL: usize = 2;
const HOME: [u8; TAG] = [7; TAG];

struct World {
    sessions: Sessions,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new() -> Self {
        let config = serde_json::from_str(
            r#"{"version": 1, "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"},
                {"name": "small", "upstream": "http://127.0.0.1:2", "max_sessions": 3}], "routes": [
                {"path": "/files", "backend": "b", "public": true},
                {"path": "/mails", "backend": "b", "public": true},
                {"path": "/small", "backend": "small", "public": true}]}"#,
        )
        .unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let store = MemoryStore::new(&StoreConfig::default(), ambient.clone());
        let ledger = Ledger::new(Arc::new(store), ambient.clone());
        let keys = KeyRing::ephemeral(ambient.clone());
        let metrics = Metrics::new();
        let sessions = Sessions::new(&config, &keys, ambient, ledger, &metrics);
        Self {
            sessions,
            clock,
            metrics,
        }
    }

    fn enter_with(
        &self,
        route: usize,
        who: &str,
        method: &Method,
        lines: &[(HeaderName, &HeaderValue)],
        message: &Message,
    ) -> Result<Passage<'_>, Reject> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, (*value).clone());
        }
        let subject = Subject {
            issuer: "https://idp".into(),
            subject: who.into(),
        };
        let owner = match who {
            "" => Owner::Nobody,
            "everybody" => Owner::Everybody(&subject),
            _ => Owner::One(&subject),
        };
        self.sessions.enter(route, owner, method, &headers, message)
    }

    fn enter(
        &self,
        route: usize,
        who: &str,
        method: &Method,
        lines: &[(HeaderName, &HeaderValue)],
    ) -> Result<Passage<'_>, Reject> {
        self.enter_with(route, who, method, lines, &Message::default())
    }

    /// What the client is given for the backend's `id`.
    fn given(&self, who: &str, id: &str) -> HeaderValue {
        let passage = self.enter(FILES, who, &Method::POST, &[]).unwrap();
        assert_eq!(passage.endpoint(), None);
        answer(&passage, &[id]).unwrap().remove(SESSION_ID).unwrap()
    }

    fn refused(&self, route: usize, who: &str, lines: &[(HeaderName, &HeaderValue)]) -> bool {
        let Err(reject) = self.enter(route, who, &Method::POST, lines) else {
            return false;
        };
        let (one, other) = (unknown(), reject);
        assert_eq!(
            (
                other.status(),
                other.code(),
                other.message(),
                other.headers().len()
            ),
            (one.status(), one.code(), one.message(), one.headers().len())
        );
        true
    }

    /// Asks for a session, and is answered with a status and perhaps an id.
    async fn initialize(
        &self,
        route: usize,
        who: &str,
        (status, id): (u16, &str),
    ) -> Result<HeaderValue, Reject> {
        let body = Bytes::from_static(INITIALIZE);
        let message = Message::read(&HeaderMap::new(), &body).unwrap();
        let mut passage = self.enter_with(route, who, &Method::POST, &[], &message)?;
        assert!(passage.begins());
        passage.admit().await?;
        let mut headers = HeaderMap::from_iter([(SESSION_ID, HeaderValue::from_str(id).unwrap())]);
        let status = StatusCode::from_u16(status).unwrap();
        passage.arrive(status, &mut headers, HOME)?;
        drop(passage);
        self.sessions.ledger.settle().await;
        Ok(headers
            .remove(SESSION_ID)
            .unwrap_or(HeaderValue::from_static("")))
    }

    async fn opens(&self, route: usize, who: &str) -> bool {
        match self.initialize(route, who, (200, "42")).await {
            Ok(id) => !id.is_empty(),
            Err(reject) => {
                assert_eq!(
                    (reject.status().as_u16(), reject.code()),
                    (503, Code::TooManySessions)
                );
                assert_eq!(reject.headers()[0].0, http::header::RETRY_AFTER);
                false
            }
        }
    }

    fn saw(&self, backend: &str, event: &str, times: u32) {
        let line = format!(
            "mcp_proxy_mcp_session_events_total{{backend=\"{backend}\",event=\"{event}\"}} {times}\n"
        );
        let text = self.metrics.render();
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

const INITIALIZE: &[u8] = br#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
    "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}"#;

fn answer(passage: &Passage<'_>, ids: &[&str]) -> Result<HeaderMap, Reject> {
    let mut headers = HeaderMap::new();
    for id in ids {
        headers.append(SESSION_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
    }
    passage
        .arrive(StatusCode::OK, &mut headers, HOME)
        .map(|()| headers)
}

#[test]
fn the_backend_gets_its_own_and_the_client_keeps_its_own() {
    let world = World::new();
    let text = world.given("ann", "42");
    // A sealed text has these two figures by chance, too; a longer id would be seen.
    let long = world.given("ann", "a-long-id");
    assert!(!long.to_str().unwrap().contains("a-long-id"));
    let passage = world
        .enter(FILES, "ann", &Method::POST, &[(SESSION_ID, &text)])
        .unwrap();
    assert_eq!(passage.endpoint(), Some(HOME));
    let mut sent = HeaderMap::new();
    passage.depart(&mut sent);
    assert_eq!(sent[SESSION_ID], "42");
    assert_eq!(sent.len(), 1);
    // The same text for the same session; another one for another session, or at another endpoint.
    assert_eq!(answer(&passage, &["42"]).unwrap()[SESSION_ID], text);
    assert_ne!(answer(&passage, &["43"]).unwrap()[SESSION_ID], text);
    let mut elsewhere = HeaderMap::from_iter([(SESSION_ID, HeaderValue::from_static("42"))]);
    passage
        .arrive(StatusCode::OK, &mut elsewhere, [8; TAG])
        .unwrap();
    assert_ne!(elsewhere[SESSION_ID], text);
}

#[test]
fn only_its_owner_opens_it_and_everybody_else_hears_the_same() {
    let world = World::new();
    let text = world.given("ann", "42");
    let ours = [(SESSION_ID, &text)];
    assert!(!world.refused(FILES, "ann", &ours));
    for (route, who) in [(FILES, "bob"), (FILES, ""), (MAILS, "ann")] {
        assert!(world.refused(route, who, &ours), "{route} {who}");
    }
    let nobodys = world.given("", "42");
    assert!(!world.refused(FILES, "", &[(SESSION_ID, &nobodys)]));
    assert!(world.refused(FILES, "ann", &[(SESSION_ID, &nobodys)]));
    // Several, even of the same.
    assert!(world.refused(FILES, "ann", &[(SESSION_ID, &text), (SESSION_ID, &text)]));
    for wrong in [&b""[..], b"42", b"\xe4\xf6", &[b'A'; 10_000]] {
        let wrong = HeaderValue::from_bytes(wrong).unwrap();
        assert!(
            world.refused(FILES, "ann", &[(SESSION_ID, &wrong)]),
            "{wrong:?}"
        );
    }
}

#[test]
fn an_id_ends_a_day_after_it_was_given_out() {
    let world = World::new();
    let text = world.given("ann", "42");
    let ours = [(SESSION_ID, &text)];
    world.clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(!world.refused(FILES, "ann", &ours));
    world.clock.advance(Duration::from_secs(1));
    assert!(world.refused(FILES, "ann", &ours));
}

#[test]
fn events_count_only_in_their_session_and_on_get() {
    let world = World::new();
    let text = world.given("ann", "42");
    let event = HeaderValue::from_static("7");
    for (method, lines, goes_on) in [
        (
            Method::GET,
            vec![(SESSION_ID, &text), (LAST_EVENT_ID, &event)],
            true,
        ),
        (
            Method::POST,
            vec![(SESSION_ID, &text), (LAST_EVENT_ID, &event)],
            false,
        ),
        (Method::GET, vec![(LAST_EVENT_ID, &event)], false),
    ] {
        let mut sent = HeaderMap::new();
        let passage = world.enter(FILES, "ann", &method, &lines).unwrap();
        passage.depart(&mut sent);
        assert_eq!(sent.contains_key(LAST_EVENT_ID), goes_on, "{lines:?}");
    }
}

#[test]
fn ids_that_cannot_be_handed_on_are_the_backends_fault() {
    let world = World::new();
    let passage = world.enter(FILES, "ann", &Method::POST, &[]).unwrap();
    for bad in [
        &["a b"][..],
        &["\u{e4}"],
        &["a", "b"],
        &["a", "a"],
        &[&"x".repeat(2049)],
    ] {
        assert_eq!(answer(&passage, bad).unwrap_err().status(), 502, "{bad:?}");
    }
    assert!(
        answer(&passage, &[]).unwrap().is_empty(),
        "no session, nothing to seal"
    );
    assert!(answer(&passage, &[""]).unwrap().is_empty());
}

#[tokio::test]
async fn a_person_has_so_many_and_no_more() {
    let world = World::new();
    for n in 0..15 {
        let route = if n % 2 == 0 { FILES } else { MAILS };
        assert!(world.opens(route, "ann").await, "{n}");
    }
    assert!(!world.opens(FILES, "ann").await);
    assert!(!world.opens(MAILS, "ann").await);
    assert!(world.opens(FILES, "bob").await, "others have their own");
    world.saw("b", "opened", 16);
    world.saw("b", "refused_user", 2);
    // Idle ones count no more, but work.
    world.clock.advance(Duration::from_secs(660));
    assert!(world.opens(FILES, "ann").await);
}

#[tokio::test]
async fn ends_make_room() {
    let world = World::new();
    let mut last = HeaderValue::from_static("");
    for _ in 0..15 {
        last = world.initialize(FILES, "ann", (200, "1")).await.unwrap();
    }
    for (method, status, event) in [
        (Method::DELETE, 405, None),
        (Method::POST, 500, None),
        (Method::DELETE, 204, Some("ended")),
        (Method::POST, 404, Some("lost")),
    ] {
        assert!(!world.opens(FILES, "ann").await);
        let passage = world.enter(FILES, "ann", &method, &[(SESSION_ID, &last)]);
        let status = StatusCode::from_u16(status).unwrap();
        let passage = passage.unwrap();
        passage.arrive(status, &mut HeaderMap::new(), HOME).unwrap();
        world.sessions.ledger.settle().await;
        if let Some(event) = event {
            world.saw("b", event, 1);
            last = world.initialize(FILES, "ann", (200, "1")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_does_not_begin_holds_no_place() {
    let world = World::new();
    for _ in 0..30 {
        world.initialize(FILES, "ann", (500, "")).await.unwrap();
        world.initialize(FILES, "ann", (200, "")).await.unwrap();
        world
            .initialize(FILES, "ann", (200, "a b"))
            .await
            .unwrap_err();
    }
    assert!(world.opens(FILES, "ann").await);
    world.saw("b", "opened", 1);
}

#[tokio::test]
async fn a_backend_has_so_many_and_those_who_are_nobody_count_there_only() {
    let world = World::new();
    for who in ["ann", "", "everybody"] {
        assert!(world.opens(SMALL, who).await);
    }
    for who in ["ann", "bob", "", "everybody"] {
        assert!(!world.opens(SMALL, who).await);
    }
    world.saw("small", "refused_backend", 4);
    // The places that ann was refused are not held against her.
    for n in 0..14 {
        assert!(world.opens(FILES, "ann").await, "{n}");
    }
    assert!(!world.opens(FILES, "ann").await);
    for who in ["", "everybody"] {
        for _ in 0..40 {
            assert!(world.opens(FILES, who).await);
        }
    }
}
