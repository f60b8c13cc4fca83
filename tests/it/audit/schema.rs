//! Every kind of record, in both formats, against the schemas that are published.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcp_oidc_proxy::audit::{Audit, Done, Event, Kind, Outcome, Place, What, Who};
use mcp_oidc_proxy::clock::Ambient;
use mcp_oidc_proxy::config::audit::{
    Audit as Config, AuditArguments, AuditFile, AuditFormat, FileMode, SinkKind,
};
use mcp_oidc_proxy::config::{ByteSize, SecretRef};
use mcp_oidc_proxy::ids::RequestId;
use mcp_oidc_proxy::telemetry::metrics::Metrics;
use serde_json::{Value, json};

/// What is wrong with a value, by the part of JSON Schema that our schemas use.
fn wrong(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        return;
    };
    for (keyword, said) in schema {
        match keyword.as_str() {
            "$ref" => {
                let target = root.pointer(said.as_str().unwrap().trim_start_matches('#'));
                wrong(root, target.expect("a definition"), value, at, found);
            }
            "type" => {
                let types = said
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![said.clone()]);
                if !types.iter().any(|name| is(name.as_str().unwrap(), value)) {
                    found.push(format!("{at}: {value} is no {said}"));
                }
            }
            "const" if said != value => found.push(format!("{at}: {value} is not {said}")),
            "enum" if !said.as_array().unwrap().contains(value) => {
                found.push(format!("{at}: {value} is none of {said}"));
            }
            "minimum" if value.as_f64() < said.as_f64() => {
                found.push(format!("{at}: {value} is below {said}"));
            }
            "minLength"
                if value
                    .as_str()
                    .is_some_and(|text| (text.len() as u64) < said.as_u64().unwrap()) =>
            {
                found.push(format!("{at}: {value} is too short"));
            }
            "pattern" => {
                let pattern = regex::Regex::new(said.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    found.push(format!("{at}: {value} does not match {said}"));
                }
            }
            "required" => {
                for name in said.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        found.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in said.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        wrong(root, inner, value, &format!("{at}/{name}"), found);
                    }
                }
            }
            "additionalProperties" if *said == json!(false) => {
                let known = schema["properties"].as_object().unwrap();
                for name in value
                    .as_object()
                    .into_iter()
                    .flat_map(serde_json::Map::keys)
                {
                    if !known.contains_key(name) {
                        found.push(format!("{at}: {name} is unknown"));
                    }
                }
            }
            "items" => {
                for (index, each) in value.as_array().into_iter().flatten().enumerate() {
                    wrong(root, said, each, &format!("{at}/{index}"), found);
                }
            }
            "anyOf" => {
                let fits = |choice: &Value| problems(root, choice, value).is_empty();
                if !said.as_array().unwrap().iter().any(fits) {
                    found.push(format!("{at}: {value} fits none"));
                }
            }
            "allOf" => {
                for each in said.as_array().unwrap() {
                    wrong(root, each, value, at, found);
                }
            }
            "if" if problems(root, said, value).is_empty() => {
                wrong(root, &schema["then"], value, at, found);
            }
            _ => {}
        }
    }
}

fn problems(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    wrong(root, schema, value, "", &mut found);
    found
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A log with every kind, bare and with everything that can be said.
fn log(folder: &Path, format: AuditFormat) -> Vec<Value> {
    let path = folder.join("audit.jsonl");
    let config = Config {
        sink: Some(SinkKind::File),
        file: Some(AuditFile {
            path: path.clone(),
            rotate_size: ByteSize(64 << 10),
            keep: 0,
            mode: FileMode::default(),
        }),
        signing_key: Some(SecretRef::inline(STANDARD.encode([7; 32]))),
        arguments: AuditArguments {
            include: true,
            ..AuditArguments::default()
        },
        format,
        ..Config::default()
    };
    // Refusals are written one by one only up to a bound, which this stays below.
    let audit = Audit::start(&config, &Ambient::system(), &Metrics::new()).unwrap();
    for kind in Kind::ALL {
        for outcome in Outcome::ALL {
            audit.note(Event::new(*kind, outcome));
            audit.note(full(&audit, *kind, outcome));
            audit.note(Event::new(*kind, outcome).by(Who::client("app")).at(Place {
                route: Some("sample".into()),
                ..Place::default()
            }));
        }
    }
    for _ in 0..30 {
        audit.note(Event::new(Kind::Refused, Outcome::Failure).because("expired"));
    }
    audit.close();
    let mut files = mcp_oidc_proxy::audit::files_of(&path);
    files.sort();
    let text: String = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn full(audit: &Audit, kind: Kind, outcome: Outcome) -> Event {
    let what = What {
        method: Some("tools/call".into()),
        path: Some("/x".into()),
        tool: Some("echo".into()),
        prompt: Some("p".into()),
        resource: Some("file:///r".into()),
        task: Some("t".into()),
        arguments: audit.arguments(br#"{"text":"hello"}"#),
        scopes: vec!["mcp".into()],
        rule: Some("rest".into()),
        mcp_session: Some("0123456789abcdef".into()),
    };
    let who = Who {
        issuer: Some("https://idp.example".into()),
        subject: Some("ann".into()),
        email: Some("ann@example.com".into()),
        groups: vec!["g".into()],
        credential: Some("session"),
        client_id: Some("app".into()),
        session: Some("0123456789abcdef".into()),
        grant: Some("aa".into()),
    };
    let place = Place {
        client: Some([127, 0, 0, 1].into()),
        route: Some("sample".into()),
        backend: Some("b".into()),
        request: Some(RequestId::new([1; 16])),
        index: Some(0),
        trace: Some("0af7651916cd43dd8448eb211c80319c".into()),
    };
    let done = Done {
        status: Some(200),
        outcome: Some("ok"),
        duration_ms: Some(3),
        bytes: Some(12),
    };
    Event::new(kind, outcome)
        .because("reason")
        .detail("more")
        .by(who)
        .at(place)
        .what(what)
        .done(done)
}

#[test]
fn every_kind_fits_the_schema_of_its_format() {
    for (format, name) in [
        (AuditFormat::Native, "audit.schema.json"),
        (AuditFormat::Ocsf, "audit-ocsf.schema.json"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let schema = schema(name);
        let records = log(folder.path(), format);
        let kind = |record: &Value| {
            let found = record
                .get("kind")
                .or_else(|| record["unmapped"].get("kind"));
            found.unwrap().as_str().unwrap().to_owned()
        };
        for expected in Kind::ALL {
            assert!(
                records
                    .iter()
                    .any(|record| kind(record) == expected.as_str()),
                "{expected:?}"
            );
        }
        let repeated = |record: &&Value| {
            record
                .get("repeated")
                .or_else(|| record["unmapped"].get("repeated"))
                .is_some()
        };
        assert!(records.iter().any(|record| repeated(&record)));
        for record in &records {
            let found = problems(&schema, &schema, record);
            assert!(found.is_empty(), "{name}: {found:#?}\n{record:#}");
        }
        // The schemas say no to something.
        let mut odd = records[0].clone();
        odd["surprise"] = json!(1);
        assert!(!problems(&schema, &schema, &odd).is_empty());
        let mut less = records[0].clone();
        less.as_object_mut().unwrap().remove("time");
        assert!(!problems(&schema, &schema, &less).is_empty());
    }
}

#[test]
fn activities_of_ocsf_belong_to_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    for record in log(folder.path(), AuditFormat::Ocsf) {
        let number = |key: &str| record[key].as_u64().unwrap();
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id")
        );
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
    }
}
