use super::*;

#[tokio::test]
async fn a_good_token_is_its_subject() {
    let world = World::new().await;
    let identity = world
        .bearer("/a/mcp", &world.signer.token(&world.claims()))
        .await
        .unwrap();
    assert_eq!(&*identity.claims().subject.issuer, "https://issuer.example");
    assert_eq!(&*identity.claims().subject.subject, "ann");
    assert_eq!(identity.credential(), &Credential::Bearer);
    assert_eq!(identity.scopes(), ["mcp:use".into()] as [Box<str>; 1]);
    assert_eq!(identity.expires(), Some(Timestamp::from_secs(NOW + 600)));
    world
        .metric("provider=\"issuer.example\",flow=\"bearer_jwt\",result=\"ok\",reason=\"none\"} 1");
}

#[tokio::test]
async fn advisory_ghsa_wcvh_g65p_v576_every_claim_is_checked() {
    let world = World::new().await;
    assert_eq!(world.refusal(|_| {}).await, None);
    assert_eq!(
        world.refusal(|c| c["exp"] = json!(1_800_000_600.75)).await,
        None
    );
    assert_eq!(
        world
            .refusal(|c| c["aud"] = json!(["x", format!("{PUBLIC}/a/mcp")]))
            .await,
        None
    );
    assert_eq!(world.refusal(|c| c["aud"] = json!("listed")).await, None);
    let remove =
        |name: &'static str| move |c: &mut Value| drop(c.as_object_mut().unwrap().remove(name));
    for (name, reason) in [
        ("aud", "no_audience"),
        ("iss", "wrong_issuer"),
        ("exp", "no_expiry"),
        ("sub", "no_subject"),
    ] {
        assert_eq!(
            world.refusal(remove(name)).await.as_deref(),
            Some(reason),
            "no {name}"
        );
    }
    for (name, value, reason) in [
        ("aud", json!("https://other.example"), "wrong_audience"),
        ("aud", json!("mcp-client"), "wrong_audience"),
        ("iss", json!("https://issuer.example/"), "wrong_issuer"),
        ("iss", json!("https://evil.example"), "wrong_issuer"),
        ("iss", json!(["https://issuer.example"]), "wrong_issuer"),
        ("exp", json!(NOW - 30), "expired"),
        ("exp", json!(1e300), "no_expiry"),
        ("exp", json!("9999999999"), "no_expiry"),
        ("nbf", json!(NOW + 31), "not_yet_valid"),
        ("iat", json!(NOW + 31), "issued_in_future"),
    ] {
        assert_eq!(
            world.refusal(|c| c[name] = value.clone()).await.as_deref(),
            Some(reason),
            "{name} {value}"
        );
    }
    world.metric("provider=\"issuer.example\",flow=\"bearer_jwt\",result=\"denied\",reason=\"wrong_audience\"} 2");
    world.metric(
        "provider=\"none\",flow=\"bearer_jwt\",result=\"denied\",reason=\"wrong_issuer\"} 4",
    );
}

#[tokio::test]
async fn attack_s9_a_token_is_for_one_route() {
    let world = World::new().await;
    let token = |aud: &str| {
        let mut claims = world.claims();
        claims["aud"] = json!(aud);
        world.signer.token(&claims)
    };
    for (aud, path, good) in [
        ("https://mcp.example.com/a/mcp", "/a/mcp", true),
        ("https://mcp.example.com/a/mcp", "/b/mcp", false),
        ("https://mcp.example.com", "/a/mcp", false),
        ("https://mcp.example.com/", "/a/mcp", false),
        ("b-only", "/b/mcp", true),
        ("b-only", "/a/mcp", false),
        ("https://mcp.example.com/t", "/t/x", true),
        ("https://mcp.example.com/t/y", "/t/x", true),
        ("https://mcp.example.com/a/mcp", "/t/x", false),
    ] {
        let token = token(aud);
        // Twice: what is remembered must not soften the check.
        for _ in 0..2 {
            assert_eq!(
                world.bearer(path, &token).await.is_ok(),
                good,
                "{aud} on {path}"
            );
        }
    }
    // A token that is good on one route is known by now, and still no good on another.
    let known = token("https://mcp.example.com/a/mcp");
    assert!(world.bearer("/a/mcp", &known).await.is_ok());
    assert_eq!(
        world.bearer("/b/mcp", &known).await.unwrap_err().reason(),
        Some("wrong_audience")
    );
}

#[tokio::test]
async fn attack_s11_the_key_decides_the_algorithm_and_the_token_names_no_keys() {
    let world = World::new().await;
    let good = world.claims();
    let evil = Signer::new("k1");
    let jwk = world.signer.jwk();
    let hmac = |secret: &[u8]| {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": "k1"}).to_string()),
            URL_SAFE_NO_PAD.encode(good.to_string())
        );
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let unsigned = {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(&good))
    };
    let sign = |header: Value| world.signer.sign(&header, &good);
    let lure = world.web.url("/lure");
    let signed = world.signer.token(&good);
    for (token, reason) in [
        (unsigned.clone(), "malformed"),
        (format!("{unsigned}c2ln"), "algorithm"),
        (hmac(jwk.to_string().as_bytes()), "algorithm"),
        (hmac(world.signer.pair.public_key().as_ref()), "algorithm"),
        (sign(json!({"alg": "RS256", "kid": "k1"})), "unknown_kid"),
        (sign(json!({"alg": "ES384", "kid": "k1"})), "unknown_kid"),
        (
            sign(json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false})),
            "critical_header",
        ),
        (
            sign(json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"})),
            "type",
        ),
        (evil.token(&good), "bad_signature"),
        (
            evil.sign(
                &json!({"alg": "ES256", "kid": "k1", "jwk": evil.jwk(), "jku": lure, "x5u": lure}),
                &good,
            ),
            "bad_signature",
        ),
        (format!("{signed}A"), "bad_signature"),
        (signed[..signed.len() - 4].to_owned(), "bad_signature"),
        ("x".to_owned(), "malformed"),
        ("a.b.c.d.e".to_owned(), "malformed"),
    ] {
        let reject = world.bearer("/a/mcp", &token).await.unwrap_err();
        assert_eq!(
            (reject.status().as_u16(), reject.reason()),
            (401, Some(reason)),
            "{token}"
        );
    }
    assert!(
        world
            .bearer(
                "/a/mcp",
                &world.signer.sign(&json!({"alg": "ES256"}), &good)
            )
            .await
            .is_ok(),
        "no kid: every fitting key is tried"
    );
    assert_eq!(world.web.hits(), 1, "only the key set was ever asked for");
}

#[tokio::test]
async fn verified_tokens_are_remembered_and_no_longer_than_they_may() {
    let world = World::new().await;
    let mut claims = world.claims();
    claims["exp"] = json!(NOW + 90);
    let token = world.signer.token(&claims);
    let first = world.bearer("/a/mcp", &token).await.unwrap();
    let again = world.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        Arc::ptr_eq(first.claims(), again.claims()),
        "the connection's own memory"
    );
    world.metric("mcp_proxy_token_cache_requests_total{result=\"hit\"} 1");
    let other = World {
        conn: conn(),
        ..world
    };
    let shared = other.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        Arc::ptr_eq(first.claims(), shared.claims()),
        "the shared memory"
    );
    other.metric("mcp_proxy_token_cache_requests_total{result=\"hit\"} 2");
    other.metric("mcp_proxy_token_cache_requests_total{result=\"miss\"} 1");
    other.clock.advance(Duration::from_secs(61));
    let later = other.bearer("/a/mcp", &token).await.unwrap();
    assert!(
        !Arc::ptr_eq(first.claims(), later.claims()),
        "verified anew after a minute"
    );
    other.metric("mcp_proxy_token_cache_requests_total{result=\"stale\"} 1");
    other.clock.advance(Duration::from_secs(58));
    assert!(
        other.bearer("/a/mcp", &token).await.is_ok(),
        "within the skew"
    );
    other.clock.advance(Duration::from_secs(1));
    assert_eq!(
        other.bearer("/a/mcp", &token).await.unwrap_err().reason(),
        Some("expired")
    );
}

#[tokio::test]
async fn a_reload_forgets_what_its_predecessor_verified() {
    let before = World::new().await;
    let token = before.signer.token(&before.claims());
    assert!(before.bearer("/a/mcp", &token).await.is_ok());
    let after = World::new().await;
    // The same connection, another configuration: its issuer has other keys.
    let after = World {
        conn: Arc::clone(&before.conn),
        ..after
    };
    assert_eq!(
        after.bearer("/a/mcp", &token).await.unwrap_err().reason(),
        Some("bad_signature")
    );
}
