//! AWS Secrets Manager and the parameter store of Systems Manager, one signed request for each answer.
//!
//! Credentials and region come the usual way, by AWS's own crate: environment, profile, web identity (IRSA), container
//! credentials (ECS, EKS Pod Identity), instance metadata. The two operations are written here: their SDK crates are
//! 390 000 lines.

mod answer;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answers, SecretError};
use crate::clock::Ambient;
use crate::config::Remote;
use crate::config::remote::{AwsParameter, AwsSecret};
use crate::secret::Secret;
use crate::upstream::fetch::Fetch;

/// Time for one request.
const LIMIT: Duration = Duration::from_secs(5);

/// Time for finding credentials: a token exchange, or a metadata service that is not there.
const CREDENTIALS: Duration = Duration::from_secs(15);

/// Largest answer that is read; a secret has 64 KiB at most.
const MAX_ANSWER: usize = 1 << 20;

/// A client of both services.
pub(super) struct Client {
    config: SdkConfig,
    fetch: Fetch,
    ambient: Ambient,
}

impl Client {
    /// Reads profiles and finds the region. Credentials are found at each reading, for they end.
    ///
    /// # Errors
    /// The roots of TLS cannot be had.
    pub(super) async fn new(ambient: &Ambient) -> Result<Self, SecretError> {
        let fetch = Fetch::new(None, LIMIT, MAX_ANSWER).map_err(SecretError::Settings)?;
        let limits = TimeoutConfig::builder()
            .operation_timeout(CREDENTIALS)
            .operation_attempt_timeout(LIMIT)
            .build();
        let load = aws_config::defaults(BehaviorVersion::latest())
            .http_client(transport::client(&fetch))
            .timeout_config(limits)
            .load();
        Ok(Self {
            config: Box::pin(load).await,
            fetch,
            ambient: ambient.clone(),
        })
    }

    /// Reads each secret and parameter once, whatever number of keys is taken from it.
    pub(super) async fn read(&self, wanted: &BTreeSet<&Remote>) -> Answers {
        let credentials = Box::pin(self.credentials()).await;
        let mut texts: BTreeMap<Place, Result<Secret, SecretError>> = BTreeMap::new();
        let mut outage = credentials.as_ref().err().cloned();
        let mut answers = Answers::new();
        for remote in wanted {
            let Some((place, key)) = Place::of(remote) else {
                continue;
            };
            let text = match (texts.get(&place), &outage, &credentials) {
                (Some(text), _, _) => text.clone(),
                // The others would wait for the same.
                (None, Some(error), _) | (None, None, Err(error)) => Err(error.clone()),
                (None, None, Ok(credentials)) => {
                    let text = Box::pin(self.text(&place, credentials)).await;
                    outage = text.as_ref().err().filter(|error| error.passes()).cloned();
                    texts.insert(place.clone(), text.clone());
                    text
                }
            };
            let value = text.and_then(|text| answer::pick(text, &place, key));
            answers.insert((*remote).clone(), value);
        }
        answers
    }

    async fn credentials(&self) -> Result<Credentials, SecretError> {
        let failed = |why: String| SecretError::Aws {
            place: "the credentials for AWS".to_owned(),
            why,
            // An instance's metadata may not be up yet.
            passes: true,
        };
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or_else(|| failed("there is no way to find any".to_owned()))?;
        match tokio::time::timeout(CREDENTIALS, provider.provide_credentials()).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(error)) => Err(failed(answer::chain(&error))),
            Err(_) => Err(failed(format!(
                "not found within {} s",
                CREDENTIALS.as_secs()
            ))),
        }
    }

    async fn text(&self, place: &Place, credentials: &Credentials) -> Result<Secret, SecretError> {
        let region = place
            .region()
            .or_else(|| self.config.region().map(AsRef::as_ref));
        let region = region.ok_or_else(|| {
            SecretError::Settings(format!(
                "{place}: no region is known; set AWS_REGION, or write the whole ARN"
            ))
        })?;
        let endpoint = self.endpoint(place, region);
        let request = self.request(place, &endpoint, region, credentials)?;
        let answer = self.fetch.send(request).await;
        let answer = answer.map_err(|error| SecretError::Unreachable {
            server: format!("{} at {endpoint}", place.service()),
            why: error.to_string(),
        })?;
        answer::text(place, answer.status(), answer.body())
    }

    /// An endpoint of one's own (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SSM`, a profile), or that of the region.
    fn endpoint(&self, place: &Place, region: &str) -> String {
        let key = ServiceConfigKey::builder()
            .service_id(place.service())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let own = key
            .ok()
            .and_then(|key| self.config.service_config()?.load_config(key))
            .or_else(|| self.config.endpoint_url().map(str::to_owned));
        if let Some(own) = own {
            return own.trim_end_matches('/').to_owned();
        }
        let fips = self.config.use_fips().unwrap_or(false);
        let dual = self.config.use_dual_stack().unwrap_or(false);
        let suffix = match (region.starts_with("cn-"), dual) {
            (false, false) => "amazonaws.com",
            (false, true) => "api.aws",
            (true, false) => "amazonaws.com.cn",
            (true, true) => "api.amazonwebservices.com.cn",
        };
        let name = place.signing_name();
        let fips = if fips { "-fips" } else { "" };
        format!("https://{name}{fips}.{region}.{suffix}")
    }

    /// JSON 1.1 over POST, signed with Signature Version 4.
    fn request(
        &self,
        place: &Place,
        endpoint: &str,
        region: &str,
        credentials: &Credentials,
    ) -> Result<http::Request<Bytes>, SecretError> {
        let wrong = |error: &dyn std::fmt::Display| {
            SecretError::Settings(format!("{place}: the request cannot be made: {error}"))
        };
        let body = Bytes::from(place.question().to_string());
        let uri = format!("{endpoint}/");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", place.operation()),
        ];
        let identity = credentials.clone().into();
        let now = Duration::from_millis(u64::try_from(self.ambient.now().as_millis()).unwrap_or(0));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(place.signing_name())
            .time(std::time::UNIX_EPOCH + now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(&error))?
            .into();
        let signed = SignableRequest::new(
            "POST",
            uri.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&body),
        );
        let signed = signed.and_then(|request| sign(request, &params));
        let (instructions, _) = signed.map_err(|error| wrong(&error))?.into_parts();
        let (signature, _) = instructions.into_parts();
        let mut request = http::Request::post(&uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for header in signature {
            let mut value = http::HeaderValue::from_str(header.value()).map_err(|e| wrong(&e))?;
            value.set_sensitive(true);
            request = request.header(header.name(), value);
        }
        request.body(body).map_err(|error| wrong(&error))
    }
}

/// One answer of a service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Secret { id: String, stage: Option<String> },
    Parameter { name: String },
}

impl Place {
    /// Where a secret is, and the key in it.
    fn of(remote: &Remote) -> Option<(Self, Option<&str>)> {
        match remote {
            Remote::Vault(_) => None,
            Remote::AwsSecret(AwsSecret {
                id,
                key,
                version_stage,
            }) => {
                let (id, stage) = (id.clone(), version_stage.clone());
                Some((Self::Secret { id, stage }, key.as_deref()))
            }
            Remote::AwsParameter(AwsParameter { name, key }) => {
                Some((Self::Parameter { name: name.clone() }, key.as_deref()))
            }
        }
    }

    /// The id that AWS gives the service.
    fn service(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "Secrets Manager",
            Self::Parameter { .. } => "SSM",
        }
    }

    fn signing_name(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "secretsmanager",
            Self::Parameter { .. } => "ssm",
        }
    }

    fn operation(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "secretsmanager.GetSecretValue",
            Self::Parameter { .. } => "AmazonSSM.GetParameter",
        }
    }

    fn question(&self) -> Value {
        match self {
            Self::Secret { id, stage: None } => json!({ "SecretId": id }),
            Self::Secret { id, stage } => json!({ "SecretId": id, "VersionStage": stage }),
            Self::Parameter { name } => json!({ "Name": name, "WithDecryption": true }),
        }
    }

    /// The region that an ARN names: `arn:aws:ssm:eu-west-1:…`.
    fn region(&self) -> Option<&str> {
        let (Self::Secret { id: name, .. } | Self::Parameter { name }) = self;
        let mut parts = name.split(':');
        let arn = parts.next() == Some("arn");
        let region = parts.nth(2).filter(|_| arn)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (!region.is_empty() && region.bytes().all(plain)).then_some(region)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret { id, .. } => write!(f, "{id} in AWS Secrets Manager"),
            Self::Parameter { name } => write!(f, "{name} in the AWS parameter store"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client {
            config: SdkConfig::builder().build(),
            fetch: Fetch::new(None, LIMIT, MAX_ANSWER).unwrap(),
            ambient: Ambient::system(),
        }
    }

    fn parameter(name: &str) -> Place {
        Place::Parameter {
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_arn_names_its_region() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mcp/oidc-AbCdEf";
        let secret = Place::Secret {
            id: arn.to_owned(),
            stage: None,
        };
        assert_eq!(secret.region(), Some("eu-west-1"));
        for name in [
            "/mcp/oidc",
            "mcp:3",
            "arn:aws:ssm::1:parameter/x",
            "arn:aws:ssm:e.evil/:1:x",
        ] {
            assert_eq!(parameter(name).region(), None, "{name}");
        }
    }

    #[test]
    fn each_region_has_its_endpoint() {
        let (client, place) = (client(), parameter("/mcp"));
        assert_eq!(
            client.endpoint(&place, "eu-west-1"),
            "https://ssm.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            client.endpoint(&place, "cn-north-1"),
            "https://ssm.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn requests_are_signed() {
        let credentials = Credentials::new("AKIDEXAMPLE", "canary-secret-key", None, None, "test");
        let request = client()
            .request(
                &parameter("/mcp"),
                "http://127.0.0.1:5000",
                "eu-west-1",
                &credentials,
            )
            .unwrap();
        let said = request.headers()["authorization"].to_str().unwrap();
        assert!(
            said.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{said}"
        );
        assert!(
            said.contains("/eu-west-1/ssm/aws4_request") && said.contains("host;"),
            "{said}"
        );
        assert_eq!(request.headers()["x-amz-target"], "AmazonSSM.GetParameter");
        assert!(!format!("{request:?}").contains("canary"));
    }
}
