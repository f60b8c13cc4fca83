//! An identity provider that lets everybody in at once, and signs as many tokens as are wanted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_oidc_proxy::clock::Ambient;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Outcome;

/// How a token is signed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Alg {
    Rs256,
    Es256,
}

/// The provider. Its tasks end with the program.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    issuer: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    random: SystemRandom,
    /// Code to nonce.
    codes: Mutex<HashMap<String, String>>,
}

impl Provider {
    pub(crate) async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let pkcs8 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?;
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
        let provider = Self(Arc::new(Inner {
            issuer: format!("http://{}", listener.local_addr()?),
            rsa,
            ec,
            random: SystemRandom::new(),
            codes: Mutex::default(),
        }));
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let provider = serving.clone();
                let service = service_fn(move |request| {
                    let provider = provider.clone();
                    async move { Ok::<_, Infallible>(provider.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Ok(provider)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// An access token of about 850 bytes for the audience; no two are alike.
    pub(crate) fn access_token(&self, alg: Alg, audience: &str) -> Outcome<String> {
        let jti = URL_SAFE_NO_PAD.encode(Ambient::system().random::<16>());
        let now = Ambient::system().now().as_secs();
        let claims = json!({
            "iss": self.0.issuer, "sub": "00u1f96ECLNVOKVMUSEA", "aud": audience, "exp": now + 3600, "iat": now,
            "jti": jti, "client_id": "bench-client", "scope": "openid email profile mcp:tools",
            "name": "Ann Engineer", "preferred_username": "ann", "email": "ann@example.com", "email_verified": true,
            "groups": ["engineering", "everyone", "on-call"], "sid": "f2b1b0a4-7f57-4c3d-9d57-0f3f1d2c9e11",
        });
        self.sign(alg, "at+jwt", &claims)
    }

    fn sign(&self, alg: Alg, typ: &str, claims: &Value) -> Outcome<String> {
        let (name, kid) = match alg {
            Alg::Rs256 => ("RS256", "rsa"),
            Alg::Es256 => ("ES256", "ec"),
        };
        let header = json!({ "alg": name, "typ": typ, "kid": kid }).to_string();
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = match alg {
            Alg::Rs256 => {
                let mut out = vec![0; self.0.rsa.public_modulus_len()];
                self.0.rsa.sign(
                    &RSA_PKCS1_SHA256,
                    &self.0.random,
                    input.as_bytes(),
                    &mut out,
                )?;
                out
            }
            Alg::Es256 => self
                .0
                .ec
                .sign(&self.0.random, input.as_bytes())?
                .as_ref()
                .to_vec(),
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let issuer = &self.0.issuer;
        match request.uri().path() {
            "/.well-known/openid-configuration" => reply(&json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
            })),
            "/jwks" => reply(&self.jwks()),
            "/authorize" => self
                .authorize(&request)
                .unwrap_or_else(|| status(StatusCode::BAD_REQUEST)),
            "/token" => self
                .token(request)
                .await
                .unwrap_or_else(|| status(StatusCode::BAD_REQUEST)),
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    fn jwks(&self) -> Value {
        let rsa = self.0.rsa.public_key();
        // Uncompressed point (SEC 1 section 2.3.3): 0x04, x, y.
        let point = self.0.ec.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rsa",
              "n": text(rsa.modulus().big_endian_without_leading_zero()),
              "e": text(rsa.exponent().big_endian_without_leading_zero()) },
            { "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "ec",
              "x": text(&point[1..33]), "y": text(&point[33..65]) },
        ] })
    }

    fn authorize(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let query: HashMap<_, _> = url::form_urlencoded::parse(request.uri().query()?.as_bytes())
            .into_owned()
            .collect();
        let code = URL_SAFE_NO_PAD.encode(Ambient::system().random::<16>());
        let mut url = url::Url::parse(query.get("redirect_uri")?).ok()?;
        url.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", query.get("state")?);
        let nonce = query.get("nonce").cloned().unwrap_or_default();
        self.0
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(code, nonce);
        let mut response = status(StatusCode::FOUND);
        response
            .headers_mut()
            .insert(LOCATION, HeaderValue::from_str(url.as_str()).ok()?);
        Some(response)
    }

    async fn token(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let body = request.into_body().collect().await.ok()?.to_bytes();
        let form: HashMap<_, _> = url::form_urlencoded::parse(&body).into_owned().collect();
        let nonce = self
            .0
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(form.get("code")?)?;
        let now = Ambient::system().now().as_secs();
        let claims = json!({
            "iss": self.0.issuer, "sub": "ann", "aud": "bench", "exp": now + 3600, "iat": now, "auth_time": now,
            "nonce": nonce, "email": "ann@example.com", "email_verified": true, "name": "Ann Engineer",
            "preferred_username": "ann", "groups": ["engineering", "everyone", "on-call"],
        });
        Some(reply(&json!({
            "access_token": "opaque-to-everybody", "token_type": "Bearer", "expires_in": 3600,
            "id_token": self.sign(Alg::Es256, "JWT", &claims).ok()?,
        })))
    }
}

fn reply(value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
