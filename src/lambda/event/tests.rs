use http::header::{COOKIE, HOST};
use serde_json::{Value, json};

use super::*;

const BOUNDS: Bounds = Bounds {
    headers: 100,
    bytes: 32 << 10,
};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../tests/it/lambda/events/", $name, ".json"))
    };
}

const URL: &str = recorded!("function-url");
const HTTP: &str = recorded!("http-api");
const REST: &str = recorded!("rest-api");
const BALANCER: &str = recorded!("load-balancer");
const BALANCER_MULTI: &str = recorded!("load-balancer-multi-value");
const ALL: [&str; 5] = [URL, HTTP, REST, BALANCER, BALANCER_MULTI];

/// A recorded event, changed.
fn changed(event: &str, change: impl FnOnce(&mut Value)) -> Asked {
    let mut event = serde_json::from_str(event).unwrap();
    change(&mut event);
    read(event.to_string().as_bytes(), BOUNDS).unwrap()
}

fn request(asked: Asked) -> (Arc<Conn>, Request) {
    asked.request.unwrap_or_else(|error| panic!("{error}"))
}

fn refused(asked: Asked) -> Unusable {
    match asked.request {
        Ok((_, request)) => panic!("it is taken: {}", request.uri()),
        Err(unusable) => unusable,
    }
}

#[test]
fn every_sender_is_recognised_and_its_client_known() {
    let balancer = |multi_value| Kind::LoadBalancer { multi_value };
    let kinds = [
        Kind::Url,
        Kind::HttpApi,
        Kind::RestApi,
        balancer(false),
        balancer(true),
    ];
    for (event, kind) in ALL.into_iter().zip(kinds) {
        let asked = read(event.as_bytes(), BOUNDS).unwrap();
        assert_eq!(asked.kind, kind);
        let (conn, request) = request(asked);
        assert_eq!(conn.peer.ip(), "203.0.113.7".parse().ok(), "{kind:?}");
        assert!(conn.tls.is_some(), "{kind:?}");
        assert_eq!(request.method(), "GET");
        assert_eq!(request.uri(), "/mcp");
        assert_eq!(request.headers().get_all(HOST).iter().count(), 1);
        assert!(matches!(request.body(), crate::http::RequestBody::Empty));
    }
}

#[test]
fn what_a_client_can_write_does_not_make_it_somebody_else() {
    // API Gateway and function URLs say whose the connection is.
    for event in [URL, HTTP] {
        let asked = changed(event, |event| {
            event["headers"]["x-forwarded-for"] = json!("10.0.0.1");
        });
        assert_eq!(request(asked).0.peer.ip(), "203.0.113.7".parse().ok());
    }
    // A load balancer writes it at the end of what the client sent.
    let asked = changed(BALANCER, |event| {
        event["headers"]["x-forwarded-for"] = json!("10.0.0.1, 203.0.113.9");
    });
    assert_eq!(request(asked).0.peer.ip(), "203.0.113.9".parse().ok());
    let asked = changed(BALANCER_MULTI, |event| {
        event["multiValueHeaders"]["x-forwarded-for"] =
            json!(["10.0.0.1", "10.0.0.2, [2001:db8::1]:443"]);
    });
    assert_eq!(request(asked).0.peer.ip(), "2001:db8::1".parse().ok());
    for nobody in ["", "unknown", "203.0.113.9, _hidden"] {
        let asked = changed(BALANCER, |event| {
            event["headers"]["x-forwarded-for"] = json!(nobody);
        });
        assert_eq!(
            request(asked).0.peer.ip(),
            "0.0.0.0".parse().ok(),
            "{nobody}"
        );
    }
    let asked = changed(URL, |event| {
        event["requestContext"]["http"]["sourceIp"] = json!("?");
    });
    assert_eq!(refused(asked), Unusable::Part("source address"));
}

#[test]
fn targets_are_those_of_the_client() {
    let target = |asked| request(asked).1.uri().to_string();
    let v2 = |event| {
        target(changed(event, |event| {
            event["rawPath"] = json!("/a%2Fb/c d");
            event["rawQueryString"] = json!("x=%20&x=2&y");
        }))
    };
    assert_eq!(v2(URL), "/a%2Fb/c%20d?x=%20&x=2&y");
    assert_eq!(v2(HTTP), "/a%2Fb/c%20d?x=%20&x=2&y");
    let rest = changed(REST, |event| {
        event["queryStringParameters"] = json!({ "x": "2" });
        event["multiValueQueryStringParameters"] = json!({ "x": ["a&b", "2"] });
    });
    assert_eq!(target(rest), "/mcp?x=a%26b&x=2");
    let single = changed(BALANCER, |event| {
        event["queryStringParameters"] = json!({ "x": "a%26b", "y": "" });
    });
    assert_eq!(target(single), "/mcp?x=a%26b&y=");
    let multi = changed(BALANCER_MULTI, |event| {
        event["multiValueQueryStringParameters"] = json!({ "x": ["1", "%32"] });
    });
    assert_eq!(target(multi), "/mcp?x=1&x=%32");
    let odd = changed(URL, |event| event["rawPath"] = json!("mcp"));
    assert_eq!(refused(odd), Unusable::Part("address"));
}

#[test]
fn headers_come_one_by_one_without_those_of_the_connection() {
    let asked = changed(REST, |event| {
        event["multiValueHeaders"] = json!({
            "Host": ["mcp.example.com"], "Accept": ["a", "b"], "Connection": ["close"], "Upgrade": ["websocket"],
            "Transfer-Encoding": ["chunked"], "Expect": ["100-continue"], "Cookie": ["a=1", "b=2"],
        });
    });
    let (_, request) = request(asked);
    let names: Vec<&str> = request
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    assert_eq!(names, ["host", "accept", "cookie"]);
    assert_eq!(request.headers().get_all("accept").iter().count(), 2);
    assert_eq!(request.headers().get_all("cookie").iter().count(), 2);
}

#[test]
fn cookies_of_payload_2_become_one_header() {
    let asked = changed(URL, |event| {
        event["cookies"] = json!(["a=1", "b=2"]);
        event["headers"]["cookie"] = json!("a=1; b=2");
    });
    let (_, request) = request(asked);
    let cookies: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[tokio::test]
async fn bodies_are_decoded_and_have_their_true_length() {
    for (text, base64, expected) in [
        ("{\"a\":\"ü\"}", false, "{\"a\":\"ü\"}".as_bytes()),
        ("AP8Q", true, &[0, 255, 16][..]),
    ] {
        let asked = changed(HTTP, |event| {
            event["headers"]["content-length"] = json!("999");
            event["body"] = json!(text);
            event["isBase64Encoded"] = json!(base64);
        });
        let (_, request) = request(asked);
        assert_eq!(
            request.headers()["content-length"],
            expected.len().to_string().as_str()
        );
        let body = request
            .into_body()
            .collect(100, std::time::Duration::ZERO)
            .await;
        assert_eq!(body.unwrap_or_default(), expected);
    }
    let asked = changed(HTTP, |event| {
        event["body"] = json!("not base64!");
        event["isBase64Encoded"] = json!(true);
    });
    assert_eq!(refused(asked), Unusable::Part("body"));
}

#[test]
fn stages_in_front_of_paths_are_refused() {
    let gateway = "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com";
    for event in [HTTP, REST] {
        let asked = changed(event, |event| {
            event["requestContext"]["stage"] = json!("prod");
            event["requestContext"]["domainName"] = json!(gateway);
        });
        assert_eq!(refused(asked), Unusable::Stage);
        let asked = changed(event, |event| {
            event["requestContext"]["stage"] = json!("$default");
            event["requestContext"]["domainName"] = json!(gateway);
        });
        assert!(asked.request.is_ok());
    }
    // A REST API behind a domain of its own: the stage is not in the path. An HTTP API may have put it there.
    assert!(read(REST.as_bytes(), BOUNDS).unwrap().request.is_ok());
    let asked = changed(HTTP, |event| {
        event["requestContext"]["stage"] = json!("prod");
    });
    assert_eq!(refused(asked), Unusable::Stage);
}

#[test]
fn heads_have_bounds() {
    let many = changed(URL, |event| {
        for n in 0..200 {
            event["headers"][format!("x-{n}")] = json!("1");
        }
    });
    assert_eq!(refused(many), Unusable::Headers);
    let long = changed(URL, |event| {
        event["headers"]["x-long"] = json!("x".repeat(40_000));
    });
    assert_eq!(refused(long), Unusable::Headers);
    let long = changed(URL, |event| {
        event["rawQueryString"] = json!("x".repeat(40_000));
    });
    assert_eq!(refused(long), Unusable::Headers);
    for (name, value) in [("bad name", "x"), ("x-a", "a\r\nb: c"), ("x-a", "\u{0}")] {
        let odd = changed(URL, |event| event["headers"][name] = json!(value));
        assert_eq!(refused(odd), Unusable::Part("headers"), "{name}: {value:?}");
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    for event in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"requestContext":{}}"#,
        r#"{"Records":[{"eventSource":"aws:sqs"}]}"#,
        r#"{"requestContext":{"elb":{}}}"#,
        r#"{"version":"2.0","requestContext":{"stage":"x"},"rawPath":"/"}"#,
        r#"{"requestContext":{"connectionId":"a","eventType":"CONNECT","identity":{"sourceIp":"1.2.3.4"}}}"#,
    ] {
        assert!(read(event.as_bytes(), BOUNDS).is_err(), "{event}");
    }
}
