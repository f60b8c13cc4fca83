//! The token endpoint (code and refresh grants), and userinfo.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::authorize::Code;
use super::{Person, Provider, person};
use crate::Outcome;
use crate::web::{self, Reply};

const ACCESS_SECS: u64 = 300;
const REFRESH_SECS: u64 = 30 * 24 * 3600;

/// What a refresh token stands for.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) sid: String,
    person: &'static Person,
    scope: String,
    auth_time: i64,
}

/// Why there are no tokens (RFC 6749 section 5.2).
type Refusal = (StatusCode, &'static str, &'static str);

fn refusal(error: &'static str, text: &'static str) -> Refusal {
    (StatusCode::BAD_REQUEST, error, text)
}

impl Provider {
    /// `POST /token`.
    pub(super) async fn token(&self, request: Request<Incoming>) -> Reply {
        let headers = request.headers().clone();
        let form = web::body(request)
            .await
            .map(|body| web::fields(&body))
            .unwrap_or_default();
        let Some(client) = self.authenticate(&headers, &form) else {
            let body = json!({ "error": "invalid_client", "error_description": "unknown client, or its secret is wrong" });
            let mut answer = web::json(StatusCode::UNAUTHORIZED, &body);
            if headers.contains_key(AUTHORIZATION) {
                answer.headers_mut().insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"token\""),
                );
            }
            return answer;
        };
        let outcome = match web::single(&form, "grant_type") {
            Ok(Some("authorization_code")) => self.redeem_code(&client.id, &form),
            Ok(Some("refresh_token")) => self.redeem_refresh(&client.id, &form),
            Ok(_) => Err(refusal(
                "unsupported_grant_type",
                "grant_type is authorization_code or refresh_token",
            )),
            Err(()) => Err(refusal("invalid_request", "grant_type is given twice")),
        };
        match outcome {
            Ok(answer) => web::json(StatusCode::OK, &answer),
            Err((status, error, text)) => web::json(
                status,
                &json!({ "error": error, "error_description": text }),
            ),
        }
    }

    fn redeem_code(&self, client_id: &str, form: &[(String, String)]) -> Result<Value, Refusal> {
        let field = |name: &str| web::single(form, name).ok().flatten();
        let now = self.now();
        let code = field("code")
            .and_then(|code| self.state().codes.take(now, code))
            .ok_or(refusal(
                "invalid_grant",
                "the code is unknown, used or too old",
            ))?;
        if code.request.client_id != client_id
            || field("redirect_uri") != Some(&code.request.redirect_uri)
        {
            return Err(refusal(
                "invalid_grant",
                "the code belongs to another client or redirect_uri",
            ));
        }
        let verified = field("code_verifier").is_some_and(|verifier| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
            let challenge = URL_SAFE_NO_PAD.encode(digest.as_ref());
            challenge
                .as_bytes()
                .ct_eq(code.challenge().as_bytes())
                .into()
        });
        if !verified {
            return Err(refusal(
                "invalid_grant",
                "code_verifier does not fit the challenge",
            ));
        }
        let grant = Grant {
            client_id: client_id.to_owned(),
            person: code.person,
            scope: code.request.scope.clone(),
            sid: code.sid.clone(),
            auth_time: code.auth_time,
        };
        self.answer_with_tokens(grant, Some(&code)).map_err(|_| {
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "signing failed",
            )
        })
    }

    /// Each refresh token works once (RFC 9700 section 4.14).
    fn redeem_refresh(&self, client_id: &str, form: &[(String, String)]) -> Result<Value, Refusal> {
        let now = self.now();
        let token = web::single(form, "refresh_token").ok().flatten();
        let grant = token
            .and_then(|token| self.state().grants.take(now, token))
            .filter(|grant| grant.client_id == client_id)
            .ok_or(refusal(
                "invalid_grant",
                "the refresh token is unknown, used, or another client's",
            ))?;
        self.answer_with_tokens(grant, None).map_err(|_| {
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "signing failed",
            )
        })
    }

    fn answer_with_tokens(&self, grant: Grant, code: Option<&Code>) -> Outcome<Value> {
        let iat = self.now().as_secs();
        let exp = self.in_secs(ACCESS_SECS).as_secs();
        let mut claims = profile(grant.person);
        claims["iss"] = json!(self.issuer);
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        claims["sid"] = json!(grant.sid);
        claims["auth_time"] = json!(grant.auth_time);

        let mut access = claims.clone();
        access["aud"] = json!(self.issuer);
        access["client_id"] = json!(grant.client_id);
        access["scope"] = json!(grant.scope);
        access["jti"] = json!(self.secret());
        let refresh = self.secret();
        let mut answer = json!({
            "access_token": self.signer.sign("at+jwt", &access)?,
            "token_type": "Bearer",
            "expires_in": ACCESS_SECS,
            "scope": grant.scope,
            "refresh_token": refresh,
        });
        if grant.scope.split(' ').any(|scope| scope == "openid") {
            claims["aud"] = json!(grant.client_id);
            if let Some(nonce) = code.and_then(Code::nonce) {
                claims["nonce"] = json!(nonce);
            }
            answer["id_token"] = json!(self.signer.sign("JWT", &claims)?);
        }
        let (now, expires) = (self.now(), self.in_secs(REFRESH_SECS));
        self.state().grants.put(now, refresh, expires, grant);
        Ok(answer)
    }

    /// `GET /userinfo`.
    pub(super) fn userinfo(&self, request: &Request<Incoming>) -> Reply {
        let known = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .and_then(|token| self.signer.open("at+jwt", token))
            .filter(|claims| {
                claims["exp"]
                    .as_i64()
                    .is_some_and(|exp| exp > self.now().as_secs())
            })
            .and_then(|claims| person(claims["sub"].as_str()?));
        if let Some(person) = known {
            return web::json(StatusCode::OK, &profile(person));
        }
        let mut answer = web::json(
            StatusCode::UNAUTHORIZED,
            &json!({ "error": "invalid_token" }),
        );
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        answer
    }
}

fn profile(person: &Person) -> Value {
    json!({
        "sub": person.id,
        "name": person.name,
        "preferred_username": person.id,
        "email": person.email,
        "email_verified": true,
        "groups": person.groups,
    })
}
