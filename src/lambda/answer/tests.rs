use http::header::{SET_COOKIE, VARY};
use serde_json::{Value, json};

use super::*;

const SINGLE: Kind = Kind::LoadBalancer { multi_value: false };
const MULTI: Kind = Kind::LoadBalancer { multi_value: true };

fn response(headers: &[(&'static str, &'static str)], body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(Body::full(body));
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().append(*name, value);
    }
    response
}

async fn given(kind: Kind, response: Response) -> Value {
    let json = whole(kind, &Method::POST, response, None).await;
    serde_json::from_slice(&json).unwrap()
}

fn two_of_each() -> Response {
    response(
        &[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            ("vary", "origin"),
            ("vary", "accept"),
            ("content-length", "2"),
            ("connection", "close"),
        ],
        "ok",
    )
}

#[tokio::test]
async fn each_sender_gets_headers_and_cookies_as_it_reads_them() {
    let cookies = json!(["a=1; Path=/", "b=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
    for kind in [Kind::Url, Kind::HttpApi] {
        assert_eq!(
            given(kind, two_of_each()).await,
            json!({ "statusCode": 200, "headers": { "vary": "origin, accept" }, "cookies": cookies, "body": "ok", "isBase64Encoded": false })
        );
    }
    let multi = json!({ "set-cookie": cookies, "vary": ["origin", "accept"] });
    assert_eq!(
        given(Kind::RestApi, two_of_each()).await,
        json!({ "statusCode": 200, "multiValueHeaders": multi, "body": "ok", "isBase64Encoded": false })
    );
    assert_eq!(
        given(MULTI, two_of_each()).await,
        json!({ "statusCode": 200, "statusDescription": "200 OK", "multiValueHeaders": multi, "body": "ok", "isBase64Encoded": false })
    );
    assert_eq!(
        given(SINGLE, two_of_each()).await,
        json!({ "statusCode": 200, "statusDescription": "200 OK", "body": "ok", "isBase64Encoded": false, "headers": {
            "vary": "origin, accept", "set-cookie": cookies[0], "Set-cookie": cookies[1],
        } })
    );
}

#[test]
fn names_are_spelt_in_as_many_ways_as_there_may_be_cookies() {
    let all: std::collections::HashSet<String> =
        (0..200).map(|n| spelling(SET_COOKIE.as_str(), n)).collect();
    assert_eq!(all.len(), 200);
    assert!(
        all.iter()
            .all(|name| name.eq_ignore_ascii_case("set-cookie"))
    );
    assert_eq!(spelling(VARY.as_str(), 0), "vary");
}

#[test]
fn the_prelude_is_json_and_eight_zeros() {
    let (head, _) = two_of_each().into_parts();
    for (kind, member) in [(Kind::Url, "cookies"), (Kind::RestApi, "multiValueHeaders")] {
        let prelude = prelude(kind, &head);
        let json = prelude.strip_suffix(&[0; 8]).unwrap();
        let json: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["statusCode"], 200);
        assert!(json.get(member).is_some(), "{json}");
        assert!(json.get("body").is_none(), "{json}");
    }
}

#[tokio::test]
async fn what_is_no_text_goes_out_in_base64() {
    let binary = given(Kind::HttpApi, response(&[], vec![0, 255, 16])).await;
    assert_eq!(
        (&binary["body"], &binary["isBase64Encoded"]),
        (&json!("AP8Q"), &json!(true))
    );
    let encoded = response(&[("content-encoding", "gzip")], "looks like text");
    assert_eq!(given(Kind::HttpApi, encoded).await["isBase64Encoded"], true);
}

#[tokio::test]
async fn what_cannot_be_carried_becomes_an_error() {
    let large = vec![b'"'; TO_LOAD_BALANCER / 2 + 1];
    let fits = given(Kind::HttpApi, response(&[], large.clone())).await;
    assert_eq!(fits["statusCode"], 200);
    // Escaped it is twice as long.
    let too_large = given(SINGLE, response(&[], large)).await;
    assert_eq!(too_large["statusCode"], 502);
    assert!(
        too_large["body"]
            .as_str()
            .unwrap()
            .contains("answer_too_large")
    );
    let too_large = given(Kind::RestApi, response(&[], vec![b'x'; WHOLE + 1])).await;
    assert_eq!(too_large["statusCode"], 502);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_given_up() {
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending());
    let response = http::Response::new(Body::streamed(endless));
    let deadline = Some(Instant::now() + Duration::from_secs(28));
    let json = whole(Kind::HttpApi, &Method::POST, response, deadline).await;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["statusCode"], 504);
    assert_eq!(json["headers"]["content-type"], "application/json");
}

#[tokio::test]
async fn a_stream_to_listen_on_is_not_offered_where_it_cannot_be() {
    let events = || {
        response(
            &[("content-type", "text/event-stream; charset=utf-8")],
            "data: 1\n\n",
        )
    };
    let json = whole(Kind::RestApi, &Method::GET, events(), None).await;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["statusCode"], 405);
    assert_eq!(json["multiValueHeaders"]["allow"], json!(["POST, DELETE"]));
    let answered = given(Kind::RestApi, events()).await;
    assert_eq!(answered["body"], "data: 1\n\n");
}

#[test]
fn modes_are_read_and_hold_for_who_can_follow() {
    let streams = |text: &str| {
        let mode = Mode::parse(text).unwrap();
        [Kind::Url, Kind::RestApi, Kind::HttpApi, SINGLE, MULTI].map(|kind| mode.streams(kind))
    };
    assert_eq!(streams(""), [true, false, false, false, false]);
    assert_eq!(streams("auto"), [true, false, false, false, false]);
    assert_eq!(streams("stream"), [true, true, false, false, false]);
    assert_eq!(streams("buffer"), [false; 5]);
    assert_eq!(Mode::parse("on"), None);
}

#[test]
fn the_margin_leaves_most_of_a_short_time() {
    assert_eq!(margin(Duration::from_secs(900)), Duration::from_secs(1));
    assert_eq!(margin(Duration::from_secs(2)), Duration::from_millis(500));
}
