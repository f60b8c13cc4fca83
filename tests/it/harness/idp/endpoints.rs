//! The endpoints, each as it should answer.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::keys::SigningKey;
use super::script::AnswerIssuer;
use super::{
    CLIENT_ID, CLIENT_SECRET, Call, Code, Grants, Home, Refresh, answer, json_answer, merge,
    oauth_error, redirect,
};

impl Home {
    pub(super) fn discovery(&self, _: &Call) -> Response<Full<Bytes>> {
        let issuer = self.issuer();
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "end_session_endpoint": format!("{issuer}/logout"),
            "scopes_supported": ["openid", "email", "profile", "offline_access"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [self.state().script.client_auth],
            "authorization_response_iss_parameter_supported": true,
        });
        merge(
            document.as_object_mut().unwrap(),
            &self.state().script.document,
        );
        json_answer(200, &document)
    }

    pub(super) fn jwks(&self, _: &Call) -> Response<Full<Bytes>> {
        let keys: Vec<Value> = self.state().keys.iter().map(SigningKey::public).collect();
        json_answer(200, &json!({ "keys": keys }))
    }

    /// Logs everybody in at once.
    pub(super) fn authorize(&self, call: &Call) -> Response<Full<Bytes>> {
        let get = |name: &str| call.query.get(name).map_or("", String::as_str);
        let sound = get("client_id") == CLIENT_ID
            && get("response_type") == "code"
            && get("scope").split(' ').any(|scope| scope == "openid")
            && get("code_challenge_method") == "S256"
            && get("code_challenge").len() == 43
            && !get("nonce").is_empty()
            && !get("state").is_empty();
        if !sound {
            return answer(400, "text/plain", "the authorization request is not sound");
        }
        let mut state = self.state();
        let product = state.script.product.clone();
        let asks = |scope: &str| get("scope").split(' ').any(|each| each == scope);
        let refused = |name: &&str| call.query.contains_key(*name);
        if product.refuses_parameters.iter().any(refused)
            || product.refuses_scopes.iter().any(|scope| asks(scope))
        {
            return answer(
                400,
                "text/plain",
                "this product refuses a parameter or a scope",
            );
        }
        let mut back = url::Url::parse(get("redirect_uri")).unwrap();
        if let Some(error) = state.script.refuse {
            let words = "words of the provider <b>not to be shown</b>";
            back.query_pairs_mut()
                .append_pair("error", error)
                .append_pair("error_description", words);
        } else {
            let code = state.fresh("code");
            let granted = Code {
                redirect_uri: get("redirect_uri").to_owned(),
                challenge: get("code_challenge").to_owned(),
                nonce: get("nonce").to_owned(),
                subject: state.script.subject.clone(),
                grants: Grants {
                    refresh: product.offline_scope.is_none_or(asks)
                        && product
                            .offline_parameters
                            .iter()
                            .all(|(name, value)| get(name).split(' ').any(|each| each == *value)),
                    groups: product.groups_scope.is_none_or(asks),
                },
            };
            back.query_pairs_mut().append_pair("code", &code);
            state.codes.insert(code, granted);
        }
        back.query_pairs_mut().append_pair("state", get("state"));
        match &state.script.answer_issuer {
            AnswerIssuer::Ours => {
                back.query_pairs_mut().append_pair("iss", &self.issuer());
            }
            AnswerIssuer::Other(issuer) => {
                back.query_pairs_mut().append_pair("iss", issuer);
            }
            AnswerIssuer::Absent => {}
        }
        redirect(back.as_str())
    }

    pub(super) fn token(&self, call: &Call) -> Response<Full<Bytes>> {
        if !self.client_is_known(call) {
            return oauth_error(401, "invalid_client");
        }
        let get = |name: &str| call.form.get(name).map_or("", String::as_str);
        let product = self.state().script.product.clone();
        if product
            .refuses_parameters
            .iter()
            .any(|name| call.form.contains_key(*name))
        {
            return oauth_error(400, "invalid_request");
        }
        match get("grant_type") {
            "authorization_code" => {
                let Some(code) = self.state().codes.remove(get("code")) else {
                    return oauth_error(400, "invalid_grant");
                };
                let hash = digest::digest(&digest::SHA256, get("code_verifier").as_bytes());
                if URL_SAFE_NO_PAD.encode(hash) != code.challenge
                    || get("redirect_uri") != code.redirect_uri
                {
                    return oauth_error(400, "invalid_grant");
                }
                let family = self.state().counter;
                self.grant(
                    Refresh {
                        family,
                        subject: code.subject,
                        nonce: code.nonce,
                        grants: code.grants,
                        used: false,
                    },
                    false,
                )
            }
            "refresh_token" => {
                let mut state = self.state();
                let reuse = state.script.reuse || !state.script.rotate;
                let Some(found) = state.refresh.get_mut(get("refresh_token")) else {
                    return oauth_error(400, "invalid_grant");
                };
                let found = Refresh {
                    used: std::mem::replace(&mut found.used, true),
                    ..found.clone()
                };
                if found.used && !reuse {
                    // Strict rotation: reuse ends the family.
                    state.refresh.retain(|_, each| each.family != found.family);
                    return oauth_error(400, "invalid_grant");
                }
                drop(state);
                self.grant(found, true)
            }
            _ => oauth_error(400, "unsupported_grant_type"),
        }
    }

    pub(super) fn grant(&self, grant: Refresh, again: bool) -> Response<Full<Bytes>> {
        let now = self.now();
        let mut state = self.state();
        let script = state.script.clone();
        let access = state.fresh("access");
        state.access.insert(access.clone(), grant.subject.clone());
        let mut answer = json!({ "access_token": access, "token_type": "Bearer" });
        if let Some(life) = script.access_life {
            answer["expires_in"] = life.into();
        }
        if if again {
            script.id_token_at_refresh
        } else {
            script.id_token
        } {
            let hash = digest::digest(&digest::SHA256, access.as_bytes());
            let mut claims = json!({
                "iss": self.issuer(), "sub": grant.subject, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
                "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]), "sid": format!("session-{}", grant.family),
            });
            let claims_map = claims.as_object_mut().unwrap();
            merge(claims_map, &script.claims);
            if !grant.grants.groups {
                claims_map.remove("groups");
            }
            if !again {
                claims_map.insert("nonce".into(), grant.nonce.clone().into());
            }
            merge(claims_map, &script.forge);
            if again {
                merge(claims_map, &script.forge_at_refresh);
            }
            let token = state.key().sign(&claims);
            state.issued.push(token.clone());
            answer["id_token"] = token.into();
        }
        if script.refresh_tokens && grant.grants.refresh && (script.rotate || !again) {
            let token = state.fresh("refresh");
            answer["refresh_token"] = token.as_str().into();
            state.refresh.insert(
                token,
                Refresh {
                    used: false,
                    ..grant
                },
            );
        }
        json_answer(200, &answer)
    }

    pub(super) fn client_is_known(&self, call: &Call) -> bool {
        let get = |name: &str| call.form.get(name).map_or("", String::as_str);
        let script = self.state().script.clone();
        match script.client_auth {
            "client_secret_basic" => {
                let encode = |text: &str| {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
                };
                let pair =
                    STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET)));
                call.authorization.as_deref() == Some(&format!("Basic {pair}"))
            }
            "client_secret_post" => {
                get("client_id") == CLIENT_ID && get("client_secret") == CLIENT_SECRET
            }
            "private_key_jwt" => {
                let mut rules = Validation::new(Algorithm::ES256);
                rules.set_audience(&[format!("{}/token", self.issuer())]);
                rules.set_issuer(&[CLIENT_ID]);
                rules.set_required_spec_claims(&["exp", "aud", "iss", "sub", "jti"]);
                rules.validate_exp = false;
                let key = DecodingKey::from_ec_pem(script.client_key.unwrap().as_bytes()).unwrap();
                get("client_assertion_type")
                    == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                    && jsonwebtoken::decode::<Value>(get("client_assertion"), &key, &rules).is_ok()
            }
            _ => get("client_id") == CLIENT_ID && call.authorization.is_none(),
        }
    }

    pub(super) fn userinfo(&self, call: &Call) -> Response<Full<Bytes>> {
        let state = self.state();
        let token = call
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(subject) = token.and_then(|token| state.access.get(token)) else {
            return answer(401, "text/plain", "no");
        };
        let mut claims = json!({ "sub": subject });
        merge(
            claims.as_object_mut().unwrap(),
            &state.script.userinfo_claims,
        );
        if state.script.signed_userinfo {
            let now = self.ambient.now().as_secs();
            let mut signed =
                json!({"iss": self.issuer(), "aud": CLIENT_ID, "iat": now, "exp": now + 60});
            let all = signed.as_object_mut().unwrap();
            merge(all, claims.as_object().unwrap());
            merge(all, &state.script.userinfo_claims);
            return answer(200, "application/jwt", state.key().sign(&signed));
        }
        json_answer(200, &claims)
    }

    /// An address of the product's own: it takes the client and the registered address to come back to, and nothing
    /// of RP-Initiated Logout.
    pub(super) fn own_sign_out(&self, call: &Call) -> Response<Full<Bytes>> {
        let Some((_, back)) = self.state().script.product.sign_out else {
            return answer(404, "text/plain", "no");
        };
        let foreign = ["id_token_hint", "post_logout_redirect_uri", "state"];
        match call.query.get(back) {
            Some(to)
                if call
                    .query
                    .get("client_id")
                    .is_some_and(|id| id == CLIENT_ID)
                    && !foreign.iter().any(|name| call.query.contains_key(*name)) =>
            {
                redirect(to)
            }
            _ => answer(
                400,
                "text/plain",
                "client_id and the address to come back to",
            ),
        }
    }

    pub(super) fn logout(_: &Self, call: &Call) -> Response<Full<Bytes>> {
        let Some(back) = call.query.get("post_logout_redirect_uri") else {
            return answer(200, "text/html", "bye");
        };
        let mut back = url::Url::parse(back).unwrap();
        if let Some(state) = call.query.get("state") {
            back.query_pairs_mut().append_pair("state", state);
        }
        redirect(back.as_str())
    }
}
