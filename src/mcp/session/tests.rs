use http::header::HeaderName;

use super::*;
use std::sync::Arc;

use crate::clock::{ManualClock, SystemRandom, Timestamp};

const FILES: usize = 0;
const MAILS: usize = 1;
const HOME: [u8; TAG] = [7; TAG];

struct World {
    sessions: Sessions,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let config = serde_json::from_str(
            r#"{"version": 1, "backends": [{"name": "b", "upstream": "http://127.0.0.1:1"}], "routes": [
                {"path": "/files", "backend": "b", "public": true},
                {"path": "/mails", "backend": "b", "public": true}]}"#,
        )
        .unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
        let sessions = Sessions::new(&config, &KeyRing::ephemeral(ambient.clone()), ambient);
        Self { sessions, clock }
    }

    fn enter(
        &self,
        route: usize,
        who: &str,
        method: &Method,
        lines: &[(HeaderName, &HeaderValue)],
    ) -> Result<Passage<'_>, Reject> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, (*value).clone());
        }
        let who = (!who.is_empty()).then(|| Subject {
            issuer: "https://idp".into(),
            subject: who.into(),
        });
        self.sessions
            .enter(route, who.as_ref(), method, &headers, &Message::default())
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
}

fn answer(passage: &Passage<'_>, ids: &[&str]) -> Result<HeaderMap, Reject> {
    let mut headers = HeaderMap::new();
    for id in ids {
        headers.append(SESSION_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
    }
    passage.arrive(&mut headers, HOME).map(|()| headers)
}

#[test]
fn the_backend_gets_its_own_and_the_client_keeps_its_own() {
    let world = World::new();
    let text = world.given("ann", "42");
    assert!(!text.as_bytes().windows(2).any(|part| part == b"42"));
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
    passage.arrive(&mut elsewhere, [8; TAG]).unwrap();
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
    world.clock.advance(LIFETIME - Duration::from_secs(1));
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
