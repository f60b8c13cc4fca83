//! Against moto: Secrets Manager and the parameter store, rotation, what is missing.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::client::{PATIENCE, get, post};
use crate::harness::echo::Echo;
use crate::harness::parts::{Part, python, run};
use crate::harness::proxy::{Process, Setup, proxy};

const FIRST: &str = "canary-first-api-key-of-aws";
const SECOND: &str = "canary-second-api-key-of-aws";
const REGION: &str = "eu-west-1";

/// A request of an administrator.
async fn tell(moto: &str, service: &str, operation: &str, what: &Value) -> Value {
    let answer = post(&format!("{moto}/"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", operation)
        .header(
            "authorization",
            &format!("AWS4-HMAC-SHA256 Credential=admin/20261121/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"),
        )
        .body(what.to_string())
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn filled() -> Part {
    let moto = Part::start("moto", python("aws/stand_in.py")).await;
    let url = moto.said("url");
    let secret =
        json!({ "Name": "mcp/oidc", "SecretString": json!({ "api_key": FIRST }).to_string() });
    tell(
        &url,
        "secretsmanager",
        "secretsmanager.CreateSecret",
        &secret,
    )
    .await;
    let parameter = json!({ "Name": "/mcp/token", "Value": "canary-token-for-the-backend", "Type": "SecureString" });
    tell(&url, "ssm", "AmazonSSM.PutParameter", &parameter).await;
    moto
}

fn setup(backend: &str) -> Setup {
    proxy()
        .yaml_backend(
            "/x",
            &format!("upstream: \"{backend}\"\nheaders: {{ X-Token: {{ aws_parameter: {{ name: /mcp/token }} }} }}"),
            "allow: { any_user: true }",
        )
        .yaml("auth:\n  api_keys:\n    - name: script\n      key: { aws_secret: { id: mcp/oidc, key: api_key } }\n")
}

/// The environment of a workload with fixed credentials.
fn workload(moto: &str) -> [(&str, &str); 5] {
    [
        ("AWS_ENDPOINT_URL", moto),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "canary-of-the-credentials"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
}

async fn status(process: &Process, key: &str) -> u16 {
    let ask = get(&process.url("/x")).header("x-api-key", key);
    ask.send().await.status.as_u16()
}

async fn becomes(process: &Process, key: &str, wanted: u16) {
    let work = async {
        while status(process, key).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{key} does not become {wanted}\n{}", process.part.log()));
}

#[tokio::test]
async fn rotated_secrets_and_parameters_are_in_force_without_a_restart() {
    let moto = filled().await;
    let url = moto.said("url");
    let backend = Echo::start().await;
    let setup = setup(backend.url()).yaml("secrets: { refresh: 10s }\n");
    let mut process = setup.start_process(&workload(&url)).await;
    becomes(&process, FIRST, 200).await;
    assert_eq!(
        backend.seen()[0].headers["x-token"],
        "canary-token-for-the-backend"
    );

    // By itself, within `secrets.refresh`.
    let next =
        json!({ "SecretId": "mcp/oidc", "SecretString": json!({ "api_key": SECOND }).to_string() });
    tell(
        &url,
        "secretsmanager",
        "secretsmanager.PutSecretValue",
        &next,
    )
    .await;
    becomes(&process, SECOND, 200).await;
    assert_eq!(status(&process, FIRST).await, 401);

    // And at once by a signal.
    let next = json!({ "Name": "/mcp/token", "Value": "canary-new-token", "Type": "SecureString", "Overwrite": true });
    tell(&url, "ssm", "AmazonSSM.PutParameter", &next).await;
    process.signal(Signal::HUP);
    let work = async {
        while backend.seen().last().unwrap().headers["x-token"] != "canary-new-token" {
            assert_eq!(status(&process, SECOND).await, 200);
        }
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap();

    process.signal(Signal::TERM);
    assert_eq!(process.part.ended().await, Some(0));
    let log = process.part.log();
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn what_is_missing_is_named_and_an_older_version_can_be_asked_for() {
    let moto = filled().await;
    let url = moto.said("url");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let next =
        json!({ "SecretId": "mcp/oidc", "SecretString": json!({ "api_key": SECOND }).to_string() });
    tell(
        &url,
        "secretsmanager",
        "secretsmanager.PutSecretValue",
        &next,
    )
    .await;
    let says = async |from: &str, to: &str, words: &[&str], says: &str| {
        std::fs::write(&file, setup("http://127.0.0.1:9/").text().replace(from, to)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"));
        command
            .env_clear()
            .envs(crate::harness::parts::measured())
            .envs(workload(&url))
            .arg("--config")
            .arg(&file)
            .args(words);
        let output = run(command).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            text.contains(says) && !text.contains("canary"),
            "{says}: {text}"
        );
        output.status.code().unwrap()
    };
    let online = ["check-config", "--online"];
    let previous = "key: api_key, version_stage: AWSPREVIOUS";
    let read = "version AWSPREVIOUS, key api_key: ok";
    assert_eq!(
        says("key: api_key", previous, &online, read).await,
        69,
        "nobody listens on the backend's port"
    );
    says(
        "id: mcp/oidc",
        "id: mcp/none",
        &online,
        "ResourceNotFoundException",
    )
    .await;
    says(
        "key: api_key",
        "key: none",
        &online,
        "mcp/oidc in AWS Secrets Manager has no key `none`",
    )
    .await;
    says("key: api_key }", "}", &online, "aws_secret mcp/oidc: ok").await;
    assert_eq!(
        says("/mcp/token", "/mcp/none", &[], "ParameterNotFound").await,
        69
    );
    assert_eq!(says("", "", &["check-config"], "ok: ").await, 0);
}
