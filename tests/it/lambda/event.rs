//! Recorded events, made into what a test asks for; and answers, read alike whatever their form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Who sends events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Url,
    HttpApi,
    RestApi,
    Balancer,
    BalancerMulti,
}

pub(crate) const ALL: [Sender; 5] = [
    Sender::Url,
    Sender::HttpApi,
    Sender::RestApi,
    Sender::Balancer,
    Sender::BalancerMulti,
];

/// The host of the function URL; all others come by [`super::world::PUBLIC`].
pub(crate) const URL_HOST: &str = "url0123456789abcdefghij0123456789.lambda-url.eu-west-1.on.aws";

/// A request under construction.
#[derive(Clone)]
pub(crate) struct Asks {
    sender: Sender,
    event: Value,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u64,
    headers: Vec<(String, String)>,
    pub(crate) cookies: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Sender {
    pub(crate) fn get(self, target: &str) -> Asks {
        self.ask("GET", target)
    }

    pub(crate) fn post(self, target: &str, body: &str) -> Asks {
        let mut asks = self.ask("POST", target);
        asks.event["body"] = body.into();
        asks
    }

    /// A JSON-RPC message.
    pub(crate) fn rpc(self, target: &str, message: &Value) -> Asks {
        self.post(target, &message.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    }

    fn ask(self, method: &str, target: &str) -> Asks {
        let recorded = match self {
            Self::Url => include_str!("events/function-url.json"),
            Self::HttpApi => include_str!("events/http-api.json"),
            Self::RestApi => include_str!("events/rest-api.json"),
            Self::Balancer => include_str!("events/load-balancer.json"),
            Self::BalancerMulti => include_str!("events/load-balancer-multi-value.json"),
        };
        let mut event: Value = serde_json::from_str(recorded).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match self {
            Self::Url | Self::HttpApi => {
                event["requestContext"]["http"]["method"] = method.into();
                event["requestContext"]["http"]["path"] = path.into();
                event["rawPath"] = path.into();
                event["rawQueryString"] = query.into();
            }
            Self::RestApi | Self::Balancer | Self::BalancerMulti => {
                event["httpMethod"] = method.into();
                event["path"] = path.into();
                let mut multi = serde_json::Map::new();
                for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    // A REST API decodes them, a load balancer does not.
                    let value = if self == Self::RestApi {
                        let pair = format!("x={value}");
                        url::form_urlencoded::parse(pair.as_bytes())
                            .next()
                            .unwrap()
                            .1
                            .into_owned()
                    } else {
                        value.to_owned()
                    };
                    multi
                        .entry(name)
                        .or_insert_with(|| json!([]))
                        .as_array_mut()
                        .unwrap()
                        .push(value.into());
                }
                let single: serde_json::Map<_, _> = multi
                    .iter()
                    .map(|(name, all)| {
                        (
                            name.clone(),
                            all.as_array().unwrap().last().unwrap().clone(),
                        )
                    })
                    .collect();
                if self != Self::BalancerMulti {
                    event["queryStringParameters"] = single.into();
                }
                if self != Self::Balancer {
                    event["multiValueQueryStringParameters"] = multi.into();
                }
            }
        }
        Asks {
            sender: self,
            event,
        }
    }
}

impl Asks {
    /// Sets a header, instead of one of that name if there is one.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        for (member, value) in [
            ("headers", json!(value)),
            ("multiValueHeaders", json!([value])),
        ] {
            if let Some(headers) = self.event[member].as_object_mut() {
                headers.retain(|known, _| !known.eq_ignore_ascii_case(name));
                headers.insert(name.to_owned(), value);
            }
        }
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Cookies, where the sender puts them.
    pub(crate) fn cookies(mut self, cookies: &[String]) -> Self {
        if cookies.is_empty() {
            return self;
        }
        match self.sender {
            Sender::Url | Sender::HttpApi => {
                self.event["cookies"] = json!(cookies);
                self
            }
            _ => {
                let all = cookies.join("; ");
                self.header("cookie", &all)
            }
        }
    }

    /// The body as bytes.
    pub(crate) fn binary(mut self, body: &[u8]) -> Self {
        self.event["body"] = STANDARD.encode(body).into();
        self.event["isBase64Encoded"] = true.into();
        self
    }

    pub(crate) fn event(&self) -> &Value {
        &self.event
    }

    pub(crate) fn event_mut(&mut self) -> &mut Value {
        &mut self.event
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender
    }
}

impl Answered {
    /// From the head of a streamed answer, or a whole one.
    pub(crate) fn of(sender: Sender, answer: &Value, streamed: Option<&str>) -> Self {
        let mut headers = Vec::new();
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            headers.push((name.to_lowercase(), value.as_str().unwrap().to_owned()));
        }
        for (name, all) in answer["multiValueHeaders"]
            .as_object()
            .into_iter()
            .flatten()
        {
            for value in all.as_array().unwrap() {
                headers.push((name.to_lowercase(), value.as_str().unwrap().to_owned()));
            }
        }
        match sender {
            Sender::RestApi | Sender::BalancerMulti => assert!(answer.get("headers").is_none()),
            _ => assert!(answer.get("multiValueHeaders").is_none()),
        }
        if matches!(sender, Sender::Balancer | Sender::BalancerMulti) {
            let description = answer["statusDescription"].as_str().unwrap();
            assert!(description.starts_with(&answer["statusCode"].to_string()));
        }
        let cookies = match answer["cookies"].as_array() {
            Some(cookies) => cookies
                .iter()
                .map(|c| c.as_str().unwrap().to_owned())
                .collect(),
            None => headers
                .iter()
                .filter(|(name, _)| name == "set-cookie")
                .map(|(_, value)| value.clone())
                .collect(),
        };
        let whole = answer["body"].as_str().unwrap_or_default();
        let body = streamed.unwrap_or(whole);
        let body = if answer["isBase64Encoded"] == true {
            STANDARD.decode(body).unwrap()
        } else {
            body.as_bytes().to_vec()
        };
        Self {
            status: answer["statusCode"].as_u64().unwrap(),
            headers,
            cookies,
            body,
        }
    }

    /// A header's text; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The message of an answer, be it the body or the last event.
    pub(crate) fn rpc(&self) -> Value {
        let text = self.text();
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .next_back();
        serde_json::from_str(data.unwrap_or(&text)).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}
