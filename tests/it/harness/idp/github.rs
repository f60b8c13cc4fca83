//! GitHub: plain OAuth. No nonce, no ID token, refusals with status 200, and an API behind the access token.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    CLIENT_ID, CLIENT_SECRET, Call, Code, Grants, Home, Refresh, answer, json_answer, redirect,
};

/// Organisations that Ann is in: more than fit on a page of the API.
const ORGANISATIONS: usize = 101;

impl Home {
    pub(super) fn github_authorize(&self, call: &Call) -> Response<Full<Bytes>> {
        let get = |name: &str| call.query.get(name).map_or("", String::as_str);
        let asks = |scope: &str| get("scope").split(' ').any(|each| each == scope);
        let sound = get("client_id") == CLIENT_ID
            && get("code_challenge_method") == "S256"
            && get("code_challenge").len() == 43
            && !call.query.contains_key("nonce")
            && !asks("openid")
            && !asks("offline_access")
            && ["read:user", "user:email", "read:org"]
                .into_iter()
                .all(asks);
        if !sound {
            return answer(400, "text/plain", "the authorization request is not sound");
        }
        let mut state = self.state();
        let code = state.fresh("code");
        let granted = Code {
            redirect_uri: get("redirect_uri").to_owned(),
            challenge: get("code_challenge").to_owned(),
            nonce: String::new(),
            subject: state.script.subject.clone(),
            grants: Grants {
                refresh: true,
                groups: true,
            },
        };
        state.codes.insert(code.clone(), granted);
        let mut back = url::Url::parse(get("redirect_uri")).unwrap();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", get("state"));
        redirect(back.as_str())
    }

    pub(super) fn github_token(&self, call: &Call) -> Response<Full<Bytes>> {
        let refuse = |code: &str| {
            json_answer(
                200,
                &json!({"error": code, "error_description": "by GitHub"}),
            )
        };
        let get = |name: &str| call.form.get(name).map_or("", String::as_str);
        if get("client_id") != CLIENT_ID || get("client_secret") != CLIENT_SECRET {
            return refuse("incorrect_client_credentials");
        }
        let mut state = self.state();
        let grant = if get("grant_type") == "refresh_token" {
            state.refresh.remove(get("refresh_token"))
        } else {
            state.codes.remove(get("code")).and_then(|code| {
                let hash = digest::digest(&digest::SHA256, get("code_verifier").as_bytes());
                let fits = URL_SAFE_NO_PAD.encode(hash) == code.challenge
                    && get("redirect_uri") == code.redirect_uri;
                fits.then_some(Refresh {
                    grants: code.grants,
                    family: 0,
                    subject: code.subject,
                    nonce: code.nonce,
                    used: false,
                })
            })
        };
        let Some(grant) = grant else {
            return refuse(if get("grant_type") == "refresh_token" {
                "bad_refresh_token"
            } else {
                "bad_verification_code"
            });
        };
        let access = state.fresh("gho");
        state.access.insert(access.clone(), grant.subject.clone());
        let mut tokens = json!({"access_token": access, "token_type": "bearer", "scope": "read:org,read:user,user:email"});
        // A GitHub App whose tokens expire; an OAuth app gives neither.
        if state.script.refresh_tokens {
            let refresh = state.fresh("ghr");
            state.refresh.insert(refresh.clone(), grant);
            tokens["expires_in"] = json!(state.script.access_life);
            tokens["refresh_token"] = refresh.into();
        }
        json_answer(200, &tokens)
    }

    pub(super) fn github_api(&self, call: &Call) -> Response<Full<Bytes>> {
        let state = self.state();
        let token = call
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| state.access.contains_key(token)) {
            return answer(401, "application/json", "{}");
        }
        let per_page = call.query.get("per_page").and_then(|n| n.parse().ok());
        let page = call.query.get("page").and_then(|n| n.parse().ok());
        let (per_page, page): (usize, usize) = (per_page.unwrap_or(30), page.unwrap_or(1));
        let cut = |all: Vec<Value>| {
            let from = all.into_iter().skip((page - 1) * per_page);
            Value::Array(from.take(per_page).collect())
        };
        let body = match call.path.as_str() {
            "/api/v3/user" => {
                json!({"id": 4711, "login": "ann", "name": "Ann Example", "email": null})
            }
            "/api/v3/user/emails" => cut(vec![
                json!({"email": "old@example.com", "primary": false, "verified": true, "visibility": null}),
                json!({"email": "ann@example.com", "primary": true, "verified": true, "visibility": "private"}),
            ]),
            "/api/v3/user/orgs" => {
                let mut all: Vec<Value> = (1..ORGANISATIONS)
                    .map(|n| json!({"login": format!("org-{n}"), "id": n}))
                    .collect();
                all.push(state.script.claims["groups"][0].clone());
                let last = all.len() - 1;
                all[last] = json!({"login": all[last]});
                cut(all)
            }
            "/api/v3/user/teams" => cut(vec![
                json!({"slug": "sre", "name": "SRE", "organization": {"login": "corp"}}),
            ]),
            _ => return answer(404, "application/json", "{}"),
        };
        json_answer(200, &body)
    }
}
