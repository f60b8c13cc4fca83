use serde_json::json;

use super::*;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn config(issuer: &str, more: &Value) -> Oidc {
    let mut all = json!({"issuer": issuer, "client_id": "proxy"});
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn kind(issuer: &str) -> Kind {
    Profile::of(&config(issuer, &json!({}))).kind
}

fn scopes(issuer: &str, more: &Value, supported: &[&str]) -> String {
    let config = config(issuer, more);
    let supported: Vec<String> = supported.iter().map(|s| (*s).to_owned()).collect();
    Profile::of(&config).scopes(&config, &supported).join(" ")
}

fn parameters(issuer: &str, more: &Value, prompt: Option<&str>) -> Vec<String> {
    let config = config(issuer, more);
    let all = Profile::of(&config).parameters(&config, prompt);
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[test]
fn an_issuer_tells_its_product_and_what_only_looks_so_does_not() {
    for (issuer, expected) in [
        ("https://login.microsoftonline.com/common/v2.0", Kind::Entra),
        ("https://login.microsoftonline.us/x/v2.0", Kind::Entra),
        ("https://sts.windows.net/x/", Kind::Entra),
        ("https://accounts.google.com", Kind::Google),
        ("https://corp.okta.com/oauth2/default", Kind::Okta),
        ("https://corp.eu.auth0.com/", Kind::Auth0),
        ("https://sso.example/realms/corp", Kind::Keycloak),
        ("https://sso.example/auth/realms/corp/", Kind::Keycloak),
        ("https://id.example/application/o/mcp/", Kind::Authentik),
        (
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x",
            Kind::Cognito,
        ),
        ("https://sso.example/dex", Kind::Dex),
        ("https://github.com", Kind::Github),
        ("https://corp.ghe.com", Kind::Github),
        ("https://okta.com.evil.example", Kind::Generic),
        ("https://evilokta.com", Kind::Generic),
        ("https://github.com.evil.example", Kind::Generic),
        ("https://cognito-idp.evil.example", Kind::Generic),
        ("https://sso.example/realms/", Kind::Generic),
        ("https://sso.example", Kind::Generic),
        ("not an address", Kind::Generic),
    ] {
        assert_eq!(kind(issuer), expected, "{issuer}");
    }
    let written = config("https://github.com", &json!({"provider": "generic"}));
    assert_eq!(Profile::of(&written).kind, Kind::Generic);
}

#[test]
fn scopes_are_asked_for_once_and_offline_access_where_it_is_good() {
    let generic = "https://sso.example";
    let offline = ["openid", "offline_access", "groups"];
    assert_eq!(
        scopes(generic, &json!({"scopes": ["openid", "email"]}), &[]),
        "openid email"
    );
    assert_eq!(
        scopes(generic, &json!({"scopes": ["email", "email"]}), &offline),
        "openid email offline_access"
    );
    let wished = json!({"scopes": ["offline_access", "email"]});
    assert_eq!(
        scopes(generic, &wished, &offline),
        "openid offline_access email"
    );
    let off = json!({"scopes": ["email"], "offline_access": false});
    assert_eq!(scopes(generic, &off, &offline), "openid email");
    let plain = json!({});
    assert_eq!(
        scopes("https://accounts.google.com", &wished, &offline),
        "openid email"
    );
    assert_eq!(
        scopes("https://login.microsoftonline.com/common/v2.0", &plain, &[]),
        "openid email profile offline_access"
    );
    assert_eq!(
        scopes("https://sso.example/dex", &plain, &offline),
        "openid email profile groups offline_access"
    );
    assert_eq!(
        scopes("https://sso.example/dex", &plain, &[]),
        "openid email profile"
    );
    let github = "https://github.com";
    assert_eq!(scopes(github, &plain, &[]), "read:user user:email read:org");
    assert_eq!(
        scopes(github, &json!({"scopes": ["read:user"]}), &[]),
        "read:user"
    );
}

#[test]
fn parameters_are_the_operators_and_what_the_product_needs() {
    let google = "https://accounts.google.com";
    assert_eq!(
        parameters(google, &json!({}), None),
        ["access_type=offline", "prompt=consent"]
    );
    let written = json!({"authorization_params": {"access_type": "online", "prompt": "none", "hd": "corp.example"}});
    assert_eq!(
        parameters(google, &written, None),
        ["access_type=online", "hd=corp.example", "prompt=none"]
    );
    let with = |prompt| parameters(google, &json!({}), Some(prompt)).pop().unwrap();
    assert_eq!(with("select_account"), "prompt=select_account consent");
    assert_eq!(with("none"), "prompt=none");
    assert_eq!(with("login consent"), "prompt=login consent");
    let resource =
        json!({"authorization_params": {"resource": "https://x", "domain_hint": "corp"}});
    let entra = "https://login.microsoftonline.com/common/v2.0";
    assert_eq!(parameters(entra, &resource, None), ["domain_hint=corp"]);
    let config = config(entra, &resource);
    let dropped: Vec<_> = Profile::of(&config).dropped(&config).collect();
    assert_eq!(dropped, ["resource"]);
    assert_eq!(
        parameters("https://sso.example", &resource, Some("login")),
        ["domain_hint=corp", "resource=https://x", "prompt=login"]
    );
}

#[test]
fn groups_of_a_further_provider_count_only_where_they_are_written() {
    let map = |issuer: &str, more: &Value, main: bool| {
        let config = config(issuer, more);
        Profile::of(&config).claims(&config.claims, main)
    };
    let cognito = "https://cognito-idp.eu-west-1.amazonaws.com/p";
    assert_eq!(map(cognito, &json!({}), true).groups, ["cognito:groups"]);
    assert_eq!(
        map(cognito, &json!({}), true).preferred_username,
        "cognito:username"
    );
    assert!(map(cognito, &json!({}), false).groups.is_empty());
    let written = json!({"claims": {"groups": ["roles"]}});
    assert_eq!(map(cognito, &written, false).groups, ["roles"]);
    assert!(
        map("https://accounts.google.com", &json!({}), true)
            .groups
            .is_empty()
    );
    assert_eq!(
        map("https://x.example", &json!({}), true),
        ClaimMap::default()
    );
}

#[test]
fn entra_tenants_are_told_apart_and_their_issuers_joined() {
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let tenant = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let old = format!("https://sts.windows.net/{TENANT}/");
    let rule = Issuers::Tenants;
    assert!(rule.hold(template, &tenant) && rule.hold(template, &old));
    assert!(rule.hold(&tenant, &tenant) && rule.hold(&tenant, &old));
    assert_eq!(rule.canonical(template, &old), tenant);
    assert_eq!(rule.canonical(template, &tenant), tenant);
    assert_eq!(rule.canonical(&tenant, &old), tenant);
    let other = "11111111-2222-3333-4444-555555555555";
    for (issuer, iss) in [
        (template, "https://login.microsoftonline.com/common/v2.0"),
        (template, "https://login.microsoftonline.com/a/b/v2.0"),
        (
            template,
            "https://evil.example/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
        ),
        (template, "https://sts.windows.net/common/"),
        (
            tenant.as_str(),
            &format!("https://sts.windows.net/{other}/"),
        ),
        (
            tenant.as_str(),
            &format!("https://login.microsoftonline.com/{other}/v2.0"),
        ),
    ] {
        assert!(!rule.hold(issuer, iss), "{issuer} {iss}");
    }
    assert!(!Issuers::Exact.hold(template, &tenant));
}

#[test]
fn entra_documents_are_found_and_belong_to_what_is_configured() {
    let config = |issuer: &str| config(issuer, &json!({}));
    let document = |issuer: &str| Profile::of(&config(issuer)).document(issuer);
    let wanted =
        format!("https://login.microsoftonline.com/{TENANT}/v2.0/.well-known/openid-configuration");
    for issuer in [
        format!("https://sts.windows.net/{TENANT}/"),
        format!("https://login.microsoftonline.com/{TENANT}"),
    ] {
        assert_eq!(document(&issuer).as_deref(), Some(wanted.as_str()));
    }
    assert_eq!(
        document("https://login.microsoftonline.com/common/v2.0"),
        None
    );
    let tenant = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let accept = |configured: &str, found: &str| Issuers::Tenants.accept(configured, found);
    assert!(accept(
        "https://login.microsoftonline.com/organizations/v2.0",
        template
    ));
    assert!(accept(
        "https://login.microsoftonline.com/corp.example/v2.0",
        &tenant
    ));
    assert!(accept(
        &format!("https://sts.windows.net/{TENANT}/"),
        &tenant
    ));
    assert!(!accept(&tenant, template));
    assert!(!accept(
        "https://login.microsoftonline.com/common/v2.0",
        &tenant
    ));
    assert!(!accept(
        &tenant,
        "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"
    ));
    assert!(!accept(
        "https://login.microsoftonline.com/corp.example/v2.0",
        &tenant.replace("microsoftonline.com", "evil.example")
    ));
    assert!(!Issuers::Exact.accept("https://login.microsoftonline.com/common/v2.0", template));
}

#[test]
fn entra_audiences_go_by_either_name_and_never_by_the_clients_own() {
    let app = "11111111-2222-3333-4444-555555555555";
    let audiences = |configured: &str, client: &str| {
        let more = json!({"audiences": [configured], "client_id": client, "provider": "entra"});
        let config = config("https://sso.example", &more);
        Profile::of(&config).audiences(&config)
    };
    let address = format!("api://{app}");
    assert_eq!(audiences(&address, "proxy"), [address.as_str(), app]);
    assert_eq!(audiences(app, "proxy"), [app, address.as_str()]);
    assert_eq!(audiences(&address, app), [address.as_str()]);
    assert_eq!(audiences("api://corp/mcp", "proxy"), ["api://corp/mcp"]);
}

#[test]
fn missing_groups_of_entra_are_said_and_not_invented() {
    let complete = |claims: Value| {
        let config = config("https://login.microsoftonline.com/common/v2.0", &json!({}));
        let mut claims = claims.as_object().unwrap().clone();
        Profile::of(&config).complete(&config, &mut claims).unwrap();
        claims.get("groups_overage").cloned()
    };
    assert_eq!(
        complete(json!({"_claim_names": {"groups": "src1"}})),
        Some(json!(true))
    );
    assert_eq!(complete(json!({"hasgroups": true})), Some(json!(true)));
    assert_eq!(complete(json!({"groups": ["a"]})), None);
    assert_eq!(complete(json!({"_claim_names": {"other": "src1"}})), None);
}

#[test]
fn a_google_account_has_to_be_of_the_demanded_organisation() {
    let judge = |wanted: Option<&str>, found: Option<&str>| {
        let params = wanted.map_or(json!({}), |hd| json!({ "hd": hd }));
        let config = config(
            "https://accounts.google.com",
            &json!({"authorization_params": params}),
        );
        let mut claims = Map::new();
        claims.extend(found.map(|hd| ("hd".to_owned(), hd.into())));
        Profile::of(&config).complete(&config, &mut claims).is_ok()
    };
    assert!(judge(None, None) && judge(None, Some("a.example")));
    assert!(judge(Some("a.example"), Some("a.example")));
    assert!(judge(Some("*"), Some("a.example")));
    assert!(!judge(Some("*"), None));
    assert!(!judge(Some("a.example"), Some("b.example")));
    assert!(!judge(Some("a.example"), None));
    let rule = Issuers::SchemeOptional;
    let google = "https://accounts.google.com";
    assert!(rule.hold(google, "accounts.google.com") && rule.hold(google, google));
    assert!(!rule.hold(google, "http://accounts.google.com"));
    assert_eq!(rule.canonical(google, "accounts.google.com"), google);
}
