use super::*;

/// An introspection endpoint: what it was asked, and what it answers.
struct Desk {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
    pause: Arc<Mutex<Duration>>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Desk {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let pause: Arc<Mutex<Duration>> = Arc::default();
        let (said, heard, wait) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&pause));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = String::new();
                let whole = |text: &str| {
                    let (start, body) = text.split_once("\r\n\r\n")?;
                    let length = start
                        .lines()
                        .filter_map(|line| line.split_once(": "))
                        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
                    (body.len() >= length.1.parse().unwrap()).then_some(())
                };
                while whole(&text).is_none() {
                    let mut some = [0; 4096];
                    let n = stream.read(&mut some).await.unwrap();
                    assert!(n > 0, "{text}");
                    text.push_str(std::str::from_utf8(&some[..n]).unwrap());
                }
                heard.lock().unwrap().push(text);
                let wait = *wait.lock().unwrap();
                let (status, body) = said.lock().unwrap().clone();
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self {
            address,
            answer,
            asked,
            pause,
            _task: tokio_util::task::AbortOnDropHandle::new(task),
        }
    }

    fn say(&self, status: u16, body: &Value) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn world(&self) -> World {
        let endpoint = format!("http://{}/introspect", self.address);
        World::with(|config, _| {
            config["auth"]["issuers"][0]["introspection"] = json!({
                "endpoint": endpoint, "client_id": "proxy", "client_secret": "s:/ %", "timeout": "2s",
            });
        })
        .await
    }
}

fn active(world: &World, change: &Value) -> Value {
    let mut said = world.claims();
    said["active"] = true.into();
    said["client_id"] = "script".into();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            said.as_object_mut().unwrap().remove(name);
        } else {
            said[name] = value.clone();
        }
    }
    said
}

#[tokio::test]
async fn an_opaque_token_is_who_its_issuer_says() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    desk.say(200, &active(&world, &json!({})));
    let identity = world.bearer("/a/mcp", "opaque-1").await.unwrap();
    let subject = &identity.claims().subject;
    assert_eq!(
        (&*subject.issuer, &*subject.subject),
        ("https://issuer.example", "ann")
    );
    assert_eq!(identity.client_id(), Some("script"));
    assert!(identity.scopes().iter().any(|scope| &**scope == "mcp:use"));
    let request = desk.asked.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST /introspect "), "{request}");
    // Both parts form-encoded, as RFC 6749 section 2.3.1 wants it.
    let pair = base64::engine::general_purpose::STANDARD.encode("proxy:s%3A%2F+%25");
    assert!(request.contains(&format!("Basic {pair}")), "{request}");
    assert!(request.ends_with("token=opaque-1&token_type_hint=access_token"));
    // The audience is judged for each route.
    let elsewhere = world.bearer("/b/mcp", "opaque-1").await.unwrap_err();
    assert_eq!(elsewhere.reason(), Some("wrong_audience"));
    assert_eq!(desk.asked(), 1, "one answer, for a while");
}

#[tokio::test]
async fn an_answer_is_good_for_its_time_and_never_beyond_the_token() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    let now = world.now().as_secs();
    desk.say(200, &active(&world, &json!({})));
    assert!(world.bearer("/a/mcp", "opaque").await.is_ok());
    desk.say(200, &json!({"active": false}));
    world.clock.advance(Duration::from_secs(29));
    assert!(world.bearer("/a/mcp", "opaque").await.is_ok());
    world.clock.advance(Duration::from_secs(2));
    let over = world.bearer("/a/mcp", "opaque").await.unwrap_err();
    assert_eq!(
        (over.status().as_u16(), over.reason()),
        (401, Some("inactive"))
    );

    desk.say(200, &active(&world, &json!({"exp": now + 40})));
    assert!(world.bearer("/a/mcp", "short").await.is_ok());
    desk.say(200, &json!({"active": false}));
    world.clock.advance(Duration::from_secs(10));
    assert!(world.bearer("/a/mcp", "short").await.is_err());
}

#[tokio::test]
async fn what_is_not_said_is_not_guessed() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    for (number, (change, reason)) in [
        (json!({"exp": null}), "no_expiry"),
        (json!({"exp": NOW - 600}), "expired"),
        (json!({"nbf": NOW + 600}), "not_yet_valid"),
        (json!({"sub": null}), "no_subject"),
        (json!({"aud": null}), "no_audience"),
        (json!({"aud": "https://other.example"}), "wrong_audience"),
        (json!({"iss": "https://other.example"}), "wrong_issuer"),
        (json!({"iss": 7}), "wrong_issuer"),
        (json!({"active": false}), "inactive"),
    ]
    .into_iter()
    .enumerate()
    {
        desk.say(200, &active(&world, &change));
        let token = format!("opaque-{number}");
        let reject = world.bearer("/a/mcp", &token).await.unwrap_err();
        let found = (reject.status().as_u16(), reject.reason());
        assert_eq!(found, (401, Some(reason)), "{change}");
    }
    let resource = json!({"aud": null, "iss": null, "resource": [format!("{PUBLIC}/a/mcp")]});
    desk.say(200, &active(&world, &resource));
    assert!(world.bearer("/a/mcp", "with-resource").await.is_ok());
}

#[tokio::test]
async fn trouble_is_not_a_refusal() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    for (status, body) in [
        (500, json!({})),
        (401, json!({"error": "invalid_client"})),
        (302, json!({})),
        (200, json!({})),
        (200, json!({"active": "true", "sub": "ann"})),
    ] {
        desk.say(status, &body);
        let reject = world.bearer("/a/mcp", "opaque").await.unwrap_err();
        assert_eq!(reject.status().as_u16(), 503, "{status} {body}");
    }
    desk.say(200, &active(&world, &json!({})));
    assert!(
        world.bearer("/a/mcp", "opaque").await.is_ok(),
        "it is asked again at once"
    );
}

#[tokio::test]
async fn what_is_none_is_remembered_for_a_moment() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    desk.say(200, &json!({"active": false}));
    for _ in 0..5 {
        assert!(world.bearer("/a/mcp", "nothing").await.is_err());
    }
    assert_eq!(desk.asked(), 1);
    assert!(world.bearer("/a/mcp", "another").await.is_err());
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn many_requests_with_one_token_ask_once() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    *desk.pause.lock().unwrap() = Duration::from_millis(200);
    desk.say(200, &active(&world, &json!({})));
    let all = (0..20).map(|_| world.bearer("/a/mcp", "opaque"));
    for outcome in futures_util::future::join_all(all).await {
        assert!(outcome.is_ok());
    }
    assert_eq!(desk.asked(), 1);
    // Who asks first and leaves takes nobody along.
    let first = world.bearer("/a/mcp", "other");
    let first = tokio::time::timeout(Duration::from_millis(50), first);
    let (first, second) = futures_util::future::join(first, world.bearer("/a/mcp", "other")).await;
    assert!(first.is_err() && second.is_ok());
}

#[tokio::test]
async fn only_tokens_that_name_nobody_are_shown_to_an_issuer() {
    let desk = Desk::start().await;
    let world = desk.world().await;
    desk.say(200, &active(&world, &json!({})));
    let mut foreign = world.claims();
    foreign["iss"] = "https://other.example".into();
    let foreign = world.signer.token(&foreign);
    for token in ["mcpr_AAAA", "mcpc_AAAA", "mcpd_AAAA", &foreign] {
        let reject = world.bearer("/a/mcp", token).await.unwrap_err();
        assert_eq!(reject.status().as_u16(), 401, "{token}");
    }
    let good = world.signer.token(&world.claims());
    assert!(world.bearer("/a/mcp", &good).await.is_ok());
    assert_eq!(desk.asked(), 0);
}
