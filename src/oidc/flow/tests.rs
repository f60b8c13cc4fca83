use http::header::COOKIE;

use super::*;
use crate::clock::{ManualClock, SystemRandom};
use crate::config::session::Sessions as Config;
use crate::store::memory::MemoryStore;
use crate::urls::PublicUrl;

struct World {
    tabs: Tabs,
    clock: Arc<ManualClock>,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
    let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SystemRandom));
    let store = Arc::new(MemoryStore::new(&Config::default(), ambient.clone()));
    let names = CookieNames::new(
        &PublicUrl::parse("https://mcp.example.com").unwrap(),
        "mcp_session",
    );
    let keys = KeyRing::ephemeral(ambient.clone());
    World {
        tabs: Tabs::new(store, &keys, names, Duration::from_secs(600), ambient),
        clock,
    }
}

impl World {
    fn flow(&self, return_to: &str) -> Flow {
        Flow {
            nonce: "n".into(),
            verifier: "v".into(),
            return_to: return_to.into(),
            issuer: "i".into(),
            started: self.tabs.ambient.now(),
            prompt: None,
        }
    }

    async fn begin(&self, jar: &mut Vec<(String, String)>) -> String {
        let begun = self
            .tabs
            .begin(&self.flow("/"), "main", &headers(jar))
            .await
            .unwrap();
        for line in &begun.cookies {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            jar.retain(|(each, _)| each != name);
            if !line.contains("Max-Age=0") {
                assert!(
                    line.contains("Secure") && line.contains("HttpOnly") && line.contains("Path=/"),
                    "{line}"
                );
                jar.push((name.to_owned(), value.to_owned()));
            }
        }
        begun.state.expose_secret().to_owned()
    }
}

fn headers(jar: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let line = jar
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("; ");
    headers.insert(COOKIE, HeaderValue::try_from(line).unwrap());
    headers
}

#[tokio::test]
async fn several_tabs_have_a_login_each_and_each_counts_once() {
    let world = world();
    let mut jar = Vec::new();
    let (first, second) = (world.begin(&mut jar).await, world.begin(&mut jar).await);
    for state in [&second, &first] {
        let known = world.tabs.recognise(state, &headers(&jar)).unwrap();
        assert!(world.tabs.take(&known).await.unwrap().is_some());
        assert!(world.tabs.take(&known).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn attack_s3_another_browser_cannot_finish_a_login() {
    let world = world();
    let (mut victim, mut attacker) = (Vec::new(), Vec::new());
    let state = world.begin(&mut attacker).await;
    let own = world.begin(&mut victim).await;
    assert!(world.tabs.recognise(&state, &headers(&victim)).is_none());
    assert!(world.tabs.recognise(&state, &HeaderMap::new()).is_none());
    // The victim's cookie under the name that the attacker's state asks for.
    let name = format!("__Host-mcp_session_login_{}", &state[..8]);
    let moved = vec![(name, victim[0].1.clone())];
    assert!(world.tabs.recognise(&state, &headers(&moved)).is_none());
    // The attacker's `state` behind the victim's short name.
    let mixed = format!("{}{}", &own[..8], &state[8..]);
    assert!(world.tabs.recognise(&mixed, &headers(&victim)).is_none());
}

#[tokio::test]
async fn a_login_ends_with_its_time() {
    let world = world();
    let mut jar = Vec::new();
    let state = world.begin(&mut jar).await;
    world.clock.advance(Duration::from_secs(599));
    let known = world.tabs.recognise(&state, &headers(&jar)).unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert!(world.tabs.recognise(&state, &headers(&jar)).is_none());
    assert!(world.tabs.take(&known).await.unwrap().is_none());
}

#[tokio::test]
async fn a_browser_keeps_five_logins_and_the_oldest_makes_room() {
    let world = world();
    let mut jar = vec![(
        "__Host-mcp_session_login_ffffffff".to_owned(),
        "garbage".to_owned(),
    )];
    let mut states = Vec::new();
    for _ in 0..8 {
        states.push(world.begin(&mut jar).await);
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(jar.len(), 5);
    let known = |state: &String| world.tabs.recognise(state, &headers(&jar)).is_some();
    assert_eq!(
        states.iter().map(known).collect::<Vec<_>>(),
        [false, false, false, true, true, true, true, true]
    );
}

#[tokio::test]
async fn crooked_states_and_cookies_lead_nowhere() {
    let world = world();
    let mut jar = Vec::new();
    let state = world.begin(&mut jar).await;
    for odd in [
        "",
        ".",
        "a.b",
        "0123456.x",
        "zzzzzzzz.x",
        "00000000.",
        &state[1..],
        &state[..8],
        &format!("{state}x"),
    ] {
        assert!(world.tabs.recognise(odd, &headers(&jar)).is_none(), "{odd}");
    }
    for value in ["", "x", "====", &"A".repeat(4000)] {
        let jar = vec![(jar[0].0.clone(), (*value).to_owned())];
        assert!(world.tabs.recognise(&state, &headers(&jar)).is_none());
    }
}
